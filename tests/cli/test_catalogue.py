"""Attacks by name, as the command line makes them: for every family's process, and in as few questions as there are."""

import jax
import numpy as np
import pytest

from diffaudit_jax.attacks.statistics import checked_grid
from diffaudit_jax.auditing import observing
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES, named
from diffaudit_jax.cli.passes import passes
from diffaudit_jax.cli.setting import Setting, blank, grid, own, truncated
from diffaudit_jax.models import FAMILIES
from diffaudit_jax.process import ddpm_linear, from_config
from diffaudit_jax.types import Query
from tests.oracles import SHAPE, conv, counted

SCHEDULES = {
    **{name: family.schedule for name, family in FAMILIES.items()},
    "coarse": {"name": "ddpm-cosine", "num_steps": 24},
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def setting(process, **asking):
    bank = np.zeros((5, *SHAPE), np.uint8)
    surrogate = blank(process, SHAPE)
    return Setting(Asking(**asking), process, key=jax.random.key(0), bank=bank, surrogate=surrogate)


@every_schedule
def test_every_attack_can_be_asked_of_every_family(name):
    process = from_config(SCHEDULES[name])
    target, query = conv(process), Query(np.zeros(SHAPE, np.float32), None, np.asarray(0))
    names = tuple(name for name, entry in ENTRIES.items() if entry.of != "vae")
    for each in passes(names, setting(process, times=5, truncate=1.0)).values():
        # Traced and not run: a schedule too coarse for an attack's questions is told here.
        shared = target.params, each.attack.evidence
        seen = jax.eval_shape(observing(each.attack, target), shared, jax.random.key(0), query)
        assert jax.tree.leaves(seen)


@every_schedule
@pytest.mark.parametrize("truncate", [0.1, 0.2, 0.3, 0.6, 1.0])
def test_a_truncation_keeps_the_times_that_the_linear_schedule_keeps(name, truncate):
    process = from_config(SCHEDULES[name])
    kept = setting(process, times=50, truncate=truncate)
    published = ddpm_linear().times(50)
    levels = published[published <= np.float32(truncate)]
    try:
        expected = own(kept, levels)
    except ValueError:  # none of these levels is in the range of the process
        return
    bound = truncated(kept)
    assert bound is not None
    times = checked_grid(grid(kept))
    np.testing.assert_array_equal(times[times <= np.float32(bound)], expected)


def test_all_gray_asks_as_often_as_the_union_of_its_questions():
    process = ddpm_linear()
    names = named(Asking(access="gray", attack=("all-gray",)))
    asking = setting(process, times=3, truncate=1.0)
    made = passes(names, asking)
    alone = {name: ENTRIES[name].make(asking).spec.calls for name in names}
    assert alone == {"x0-api": 3, "secmi": 11, "pia": 2, "pian": 2, "sima": 1, "pfami": 20}
    target, calls = counted(conv(process))
    query = Query(np.zeros(SHAPE, np.float32), None, np.asarray(0))
    for each in made.values():
        observe = jax.jit(observing(each.attack, target))
        jax.block_until_ready(observe((target.params, each.attack.evidence), jax.random.key(0), query))
    jax.effects_barrier()
    # SecMI, PIA and PIAN begin with the same question.
    assert len(calls) == sum(each.attack.spec.calls for each in made.values()) == sum(alone.values()) - 2
