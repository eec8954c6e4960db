"""What a report says epsilon is at least: numbers that share the error, sentences, and where there are none."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from diffaudit_jax.metrics import one_run, one_run_fdp
from diffaudit_jax.metrics.epsilon import one_run_epsilon
from diffaudit_jax.report import Report, membership_report
from diffaudit_jax.report.lower_bound import explained, lower_bound_section
from diffaudit_jax.report.numbers import at_least
from diffaudit_jax.report.page import render
from diffaudit_jax.report.redraw import redraw
from diffaudit_jax.training import Ledger, guarantee
from diffaudit_jax.types import InputError

LEDGER = Ledger(noise_multiplier=2.0, l2_clip_norm=1.0, batch_size=100, num_examples=200, num_steps=40, delta=1e-3)
PROMISED = {"guarantee": asdict(guarantee(LEDGER))}
INSIDE = np.random.default_rng(0).random(200) < 0.5
NOISE = np.random.default_rng(1).normal(size=(2, 200))
SCORES = {"strong": NOISE[0] + 3 * INSIDE, "weak": NOISE[1]}


@pytest.fixture(scope="module")
def report():
    return membership_report(SCORES, INSIDE, coin=0.5, provenance=PROMISED)


def test_attacks_share_the_error_and_the_accountants_delta(report):
    part = report.document["lower_bound"]
    assert (part["delta"], part["canaries"], part["level"]) == (1e-3, 200, 0.95)
    assert part["upper"] == PROMISED["guarantee"]["epsilon"]
    for attack in part["attacks"]:
        for kind, bound in (("one_run", one_run), ("fdp", one_run_fdp)):
            expected = bound(SCORES[attack["name"]], INSIDE, 1e-3, level=0.975)
            told = {"epsilon": expected.epsilon, "guesses": expected.guesses, "correct": expected.correct}
            assert attack[kind] == pytest.approx(told, rel=1e-12)
    assert part["best"] == {"one_run": "strong", "fdp": "strong"}
    # An attack that is never wrong shows as much as any may.
    perfect = lower_bound_section({"a": INSIDE + NOISE[0] / 1e3, "b": NOISE[1]}, INSIDE, coin=0.5, delta=1e-3)
    assert perfect["attacks"][0]["one_run"]["epsilon"] == pytest.approx(part["most"], rel=1e-12)


def test_the_page_shows_both_ends_and_is_drawn_again(report, tmp_path):
    report.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    least, upper = (
        report.document["lower_bound"]["attacks"][0]["one_run"]["epsilon"],
        PROMISED["guarantee"]["epsilon"],
    )
    assert 0 < least < upper
    assert "What epsilon is at least" in page
    assert (
        f"strong shows that epsilon is {at_least(least)} or more (at delta = 0.001, with 95\N{NO-BREAK SPACE}% con"
        in page
    )
    assert "If what it rests on holds, the truth lies between, with 95\N{NO-BREAK SPACE}% confidence." in page
    assert 'class="beyond"' not in page
    assert f"epsilon is {at_least(least)} or more" in report.summary()
    redraw(tmp_path)
    assert (tmp_path / "report.html").read_text() == page
    assert Report.load(tmp_path).document == report.document
    broken = json.loads((tmp_path / "report.json").read_text())
    del broken["lower_bound"]["attacks"][1]["fdp"]["correct"]
    (tmp_path / "report.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match=r"lacks lower_bound.attacks\[1\].fdp.correct"):
        Report.load(tmp_path)


@pytest.mark.parametrize(
    ("upper", "says", "fails"),
    [
        (0.375, "or more; the accountant promises 0.375 at most. ", "Both cannot be: this training is not as it was"),
        (2.05, "or more without that assumption; the accountant promises 2.05 at most. ", "Either the assumption fail"),
    ],
)
def test_a_bound_above_the_promise_is_said_loudly(report, upper, says, fails):
    """What rests on an assumption refutes the assumption or the accountant; what rests on none, the accountant."""
    part = report.document["lower_bound"]
    strong = part["attacks"][0]
    assert 0.375 < strong["one_run"]["epsilon"] < 2.05 < strong["fdp"]["epsilon"]
    document = {**report.document, "lower_bound": {**part, "upper": upper}}
    told = explained(document)
    assert told is not None
    assert says + fails in (told.warning or "")
    assert "the truth lies between" not in " ".join(told.sentences)
    assert 'class="beyond"' in render(document)


def test_nothing_shown_is_not_called_private():
    document = membership_report({"weak": NOISE[1]}, INSIDE, coin=0.5).document
    assert document["lower_bound"]["delta"] == 1e-5
    told = explained(document)
    assert told is not None
    assert "No attack shows that epsilon is above 0 (at delta = 1e-05" in told.sentences[1]
    assert "No accountant bounds this model's epsilon from above." in told.sentences
    assert "at most</small>" not in render(document)
    # Which of three ways of guessing showed nothing is nobody's choice.
    assert {document["lower_bound"]["attacks"][0][kind]["epsilon"] for kind in ("one_run", "fdp")} == {0}
    assert re.findall(r'data-label="Guessed rightly">(.*?)</td>', render(document)) == 2 * ["\N{EN DASH}"]


def test_what_fewer_coins_could_have_shown_is_said_of_these_guesses_alone(report):
    """Another number of guesses at as many coins would have shown more, so the limit is not that of all attacks."""
    part, told = report.document["lower_bound"], explained(report.document)
    assert told is not None
    assert one_run_epsilon(200, 150, 150, 1e-3, 0.025) > part["most"]
    said = f"guessed at in these ways by 2 attacks, one that is never wrong would have shown {at_least(part['most'])} "
    assert sum(said in sentence for sentence in told.sentences) == 1


def test_without_coins_there_is_no_bound_and_a_private_model_says_why():
    private, plain = (membership_report(SCORES, INSIDE, provenance=told).document for told in (PROMISED, {}))
    assert "lower_bound" not in private
    assert "What epsilon is at least" not in render(private)
    why = "Members were drawn in a fixed number"
    assert why in private["limits"][-1]
    assert not any(why in limit for limit in plain["limits"])


def test_coins_that_are_not_fair_are_refused():
    with pytest.raises(InputError, match=r"inside with probability 0\.3: a bound asks for fair ones"):
        membership_report(SCORES, INSIDE, coin=0.3)


def test_lower_bounds_are_rounded_down():
    assert [at_least(value) for value in (2.8994, 0.0, 0.0123499, 1239.0)] == ["2.89", "0", "0.0123", "1230"]
