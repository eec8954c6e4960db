"""Shadows within a time: how many are asked, which, with whose coins, and what a dry run says that they take."""

import contextlib
import io
import json
import shutil

import jax
import numpy as np
import pytest

from diffaudit_jax.cli import audit, fitted, main
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.budget import Budget
from diffaudit_jax.cli.costed import Costed
from diffaudit_jax.cli.measured import Measured
from diffaudit_jax.cli.planner import Cost
from diffaudit_jax.cli.shadowed import Shadowed, _chosen
from diffaudit_jax.data import coin_flips
from diffaudit_jax.stream import Stream
from diffaudit_jax.types import InputError

from .conftest import scores

ASK = ("--attack", "eps-loss", "--times", "2", "--truncate", "1")


@pytest.fixture(scope="module")
def run(records):
    return records


@pytest.fixture(scope="module")
def sixteen(run, tmp_path_factory):
    """Two shadows of `run`, eight times over: for all that is told here, each on a half of its own."""
    out = tmp_path_factory.mktemp("shadows") / "shadows"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["shadows", str(run), "--num", "2", "--out", str(out)])
    for k in range(2, 16):
        shutil.copytree(out / f"shadow-{k % 2}", out / f"shadow-{k}")
    with np.load(out / "inclusion.npz") as stored:
        arrays = dict(stored)
    inside = coin_flips(jax.random.key(0), arrays["rows"], 16).inside
    np.savez(out / "inclusion.npz", **arrays | {"inside": inside})
    return out


def half_a_second(*_, times, **__):
    """The one pass, of 1 s and 0.5 s a query: with K shadows the 210 that are enough take 2 + 105 (1 + K) s."""
    (num,) = times
    cost = Cost(1.0, {num: 0.5})
    return {"trajectory": Costed(("eps-loss",), {num: 4}, cost, Measured(1.0, 0.5, None, 8))}


TOLD = [  # four fifths of the time are planned
    (10, 0, "left out, 8 of the 16 do not fit"),
    (19.7, 0, "left out, 8 of the 16 do not fit"),
    (19.8, 8, "8 of 16"),
    (25.5, 10, "10 of 16"),
    (60, 16, "16 of 16"),
]


@pytest.mark.parametrize(("minutes", "num", "told"), TOLD)
def test_as_many_shadows_are_planned_as_fit(capsys, monkeypatch, run, sixteen, tmp_path, minutes, num, told):
    monkeypatch.setattr(fitted, "cost_passes", half_a_second)
    monkeypatch.setattr(audit, "audit_subject", lambda subject, split, options, plan, fitted: (options, fitted))
    asking, whom = Asking(attack=("eps-loss",), times=2, truncate=1), Shadowed(sixteen)
    given = audit.Audit(run, tmp_path, asking=asking, shadowed=whom, budget=Budget(minutes))
    options, plan = audit.run_audit(given)
    assert f"\nshadows: {told}\n" in capsys.readouterr().out
    assert plan["shadows"] == {"asked": num, "of": 16}
    assert options.shadowed == (whom if num else Shadowed())
    assert (options.asked.queries == 210) == (num < 16)
    assert json.loads((tmp_path / "budget.json").read_text())["plan"] == plan


