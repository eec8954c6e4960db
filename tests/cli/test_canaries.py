"""diffaudit train --canaries: who is trained on is decided by coins, and an audit says what epsilon is at least."""

import json

import jax
import numpy as np
import pytest

from diffaudit_jax import data, training
from diffaudit_jax.cli.asked import Asked, asked
from diffaudit_jax.types import InputError

from .conftest import NET

TOSSED = ("--data", "fashion-mnist-2k", "--canaries", "60", "--members", "12", "--diffusion-steps", "24", *NET)
TABLE = ("--model", "tabddpm", "--data", "adult-3k", "--duplicates", "drop", "--widths", "16", "--diffusion-steps", "5")


def test_coins_reach_the_report(diffaudit, tmp_path):
    run, out = tmp_path / "run", tmp_path / "audit"
    assert diffaudit("train", *TOSSED, "--steps", "0", "--out", run).code == 0
    split = json.loads((run / "run.json").read_text())["split"]
    inside, outside, always = (len(split[side]["rows"]) for side in ("members", "nonmembers", "always"))
    assert (split["coin"], inside + outside, always) == (0.5, 60, 12)
    ended = diffaudit("audit", run, "--out", out, "--attack", "pia", "--access", "gray", "--block", "60")
    assert ended.code == 0
    assert "No attack shows that epsilon is above 0 (at delta = 1e-05" in ended.out
    report = json.loads((out / "report.json").read_text())
    assert report["counts"] == {"members": inside, "nonmembers": outside}
    assert report["lower_bound"]["canaries"] == 60
    plan, ask = tmp_path / "plan.json", ("--attack", "pia", "--access", "gray", "--fpr", "0.2", "--block", "60")
    assert diffaudit("plan", run, *ask, "--out", plan).code == 0
    assert diffaudit("audit", run, "--plan", plan, "--block", "60", "--out", tmp_path / "planned").code == 0
    report = json.loads((tmp_path / "planned" / "report.json").read_text())
    assert report["counts"] == {"members": inside, "nonmembers": outside - outside // 2}
    assert "registered" in report
    assert "lower_bound" not in report


def test_an_accountant_counts_all_that_are_trained_on(refused, tmp_path, monkeypatch):
    seen = {}

    def spy(key, model, schedule, members, recipe, **options):
        seen["trained"], seen["privacy"] = len(members), options["privacy"]
        raise InputError("seen.")

    monkeypatch.setattr(training, "fit", spy)
    command = ("train", *TOSSED, "--steps", "9", "--dp", "--target-epsilon", "3", "--delta", "1e-3")
    assert "seen." in refused(*command, "--out", tmp_path / "run")
    inside = len(data.split_coin(jax.random.key(0), data.load("fashion-mnist-2k"), queries=60, always=12).members)
    assert seen["trained"] == inside + 12
    noise = training.noise_multiplier(3, 1e-3, l2_clip_norm=1.0, batch_size=4, num_examples=inside + 12, num_steps=9)
    assert seen["privacy"].noise_multiplier == noise


def test_a_table_with_coins_leaves_nobody_out(refused, tmp_path, monkeypatch):
    """Whoever an encoder of members alone would leave out is never a member."""
    seen = {}

    def spy(key, model, members, recipe, **options):
        seen["trained"], seen["record"], seen["privacy"] = len(members), options["record"], options["privacy"]
        raise InputError("seen.")

    monkeypatch.setattr(training, "fit_table", spy)
    command = ("train", *TABLE, "--canaries", "150", "--members", "20", "--unseen", "drop", "--label", "income")
    private = ("--dp", "--noise-multiplier", "2", "--delta", "1e-3", "--batch", "20")
    assert "seen." in refused(*command, *private, "--out", tmp_path / "run")
    assert seen["privacy"].preprocessing == "tossed"  # it did not look at members as members
    table, record = data.load("adult-3k"), seen["record"]
    rows = {side: np.array(record["split"][side]["rows"]) for side in ("members", "nonmembers", "always")}
    assert sum(record["label_counts"]) == seen["trained"] == len(rows["members"]) + len(rows["always"])
    assert len(rows["always"]) == 20
    alone = data.fit_encoder(table.take(rows["members"]), label="income")
    held_out = table.take(rows["nonmembers"])
    assert len(alone.encode(held_out, unseen="drop")) < len(held_out)
    assert len(data.Encoder.from_config(record["encoder"]).encode(held_out)) == len(held_out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--canaries", "0"), "--canaries tosses for at least 1 record, got 0"),
        (("--nonmembers", "30"), "--nonmembers is for the coins of --canaries to say: leave it out"),
        (("--nonmembers", "1000"), "--nonmembers is for the coins of --canaries to say: leave it out"),
        (("--members=-5",), "--members are trained on beside --canaries, 0 or more, got -5"),
        (("--canaries", "1995"), "--canaries 1995 and --members 12 are more than the 2000 that fashion-mnist-2k has"),
        (("--members", "1941"), "--canaries 60 and --members 1941 are more than the 2000 that fashion-mnist-2k has"),
    ],
)
def test_flags_that_leave_coins_nothing_are_refused(refused, tmp_path, words, says):
    assert says in refused("train", *TOSSED, *words, "--steps", "0", "--out", tmp_path / "run")


def test_a_part_of_the_coins_is_drawn_whatever_they_said():
    """In proportion, as other splits are, each part would have the same share of members."""
    pool = data.from_arrays(np.arange(120, dtype="<u4").view(np.uint8).reshape(120, 2, 2))
    fixed = data.Split(pool.take(np.arange(60)), pool.take(np.arange(60, 120)))
    tossed = data.Split(fixed.members, fixed.nonmembers, coin=0.5)
    counts = {
        split.coin: [len(asked(Asked(queries=60), split, seed).members) for seed in range(200)]
        for split in (fixed, tossed)
    }
    assert set(counts[None]) == {30}
    # Hypergeometric: mean 30, variance 60/4 x 60/119.
    assert abs(np.mean(counts[0.5]) - 30) < 4 * np.sqrt(60 / 4 * 60 / 119 / 200)
    assert np.var(counts[0.5]) == pytest.approx(60 / 4 * 60 / 119, rel=0.5)
    part = asked(Asked(queries=60), tossed, 0)
    assert (part.coin, len(part.member)) == (0.5, 60)
    assert np.isin(part.members.rows, fixed.members.rows).all()
    # Of 19 one side has fewer than ten; in proportion it is said later, by whoever makes statistics of them.
    with pytest.raises(
        InputError, match=r"^--queries 19 draws \d+ members and \d+ non-members, .*: ask about 40 or more"
    ):
        asked(Asked(queries=19), tossed, 0)
