"""What the passes of an audit take, each measured on noise, with what a black-box attacker prepares before them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from diffaudit_jax import models, process
from diffaudit_jax.bank import samples
from diffaudit_jax.cli import black
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.measured import Measured, calls_of, measure
from diffaudit_jax.cli.passes import Pass, passes
from diffaudit_jax.cli.planner import PRIORITY, Cost
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import setting_of
from diffaudit_jax.cli.shadowed import comparable
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.target import diffusion_target, redrawn

SURROGATE_BATCH, TABLE_BATCH = 64, 1024
TRAINED_IN = 3
"""Network calls that a training step takes for an example: one forward, and about two for the gradient."""


class Costed(NamedTuple):
    """A pass, and what it takes.

    Attributes:
      names: Attacks that score it.
      calls: Times of the trajectories -> network calls a query.
      cost: Seconds.
      measured: What was measured, at the fewest times.
    """

    names: tuple[str, ...]
    calls: Mapping[int, int]
    cost: Cost
    measured: Measured


def cost_passes(
    subject: Subject,
    names: tuple[str, ...],
    asking: Asking,
    classes: np.ndarray | None,
    *,
    times: Sequence[int],
    seed: int,
    block: int,
    mesh: Mesh,
    patience: float = np.inf,
) -> dict[str, Costed]:
    """Measures passes in the planner's order, until patience ends.

    Args:
      subject: Who is asked.
      names: Attacks, of `ENTRIES`.
      asking: Their settings.
      classes: Classes of the queries to come, or None.
      times: Numbers of times of the trajectories, rising; the fewest are measured, and others reckoned by their calls.
      seed: The audit's seed.
      block: Queries per dispatch.
      mesh: Devices.
      patience: Seconds after which no further pass is measured. The first always is.

    Returns:
      Pass -> what it takes.
    """
    begun, costs, bank = time.monotonic(), {}, None
    ends = times[0], times[-1]
    for group in _groups(names):
        if costs and time.monotonic() - begun > patience:
            break
        # Making attacks draws their noise, which takes time too: not before it is their turn.
        made = [_made(subject, group, replace(asking, times=num), seed) for num in ends]
        ((where, each),) = made[0].items()
        with stage(f"timing: {where}"):
            found = measure(each.attack, subject.target, classes, block=block, mesh=mesh)
        needs = {}
        if each.attack.spec.access == "black":
            if bank is None and black.draws(subject.target):
                bank = _bank(subject, asking, classes, block, mesh)
            needs = {} if bank is None else {"bank": bank}
            if where == "surrogate":
                needs |= {"surrogate": _surrogate(subject, asking, found, calls_of(each.attack))}
        # Of every attack they grow by as much for each further time, if at all.
        calls = dict(zip(times, _between(ends, [calls_of(some[where].attack) for some in made], times), strict=True))
        least = max(1, calls[times[0]])
        per_query = {num: found.per_query * max(1, count) / least for num, count in calls.items()}
        cost = Cost(found.compile, per_query, needs, bool(comparable(group)))
        costs[where] = Costed(tuple(each.scored), calls, cost, found)
    return costs


def _between(ends: tuple[int, int], calls: Sequence[int], times: Sequence[int]) -> list[int]:
    """Returns the calls at all times, on the line between those at the two ends."""
    return [int(count) for count in np.rint(np.interp(times, ends, calls))]


def _groups(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Returns the names of each pass, in the planner's order; what it does not know comes last."""
    known = [observed for some in PRIORITY.values() for observed in some]
    others = dict.fromkeys(ENTRIES[name].observed for name in names if ENTRIES[name].observed not in known)
    passes_of = (*PRIORITY.values(), *((observed,) for observed in others))
    groups = (tuple(name for name in names if ENTRIES[name].observed in some) for some in passes_of)
    return [group for group in groups if group]


def _made(subject: Subject, names: tuple[str, ...], asking: Asking, seed: int) -> dict[str, Pass]:
    """Makes the passes, black-box ones of a blank bank and of a surrogate that was not trained."""
    encoder = subject.encoder
    setting = setting_of(asking, subject.target, encoder, seed)
    of_bank = tuple(name for name in names if ENTRIES[name].access == "black")
    made = passes(tuple(name for name in names if name not in of_bank), setting)
    if not of_bank:
        return made
    setting = black.blanks(setting, subject)
    if encoder is None and "surrogate" in of_bank:
        name = black.surrogate_family(subject, asking)
        schedule = process.from_config(models.FAMILIES[name].schedule)
        network = models.from_linen(models.build(name, subject.target.shape), schedule)
        untrained = diffusion_target(network.init(jax.random.key(0)), network, schedule, subject.target.shape)
        setting = setting._replace(surrogate=untrained)
    return made | passes(of_bank, setting)


def _bank(subject: Subject, asking: Asking, classes: np.ndarray | None, block: int, mesh: Mesh) -> float:
    """Returns the seconds that drawing the bank takes."""
    target = subject.target
    quick = target if target.process is None else redrawn(target, sampler="ddim", sample_steps=asking.bank_steps)
    with stage("timing: the bank"):
        found = measure(samples(), quick, classes, block=block, mesh=mesh)
    return found.compile + asking.bank * found.per_query


def _surrogate(subject: Subject, asking: Asking, found: Measured, calls: int) -> float:
    """Returns about the seconds that training the surrogate takes, from what a call of it does."""
    per_call = found.per_query / max(1, calls)
    batch = SURROGATE_BATCH if subject.encoder is None else min(TABLE_BATCH, asking.bank)
    return found.compile + asking.surrogate_steps * batch * TRAINED_IN * per_call
