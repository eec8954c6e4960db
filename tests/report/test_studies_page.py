"""Reports of studies, from measurements that were made up: what they conclude, keep, show and refuse."""

import io
import json
import re

import numpy as np
import pytest
from scipy import stats

from diffaudit_jax.metrics import Estimate, Transition
from diffaudit_jax.metrics.gdp import gdp_epsilon
from diffaudit_jax.reconstruction import PriorDial, Rounds, SeenByPrior, Size, UnknownNoise
from diffaudit_jax.reconstruction.attacker import gains
from diffaudit_jax.report.studies import StudyReport, share, study_npz, study_report
from diffaudit_jax.report.studies_found import SEEN, UNSEEN, of_noise, of_priors, of_rounds, of_seen, of_sizes
from diffaudit_jax.report.studies_page import render_study
from diffaudit_jax.report.studies_schema import KINDS
from diffaudit_jax.report.studies_verdict import LABELS, TITLES, change, plain
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

MUS = np.array([1.0, 5.0, 20.0])
N = 12
ATTACKER = {"method": "ddim", "steps": 50, "classes": "none"}
KEPT = ("mse", "psnr", "ssim", "ncc")
NBSP, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"


def scored(factor=1.0, n=N, seed=0, jitter=1e-3):
    """Scores of n targets: errors fall as 1/mu, times a factor (one, or one a mu), with a little noise of their own."""
    own = np.random.default_rng(7).uniform(0.9, 1.1, n)
    noise = np.random.default_rng(seed).normal(1, jitter, (len(MUS), n))
    mse = np.broadcast_to(factor, MUS.shape)[:, None] * own / MUS[:, None] * noise
    return {metric: mse if metric == "mse" else 1 - mse / 8 for metric in KEPT}


def stacked(rows):
    return {metric: np.stack([row[metric] for row in rows]) for metric in KEPT}


def noise(cost=(1.5, 1.05, 1.02), jitter=1e-3):
    """Attackers of whom the one who estimates the noise errs more by a factor at each mu."""
    names = ("known", "wavelet", "typical", "0.8 sigma", "1.2 sigma")
    rows = dict(
        zip(
            names,
            [scored(), *(scored(each, seed=i + 1, jitter=jitter) for i, each in enumerate((cost, 1.3, 1.01, 1.02)))],
            strict=True,
        )
    )
    sigma = np.stack([np.full((3, N), factor) / MUS[:, None] for factor in (1, 0.9, 1.1, 0.8, 1.2)])
    lost = {name: gains(rows[name], rows["known"], paired=True) for name in names[1:]}
    return of_noise(UnknownNoise(names, MUS, sigma, stacked(rows.values()), lost))


def rounds(off=1.0, jitter=1e-3):
    """T = 1, 4 and 9 releases, whose mean is as far from one release as a factor says."""
    many = [scored(off / count**0.5, seed=i, jitter=jitter) for i, count in enumerate((1, 4, 9))]
    ones = [scored(1 / count**0.5, seed=i + 5) for i, count in enumerate((1, 4, 9))]
    apart = tuple(gains(a, b, paired=True) for a, b in zip(many, ones, strict=True))
    return of_rounds(Rounds(np.array([1, 4, 9]), MUS, stacked(many), stacked(ones), apart))


def seen(factor=1.0, jitter=1e-3):
    """Twelve images that trained the prior, whose error is smaller by a factor, and nine others."""
    a, b = scored(factor, jitter=jitter), scored(n=9, seed=3)
    apart = gains(a, b, paired=False)
    return of_seen(SeenByPrior(MUS, a, b, apart, np.array([each.high < 0 for each in apart["mse"]])))


def priors(rank=(0.9, 0.2, 1.0), nearer=4.0, names=("own", "kin", "far", HOSTILE, "none")):
    """Five priors of growing distance and error."""
    rows = [scored(1 + i / 10, seed=i) for i in range(5)]
    distance = np.array([0.0, 1.0, 2.0, 3.0, nearer])
    found = Estimate(*rank[:1], *rank[1:])
    correlation = {metric: (found,) * 3 for metric in KEPT}
    return of_priors(PriorDial(names, MUS, distance, np.full(5, 0.1), stacked(rows), rows[0], correlation))


