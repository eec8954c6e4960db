"""Audits within a time, and dry runs: what is printed, asked and recorded, and that nothing else is asked."""

import json
import re
from itertools import pairwise

import jax
import numpy as np
import pytest

from diffaudit_jax import auditing
from diffaudit_jax.cli import fitted
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.budget import _stored
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.costed import _between, _groups
from diffaudit_jax.cli.passes import passes
from diffaudit_jax.cli.planner import PRIORITY
from diffaudit_jax.cli.setting import Setting, blank
from diffaudit_jax.process import ddpm_linear
from diffaudit_jax.types import InputError

from .conftest import ASK

ATTACKS = ("--attack", "eps-loss,sima")


def document(directory):
    return json.loads((directory / "report.json").read_text())


def every_pass(times):
    process = ddpm_linear()
    bank, names = np.zeros((5, 4, 4, 1), np.uint8), [name for name, entry in ENTRIES.items() if entry.of != "table"]
    setting = Setting(Asking(times=times), process, bank=bank, surrogate=blank(process, (4, 4, 1)))
    return passes(tuple(names), setting)


def test_the_planner_knows_every_pass_and_how_calls_grow():
    made = {times: every_pass(times) for times in (10, 20, 50)}
    for where, each in made[50].items():
        assert set(PRIORITY[where]) == {observed for observed, _ in each.scored.values()}
        calls = [made[times][where].attack.spec.calls for times in made]
        assert _between((10, 50), [calls[0], calls[-1]], (10, 20, 50)) == calls
    groups = _groups(tuple(ENTRIES))
    assert sorted(name for group in groups for name in group) == sorted(ENTRIES)
    assert groups[0][0] == "eps-loss"


@pytest.mark.parametrize(
    ("options", "grids"),
    [
        ({"times": 50, "truncate": None}, (10, 20, 50)),
        ({"times": 5}, (5,)),
        ({"times": 200, "truncate": 0.02}, (50, 100, 200)),  # of 10 times the least is 0.1 or so
        ({"times": 20, "truncate": 0.01, "by": "value"}, (10, 20)),
    ],
)
def test_grids_rise_and_keep_something_under_a_truncation(options, grids):
    found = fitted.grids(Asking(**options))
    assert found == grids
    assert all(few < many for few, many in pairwise(found))


def test_a_dry_run_says_what_an_audit_asks_and_asks_nothing(diffaudit, monkeypatch, trained, audited, tmp_path):
    monkeypatch.setattr("diffaudit_jax.cli.audit.audit_subject", None)
    ended = diffaudit("audit", trained, "--out", tmp_path / "audit", *ASK, "--dry-run")
    assert ended.code == 0
    assert not (tmp_path / "audit").exists()
    head, row, told, whole, *_ = [line for line in ended.out.splitlines() if line]
    assert head.split("  ")[0] == "pass"
    calls = document(audited)["provenance"]["calls"]["trajectory"]
    assert row.split()[0] == "trajectory"
    assert {f"{calls:,}", f"{36 * calls:,}"} <= set(row.split())
    assert told.startswith("36 queries; ")
    answers = sum(path.stat().st_size for path in audited.glob("observations/trajectory/block-*.npz"))
    assert "KiB of answers" in told
    assert float(told.split(", ")[1].split()[0]) * 1024 <= answers  # files have heads, too
    assert whole.startswith("about 0:")


