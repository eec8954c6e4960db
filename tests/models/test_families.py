"""Every family builds at its published size, trains, samples, and is open to every attack that its access allows."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax import audit, training
from diffaudit_jax.attack import together
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.data import Pool
from diffaudit_jax.models import FAMILIES, build, count_params, from_config, from_linen
from diffaudit_jax.process import ddpm_linear
from diffaudit_jax.process import from_config as process_from_config
from diffaudit_jax.sampler.catalogue import SAMPLERS, check_sampler
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.types import InputError
from tests.oracles import ATTACKS, images, pool

SHAPE = (8, 8, 1)
QUERIES = pool(5, shape=SHAPE)
each_family = pytest.mark.parametrize("name", FAMILIES)


def tiny(name):
    options: dict[str, Any] = {"guided-diffusion": {"head_channels": 4}}.get(name, {})
    schedule = FAMILIES[name].schedule
    if name == "ncsnv2":
        schedule = {**schedule, "num_steps": 12}  # annealed Langevin dynamics visits every level
    return build(name, SHAPE, channels=8, **options), process_from_config(schedule)


@functools.cache
def instance(name):
    """A family's network at random parameters, as a target that its own sampler samples."""
    model, process = tiny(name)
    network, rng = from_linen(model, process), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
    sampler = FAMILIES[name].sampler
    steps = process.steps if sampler == "langevin" else 3
    return diffusion_target(params, network, process, SHAPE, sampler=sampler, sample_steps=steps)


# From the papers (35.7 M, 52.5 M) and, where they say nothing, of the networks as they stand.
MILLIONS = {"ddpm": 35.7, "improved-diffusion": 52.5, "ncsnv2": 29.7}


@each_family
def test_every_family_builds_at_its_published_size(name):
    model = build(name, (32, 32, 3), size="published")
    params = jax.eval_shape(from_linen(model, tiny(name)[1]).init, jax.random.key(0))
    assert round(count_params(params) / 1e6, 1) == MILLIONS.get(name, round(count_params(params) / 1e6, 1)) > 10


@each_family
@pytest.mark.parametrize("size", ["small", "published"])
def test_every_family_is_made_again_from_json(name, size):
    model = build(name, (32, 32, 3), size=size)
    assert from_config(json.loads(json.dumps(model.config))) == model


@each_family
def test_every_family_is_sampled_by_its_own_sampler(name):
    drawn = draw_bank(jax.random.key(0), instance(name), 3, block=2, mesh=local_mesh(1))
    assert (drawn.shape, drawn.dtype) == ((3, *SHAPE), np.uint8)
    assert len(np.unique(drawn)) > 1  # an untrained VE model leaves its range
    assert not np.array_equal(drawn[0], drawn[1])


# These ask the network what the trajectory of eps and PIA ask.
ALIKE = ("vlb-sum", "x0-median", "pian")
# NCSN is NCSNv2's network with a level in its norms: its gradient takes half a minute more, and test_ncsn takes it too.
SEEN = {"ncsn": ("gsa1",)}


@each_family
@pytest.mark.parametrize("access", ["white", "gray", "variation"])
def test_every_attack_runs_on_every_family(name, access):
    target = instance(name)
    assert target.process is not None
    made = {
        attack: ATTACKS[attack](target.process) for attack in ATTACKS if attack not in (*ALIKE, *SEEN.get(name, ()))
    }
    # In one pass: the network of a family takes longer to compile than to run.
    some = {attack: each for attack, each in made.items() if each.spec.access == access}
    seen = audit(together(some), target, QUERIES, key=jax.random.key(0), block=5, mesh=local_mesh(1))
    assert some
    for attack, each in some.items():
        scores = each.score(seen.features[attack])
        assert np.isfinite(scores).all(), attack
        assert len(np.unique(scores)) == 5, attack


# A hybrid loss with a learned variance, and EDM's weights; the simple loss is seen to fall in tests/training.
@pytest.mark.parametrize("name", ["improved-diffusion", "edm"])
def test_every_kind_of_family_learns_its_members(name):
    model, process = tiny(name)
    recipe = training.Recipe(num_steps=40, batch_size=16, warmup_steps=0, learning_rate=3e-3)
    losses = []
    members = Pool(images(2, shape=SHAPE), np.arange(2), "two images")
    training.fit(
        jax.random.key(0), model, process, members, recipe, progress=lambda _, __, info: losses.append(float(info.loss))
    )
    assert losses[-1] < losses[0]


@each_family
def test_times_are_matched_at_equal_noise(name):
    reference, process = ddpm_linear(), tiny(name)[1]
    times = process.matched(reference, reference.times(20))
    levels = np.asarray(jax.vmap(process.noise_level)(jnp.asarray(times)))
    wanted = np.asarray(jax.vmap(reference.noise_level)(jnp.asarray(reference.times(20))))
    assert (np.diff(times) > 0).all()
    # A discrete ladder has the nearest of its levels: half a rung off at most.
    rung = {"ncsn": np.log(100) / 9, "ncsnv2": np.log(5000) / 11}.get(name, 0.04) / 2 * 1.001
    assert all(np.abs(np.log(level / wanted)).min() < rung for level in levels)


def test_no_level_in_range_is_refused():
    with pytest.raises(InputError, match=r"none of the noise levels 96\.2 to 157 lies in this process's range"):
        process_from_config(FAMILIES["ncsn"].schedule).matched(ddpm_linear(), np.array([0.95, 1.0], np.float32))


@pytest.mark.parametrize(
    ("sampler", "family", "steps", "says"),
    [
        ("euler-maruyama", "ddpm", 10, "needs a continuous process, and this is ddpm-linear: use predictor-corrector"),
        ("langevin", "edm", 10, "needs the ladder of an NCSN, and this is edm"),
        ("ddim", "ncsn", 11, "ncsn has 10 steps, 11 were asked for"),
        ("heun", "edm", 0, "at least 1 step, got 0"),
    ],
)
def test_samplers_that_do_not_go_with_a_process_are_refused(sampler, family, steps, says):
    assert sampler in SAMPLERS
    with pytest.raises(InputError, match=says):
        check_sampler(sampler, process_from_config(FAMILIES[family].schedule), steps)


def test_unknown_names_and_options_are_refused_by_the_nearest():
    with pytest.raises(InputError, match="unknown model 'ncnsv2': did you mean 'ncsnv2'"):
        build("ncnsv2", SHAPE)
    with pytest.raises(InputError, match="unknown size 'publish': did you mean 'published'"):
        build("ddpm", SHAPE, size="publish")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="unknown option of ncsn 'chanels': did you mean 'channels'"):
        build("ncsn", SHAPE, chanels=8)