def sizes(large=(18.0, 15.0, 19.0), reason=""):
    """Two sizes, the smaller half way at 9 [8, 10]."""
    placed = {14: Estimate(9.0, 8.0, 10.0), 28: None if reason else Estimate(*large)}
    relative = (Estimate(0.9, 0.8, 1.2), Estimate(0.5, 0.4, np.inf), Estimate(0.1, 0.05, 0.2))
    found = {
        side: Size(
            sigma=np.full((3, N), side) / MUS[:, None],
            scores=scored(side / 14, seed=side),
            unrelated=scored(),
            relative=relative,
            transition={m: Transition(place, 0.5, np.zeros(3), reason) for m in ("mse", "ssim")},
        )
        for side, place in placed.items()
    }
    return of_sizes(found, MUS[::-1])


MADE = {"noise": noise, "rounds": rounds, "seen": seen, "priors": priors, "sizes": sizes}


def reported(study, **settings):
    return study_report(study, **{"attacker": ATTACKER, **settings})


VERDICTS = {
    "little from 5 on": (noise(), "cheap", r"at most (5\.\d|6) % of error from mu = 5 on; at mu = 1 up to 5\d %\."),
    "little": (noise((1.01,) * 3), "cheap", r"at most 1\.\d* % of error from mu = 1 on, the least that was tried\."),
    "nearly little at 5": (noise((1.5, 1.0995, 1.02)), "cheap", r"of error from mu = 20 on; at mu = 5 up to 11 %\."),
    "it even helps": (noise((0.9,) * 3), "cheap", r"at most 0 % of error from mu = 1 on, the least"),
    "not clear": (noise((1.02, 0.99, 1.03), jitter=0.3), "unclear", r"up to \d+ % of error at mu = 20, and up to"),
    "much": (noise((1.5, 1.4, 1.3)), "costly", r"up to 3\d % of error at mu = 20, and up to 5\d % below"),
    "as theory says": (rounds(), "add", r"lie within -0\.\d and \+0\.\d % of error, for T = 4 and 9\."),
    "as far as is seen": (rounds(jitter=0.2), "unsure", r"No departure .* is seen: differences lie within -\d\d"),
    "not as theory says": (rounds(1.2), "apart", r"do not show what one of mu = .* error is \+2\d "),
    "nothing remembered": (seen(), "forgotten", "Of 12 images that trained the prior and 9 that did not, the first"),
    "remembered": (seen(0.5), "remembered", r"of 12 images .* clearly less error at every mu that was tried\."),
    "by single intervals only": (seen(0.93, jitter=0.15), "forgotten", "at no mu clearly nearer"),
    "in places": (seen(np.array([1.0, 0.5, 1.0])), "remembered", r"less error at mu = 5\."),
    "in order": (
        priors(),
        "ordered",
        r"clearly so at mu = 1, 5 and 20: .* over 5 priors is 0\.9 \[0\.2, 1\] at mu = 1",
    ),
    "in no clear order": (priors((0.9, -0.1, 1.0)), "unordered", r"not clear at any mu: .* 0\.9 \[-0\.1, 1\] at mu"),
    "larger is later": (sizes(), "later", r"mu = 9 \[8, 10\] at 14 pixels a side and mu = 18 \[15, 19\] at 28 pixels"),
    "perhaps later": (sizes((11.0, 9.5, 19.0)), "sizes", r"mu = 11 \[9\.5, 19\] at 28"),
    "off the grid": (sizes(reason="add values."), "sizes", r"target at mu = 9 \[8, 10\] at 14 pixels a side\."),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_follows_from_the_numbers(case):
    study, level, headline = VERDICTS[case]
    concluded = reported(study).document["verdict"]
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    said = concluded["headline"].replace(NBSP, " ").replace(MINUS, "-")
    assert re.search(headline, said), said


def test_memory_is_not_what_single_intervals_say():
    document = reported(seen(0.93, jitter=0.15)).document
    assert document["verdict"]["level"] == "forgotten"
    assert [gap["high"] < 0 for gap in document["differences"][0]["scores"]["mse"]] == [False, True, True]


def test_sentences_tell_what_the_headline_leaves_out():
    said = {kind: " ".join(reported(made()).document["verdict"]["sentences"]) for kind, made in MADE.items()}
    assert "who believes in 0.8 sigma changes by +1." in said["noise"]
    assert "The error of 9 releases of mu = 20, beside that of one of mu = 60: " in said["rounds"]
    assert "take targets that it has never seen" in reported(seen(0.5)).document["verdict"]["sentences"][0]
    assert f"Distances in nats: own 0; kin 1; far 2; {HOSTILE} 3; none 4." in said["priors"]
    assert "is clearly below 0" not in said["priors"]
    below = " ".join(reported(priors(nearer=-1.0)).document["verdict"]["sentences"])
    assert "The distance of none is clearly below 0: on public images the prior that was named first" in below
    off = " ".join(reported(sizes(reason="add values.")).document["verdict"]["sentences"])
    assert "At 28 pixels a side, where similarity (SSIM) is half way cannot be told: add values." in off


def test_targets_that_trained_a_prior_are_told_loudly():
    document = reported(noise(), known=2).document
    concluded, html = document["verdict"], render_study(document)
    assert (concluded["level"], concluded["label"]) == ("memory", LABELS["memory"])
    assert concluded["sentences"][0].startswith("2 of the 12 targets are images that a prior was trained on.")
    assert '<p class="alarm">2 of the 12' in html
    for known, says in ((0, "none of them is; near copies"), (None, "nobody could check that here")):
        document = reported(noise(), known=known).document
        assert any(says in limit for limit in document["limits"])
        assert '<p class="alarm">' not in render_study(document)


@pytest.mark.parametrize("paired", [True, False])
def test_a_share_has_the_interval_of_a_ratio(paired):
    """The mean of a over that of b, less 1, by resampling: to first order both have the same spread."""
    rng, n, num = np.random.default_rng(4), 400, 4000
    b = rng.uniform(1, 2, n)
    a = 1.3 * b + rng.normal(0, 0.2, n)
    draws = rng.integers(0, n, (2, num, n))
    ratios = a[draws[0]].mean(1) / b[draws[0] if paired else draws[1]].mean(1) - 1
    found = share(a, b, paired=paired, level=0.95)
    assert found.value == pytest.approx(a.mean() / b.mean() - 1, rel=1e-12)
    half = stats.t.isf(0.025, n - 1) * ratios.std(ddof=1)
    # A deviation of m draws has a relative standard error of 1/sqrt(2 m); the delta method is off by O(1/n).
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=4 / np.sqrt(2 * num) + 10 / n)
    assert share(a, np.zeros(n), paired=paired, level=0.95) is None