def test_what_is_planned_is_asked_recorded_and_gone_on_with(diffaudit, monkeypatch, trained, tmp_path):
    words = ("audit", trained, "--out", tmp_path, *ASK, *ATTACKS, "--budget-minutes", 60)
    ended = diffaudit(*words)
    assert ended.code == 0
    assert "plan for 60 minutes: 36 queries, trajectories of 6 times" in ended.out
    found = document(tmp_path)
    plan = found["provenance"]["plan"]
    assert {name: each["calls"] for name, each in plan["passes"].items()} == found["provenance"]["calls"]
    assert [attack["name"] for attack in found["attacks"]] == ["eps-loss", "sima"]
    assert plan["seconds"] + plan["timing_seconds"] <= 60 * 60
    assert (plan["queries"], plan["left_out"], plan["not_timed"]) == (36, {}, [])
    block = min(16, 8 * jax.local_device_count())  # 8 for each processor, up to --block
    total = sum(each["total_calls"] for each in plan["passes"].values())
    assert total == 36 * sum(found["provenance"]["calls"].values())
    assert f"\n{total:,} network calls; memory is that of blocks of {block} queries at 6 times\n" in ended.out
    heads, *rows = [line for line in ended.out.splitlines() if line.split(" ")[0] in ("pass", *plan["passes"])]
    assert heads.endswith("device memory")
    told = {row.split()[0]: row for row in rows}
    for where, each in plan["passes"].items():
        assert f"  {each['total_calls']:,}  " in told[where]
        assert each["memory"] > 0
        assert told[where].rstrip().endswith("iB")
    # The same command goes by the plan that was made: nothing is timed or asked again.
    monkeypatch.setattr(auditing, "Stream", None)
    monkeypatch.setattr(fitted, "cost_passes", None)
    assert diffaudit(*words).code == 0
    assert document(tmp_path)["provenance"]["plan"] == plan
    other = diffaudit(*words[:-1], 61)
    assert other.code == 2
    assert other.err[-1].endswith(
        "plans another audit (its time, attacks, queries or shadows differ from those asked for now): use another "
        "--out, or remove it."
    )


DAMAGED = {
    "cut": ("{", r"\(Expecting property name .*\)"),
    "bytes": ("\udcff", r"\('utf-8' codec .*\)"),
    "empty": ("{}", r"\(lacks file.question, file.plan\)"),
    "list": ("[1]", r"\(has \[1\] at file, not an object\)"),
    "question": ('{"question": 3, "plan": {}}', r"\(has 3 at file.question, not an object\)"),
}


def test_a_plan_that_lacks_a_part_is_refused(tmp_path):
    """What is asked for now is said first: a plan of another question need not hold what this one does."""
    kept, question = tmp_path / "budget.json", {"minutes": 3, "shadows": "here"}
    kept.write_text(json.dumps({"question": {"minutes": 3}, "plan": {}}))
    with pytest.raises(InputError, match="plans another audit"):
        _stored(kept, question)
    kept.write_text(json.dumps({"question": question, "plan": {"minutes": 3}}))
    with pytest.raises(
        InputError, match=r"budget.json is .* \(lacks file.plan.timing_seconds, .*, file.plan.shadows\)"
    ):
        _stored(kept, question)


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_plan_is_named_and_refused(refused, trained, tmp_path, kind):
    text, why = DAMAGED[kind]
    (tmp_path / "budget.json").write_bytes(text.encode(errors="surrogateescape"))
    said = refused("audit", trained, "--out", tmp_path, *ASK, *ATTACKS, "--budget-minutes", 60)
    mend = ": use another --out, or remove it."
    assert re.fullmatch(re.escape(f"{tmp_path / 'budget.json'} is no plan, or a damaged one ") + why + mend, said)


def test_a_time_that_is_too_short_is_refused_with_what_it_takes(refused, trained, tmp_path):
    said = refused("audit", trained, "--out", tmp_path / "x", *ASK, "--attack", "eps-loss", "--budget-minutes", 1e-3)
    assert said.startswith("--budget-minutes 0.001 is too short: the least audit here, of 30 queries, takes about ")
    assert float(said.split()[-2]) >= 0.1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_a_time_that_is_none_is_refused(refused, trained, tmp_path, minutes):
    said = refused("audit", trained, "--out", tmp_path / "x", f"--budget-minutes={minutes}")
    assert said == f"--budget-minutes must be more than 0, got {minutes}."
