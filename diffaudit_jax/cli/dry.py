"""What an audit would ask and take, printed before it does: the plan of a budget, or a dry run."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffaudit_jax import data
from diffaudit_jax.auditing import check_queries
from diffaudit_jax.cli import black
from diffaudit_jax.cli.asked import check_sizes, queries_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES, check_answered, named
from diffaudit_jax.cli.costed import Costed, cost_passes
from diffaudit_jax.cli.planner import estimate
from diffaudit_jax.cli.progress import clock
from diffaudit_jax.cli.shadowed import Shadowed, comparable, compared
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.shadows import FEWEST_SHADOWS

UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def print_plan(plan: Mapping[str, Any]) -> None:
    """Prints what fits into a budget of time."""
    table = _table("pass", "attacks", "calls a query", "calls", "about", "device memory")
    for where, each in plan["passes"].items():
        counts = f"{each['calls']:,}", f"{each['total_calls']:,}"
        _row(table, where, ", ".join(each["attacks"]), *counts, clock(each["seconds"]), _bytes(each["memory"]))
    print(f"plan for {plan['minutes']:g} minutes: {plan['queries']:,} queries, trajectories of {plan['times']} times")
    _show(table)
    for where, seconds in plan["left_out"].items():
        print(f"left out: {where}, which would take about {clock(seconds)} more")
    if plan["not_timed"]:
        print(f"left out, and not timed: {', '.join(plan['not_timed'])}")
    if told := plan.get("shadows"):
        few = f"left out, {FEWEST_SHADOWS} of the {told['of']} do not fit"
        print(f"shadows: {told['asked']} of {told['of']}" if told["asked"] else f"shadows: {few}")
    calls, bank = sum(each["total_calls"] for each in plan["passes"].values()), plan["bank_calls"]
    print(f"{calls + bank:,} network calls{f', {bank:,} of them for the bank' if bank else ''}; ", end="")
    print(f"memory is that of blocks of {plan['timed']['block']:,} queries at {plan['timed']['times']:,} times")
    print(f"about {clock(plan['seconds'])} in all, after {clock(plan['timing_seconds'])} of timing", flush=True)


def print_dry_run(
    subject: Subject,
    split: data.Split,
    asking: Asking,
    shadowed: Shadowed,
    *,
    run: Path,
    seed: int,
    block: int,
    mesh: Mesh,
) -> dict[str, Costed]:
    """Prints what an audit would ask and take, by timing blocks of noise.

    Args:
      subject: Who would be asked.
      split: Who would be asked about.
      asking: What would be asked.
      shadowed: Whom it would be compared with. What shadows have answered an earlier audit counts as if it were to be
        asked anew.
      run: Where the model is.
      seed: The audit's seed.
      block: Queries per dispatch.
      mesh: Devices.

    Returns:
      Pass -> what it takes.

    Raises:
      InputError: as the audit would before it asks.
    """
    check_sizes(len(split.members), len(split.nonmembers))
    names, queries = named(asking, subject.target), queries_of(split, subject.target.num_classes)
    check_answered(names, subject.target)
    check_queries(queries, subject.target)
    found = compared(shadowed, comparable(names), subject, queries, run)
    num = 0 if found is None else len(found.chosen)
    begun, times, n = time.monotonic(), asking.times, len(queries.row)
    costed = cost_passes(subject, names, asking, queries.cond, times=(times,), seed=seed, block=block, mesh=mesh)
    costs = {where: each.cost for where, each in costed.items()}
    bank = black.calls(subject.target, asking) if any(ENTRIES[name].access == "black" for name in names) else 0
    table = _table("pass", "attacks", "calls a query", "calls", "about", "device memory")
    for where, each in costed.items():
        _pass(table, where, each, times, n)
    for where, each in costed.items():
        if num and each.cost.shadowed:
            _pass(table, f"shadows: {num} x {where}", each, times, num * n)
    for what, seconds in {name: value for cost in costs.values() for name, value in cost.needs.items()}.items():
        _row(table, what, "made once", "", f"{bank:,}" if what == "bank" else "", clock(seconds), "")
    _show(table)
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in map(np.asarray, jax.tree.leaves(subject.target.params)))
    answers = n * sum(each.measured.features for each in costed.values())
    theirs = num * n * sum(each.measured.features for each in costed.values() if each.cost.shadowed)
    more = f", {_bytes(theirs)} of the shadows' answers on disk" if num else ""
    print(f"{n:,} queries; {_bytes(weights)} of weights, {_bytes(answers)} of answers on the host and on disk{more}")
    whole = clock(estimate(costs, list(costs), times, n, num))
    print(f"about {whole} in all; timing it took {clock(time.monotonic() - begun)}")
    return costed


def _pass(table: Table, what: str, each: Costed, times: int, n: int) -> None:
    """Adds the row of a pass over so many queries, or of all shadows' passes over theirs."""
    seconds, calls = each.cost.once + n * each.cost.per_query[times], each.calls[times]
    told = f"{calls:,}", f"{calls * n:,}", clock(seconds), _bytes(each.measured.memory)
    _row(table, what, ", ".join(each.names), *told)


def _table(*heads: str) -> Table:
    return Table(*heads, box=None, pad_edge=False, header_style="bold")


def _row(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))


def _show(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _bytes(num: int | None) -> str:
    if num is None:
        return "not told"
    size, unit = next(((size, unit) for size, unit in UNITS if num >= size), (1, "bytes"))
    return f"{num / size:.3g} {unit}"