def test_comparisons_hold_together():
    """Bonferroni's intervals are Student's at a smaller error."""
    document = reported(noise()).document
    num = 4 * 3
    assert document["together"] == pytest.approx(1 - 0.05 / num)
    wider = stats.t.isf(0.025 / num, N - 1) / stats.t.isf(0.025, N - 1)
    for each in document["differences"]:
        assert each["than"] == "known"
        a, b = (noise().variants[name]["mse"] for name in (each["name"], "known"))
        for k, joint in enumerate(each["share"]):
            single = share(a[k], b[k], paired=True, level=0.95)
            assert joint["value"] == pytest.approx(single.value)
            assert joint["high"] - joint["low"] == pytest.approx(wider * (single.high - single.low))


def test_variants_hold_means_and_numbers_beside_them():
    document = reported(seen(0.5)).document
    assert [(each["name"], each["targets"]) for each in document["variants"]] == [(SEEN, 12), (UNSEEN, 9)]
    for variant, scores in zip(document["variants"], (scored(0.5), scored(n=9, seed=3)), strict=True):
        for metric in KEPT:
            got = variant["scores"][metric]
            np.testing.assert_allclose([each["value"] for each in got], scores[metric].mean(1))
            assert all(each["low"] < each["value"] < each["high"] for each in got)
    assert [row["epsilon"] for row in document["rows"]] == [float(gdp_epsilon(mu, 1e-5)) for mu in MUS]
    believed = {each["of"]: each["values"][2]["value"] for each in reported(noise()).document["columns"]}
    assert believed == pytest.approx({"wavelet": 0.9, "typical": 1.1, "0.8 sigma": 0.8, "1.2 sigma": 1.2})
    assert [each["mu_ratio"] for each in reported(rounds()).document["differences"]] == [1, 2, 3]
    distances = [each["value"] for each in reported(priors()).document["facts"]]
    half = stats.norm.isf(0.025) * 0.1
    for i, each in enumerate(distances):
        assert each == pytest.approx({"value": i, "low": i - half, "high": i + half})
    first = reported(sizes()).document["columns"][0]
    assert (first["of"], first["values"][1]) == ("14 pixels", {"value": 0.5, "low": 0.4, "high": None})