def test_the_planned_shadows_are_asked_with_their_own_coins(diffaudit, refused, monkeypatch, run, sixteen, tmp_path):
    compared, with_shadows, asked = [], audit.with_shadows, []

    def watched(seen, rows, found, by):
        compared.append((rows, [each.scores for each in by["eps-loss"]], by["eps-loss"][0].rows))
        return with_shadows(seen, rows, found, by)

    call = Stream.__call__
    monkeypatch.setattr(Stream, "__call__", lambda *words: asked.append(words) or call(*words))
    monkeypatch.setattr(audit, "with_shadows", watched)
    monkeypatch.setattr(fitted, "cost_passes", half_a_second)
    words = ("audit", run, "--out", tmp_path, "--shadows", sixteen, *ASK, "--budget-minutes")
    assert diffaudit(*words, 20).code == 0
    assert len(asked) == 9
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["provenance"]["plan"]["shadows"] == {"asked": 8, "of": 16}
    assert json.loads((tmp_path / "budget.json").read_text())["plan"] == report["provenance"]["plan"]
    told = report["provenance"]["shadows"]
    chosen = told["chosen"]
    assert (told["num"], told["of_num"], len(chosen)) == (8, 16, 8)
    assert {attack["spec"]["config"].get("shadows", 8) for attack in report["attacks"]} == {8}
    (where,) = (sixteen / "observations").iterdir()
    assert {path.name.rpartition("-")[0] for path in where.iterdir()} == {f"shadow-{k}" for k in chosen}
    # What a query scores is what it does less the mean of those of the chosen that were trained without it.
    rows, by, order = compared[0]
    with np.load(sixteen / "inclusion.npz") as stored:
        inside = dict(zip(stored["rows"].tolist(), stored["inside"][chosen].T, strict=True))
    at = {row: i for i, row in enumerate(order.tolist())}
    found = scores(tmp_path)
    want = [
        own - np.mean([by[k][at[row]] for k in range(8) if not inside[row][k]])
        for own, row in zip(found["eps-loss"], rows.tolist(), strict=True)
    ]
    # Sums of at most eight numbers in two orders, and a difference: fewer than thirty roundings.
    scale = max(np.abs(values).max() for values in by)
    np.testing.assert_allclose(found["eps-loss+calibrated"], want, rtol=0, atol=30 * scale * 2.0**-53)
    # The same command goes on by the same plan, and asks nobody again; another directory is another question.
    monkeypatch.setattr(fitted, "cost_passes", None)
    assert diffaudit(*words, 20).code == 0
    assert len(asked) == 9
    assert "queries or shadows differ" in refused(*words[:4], *ASK, "--budget-minutes", 20)


def test_a_dry_run_counts_what_shadows_are_asked(diffaudit, run, sixteen, tmp_path):
    ended = diffaudit("audit", run, "--out", tmp_path / "audit", "--shadows", sixteen, *ASK, "--dry-run")
    rows = [line.split() for line in ended.out.splitlines() if line]
    (own,) = (row for row in rows if row[0] == "trajectory")
    (theirs,) = (row for row in rows if row[:4] == ["shadows:", "16", "x", "trajectory"])
    calls, total = (int(word.replace(",", "")) for word in own[2:4])
    assert [int(word.replace(",", "")) for word in theirs[5:7]] == [calls, 16 * total]
    num = total // calls
    assert f"{num} queries; " in ended.out
    assert "KiB of the shadows' answers on disk" in ended.out
    assert not (tmp_path / "audit").exists()


def test_what_cannot_be_compared_is_refused_before_it_is_timed(refused, monkeypatch, run, tmp_path):
    monkeypatch.setattr(fitted, "cost_passes", None)
    words = ("audit", run, "--out", tmp_path / "x", "--budget-minutes", 9, "--shadows")
    assert "has no shadows.json" in refused(*words, run, *ASK)
    assert "none is asked for" in refused(*words, run, "--attack", "nearest")


def test_shadows_are_chosen_that_tell_every_query_apart():
    """Of shadows 0 to 7 all hold row 0 and none row 1; no seven others do."""
    rng = np.random.default_rng(0)
    inside = np.stack([rng.permutation(16) < 8 for _ in range(200)], axis=1)
    inside[:, 0], inside[:, 1] = np.arange(16) < 8, np.arange(16) >= 8
    rows = np.arange(200) + 50
    for num in range(8, 17):
        chosen = _chosen(inside, num, rows)
        assert list(chosen) == sorted(set(chosen))
        assert len(chosen) == num
        held = inside[list(chosen)].sum(axis=0)
        assert ((held > 0) & (held < num)).all()
    # Each of these is inside one shadow of its own: eight of them leave eight rows to none.
    with pytest.raises(
        InputError, match=r"^8 of the 16 shadows are to be asked, and row 8 \(of 8 such\) is inside all"
    ):
        _chosen(np.eye(16, dtype=bool), 8, np.arange(16))