@pytest.mark.parametrize("kind", MADE)
def test_the_page_holds_everything_and_loads_nothing(kind):
    settings = {"title": HOSTILE, "notes": [HOSTILE], "provenance": {"targets": {"source": HOSTILE}}}
    document = reported(MADE[kind](), **settings).document
    html = render_study(document)
    page = Page(html)
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image", "img"}
    assert page.values("src") == []
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.text.count(HOSTILE) >= 4
    assert html.count("<title id=") == 1
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert all(limit in page.text for limit in document["limits"])
    for part in ("variants", "differences", "columns", "facts"):
        assert all(each["name"] in page.text for each in document[part])
    for each in document["differences"]:
        assert all(change(value) in page.text for value in each["share"])
    assert ("What it changes" in page.text) == bool(document["differences"])
    assert ("Beside the error" in page.text) == bool(document["columns"])
    # One line a variant, told apart by its key.
    assert html.count("stroke-dasharray") >= len(document["variants"])


def test_what_is_saved_is_read_back(tmp_path):
    for kind, made in MADE.items():
        report = reported(made())
        assert report.document["title"] == TITLES[kind]
        paths = report.save(tmp_path / kind)
        assert [path.name for path in paths] == ["study.json", "report.html"]
        text = paths[0].read_text()
        assert not re.search(r"\b(NaN|-?Infinity)\b", text)
        assert StudyReport.load(tmp_path / kind).document == report.document == json.loads(text)
    assert tuple(MADE) == KINDS


def test_scores_of_every_target_are_kept():
    study = seen()
    hashes = {SEEN: [f"{i:064x}" for i in range(12)], UNSEEN: [f"{i:064x}" for i in range(12, 21)]}
    with np.load(io.BytesIO(study_npz(study, hashes))) as arrays:
        kept = dict(arrays)
    np.testing.assert_array_equal(kept["mu"], MUS)
    np.testing.assert_array_equal(kept[f"{UNSEEN}/ssim"], study.variants[UNSEEN]["ssim"])
    assert kept[f"{SEEN}/hashes"].tolist() == hashes[SEEN]
    assert len(kept) == 1 + 2 * (len(KEPT) + 1)


CHANGES = {
    "another schema": ({"schema": "diffaudit.membership"}, "has schema 'diffaudit.membership', not 'diffaudit.study'"),
    "newer": ({"schema_version": 2}, "has schema version 2 and this library reads 1 to 1: update diffaudit_jax."),
    "another study": (
        {"study": "size"},
        "has 'size' at study, not one of noise, rounds, seen, priors, sizes: study ag",
    ),
    "a part is lacking": ({"rows": [{}]}, "lacks rows[0].mu, rows[0].epsilon"),
    "no variant": ({"variants": []}, "has [] at variants, not a list with an entry: study again."),
    "a word for a number": ({"level": "high"}, "has 'high' at level, not a number: study again."),
    "a mu is lacking": (
        {"rows": [{"mu": 1, "epsilon": 4.4}]},
        "has 3 numbers at columns[0].values, not one for each of 1 values of mu: study again.",
    ),
    "no error": (
        {"columns": [], "variants": [{"name": "known", "targets": 3, "scores": {}}], "differences": []},
        "lacks variants[0].scores.mse: study again.",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(tmp_path, case):
    changed, says = CHANGES[case]
    reported(noise()).save(tmp_path)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match=re.escape(says)):
        StudyReport.load(tmp_path)


def test_changes_have_a_sign_and_few_digits():
    def written(value, low, high):
        return change({"value": value, "low": low, "high": high})

    assert change(None) == plain(None) == "\N{EN DASH}"
    assert plain({"value": 0.0, "low": 0.0, "high": None}) == "0 [0, \N{EN DASH}]"
    assert written(0.123, 0.03, 0.18) == f"+12.3{NBSP}% [+3.0, +18.0]"
    assert written(0.5, -0.2, 1.2) == f"+50{NBSP}% [{MINUS}20, +120]"
    assert written(-1e-5, -0.01, 0.01) == f"0.0{NBSP}% [{MINUS}1.0, +1.0]"
