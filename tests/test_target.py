"""A target drawn in another way is the same model, and says how it is drawn."""

import jax
import numpy as np
import pytest

from diffaudit_jax.bank import draw_bank
from diffaudit_jax.process import edm
from diffaudit_jax.target import Target, diffusion_target, redrawn
from diffaudit_jax.types import InputError, Network
from tests.oracles import PROCESSES, SHAPE, conv, gaussian

PROCESS = PROCESSES["linear-50"]


def drawn(target):
    return draw_bank(jax.random.key(3), target, 8, block=8)


def test_a_target_redrawn_is_the_one_that_was_made_so():
    target = conv(PROCESS)
    assert target.network is not None
    made = diffusion_target(target.params, target.network, PROCESS, SHAPE, sampler="ancestral", sample_steps=7)
    again = redrawn(target, sampler="ancestral", sample_steps=7)
    assert again.config == made.config
    np.testing.assert_array_equal(drawn(again), drawn(made))
    assert not np.array_equal(drawn(again), drawn(target))


def test_what_is_not_said_stays_as_it_was():
    target = conv(PROCESS)
    assert target.network is not None
    network = Network(target.network.init, target.network.apply, {"named": "by its maker"})
    options = {"num_classes": 3, "variance": "fixed_large", "sampler": "ancestral", "clip": False}
    made = diffusion_target(target.params, network, PROCESS, SHAPE, config={"source": "elsewhere"}, **options)
    again = redrawn(made)
    assert again.config == {**made.config, "sample_steps": 50}  # the sampler's usual number, here all of them
    assert (again.num_classes, again.variance, again.network) == (3, "fixed_large", network)
    other = gaussian(PROCESS).network
    assert redrawn(made, network=other).network is other


def test_what_cannot_be_drawn_so_is_refused():
    with pytest.raises(InputError, match="offers samples only"):
        redrawn(Target((), SHAPE, lambda params, key, cond: jax.numpy.zeros(SHAPE)))
    with pytest.raises(InputError, match="unknown sampler 'dddim': did you mean 'ddim'"):
        redrawn(conv(PROCESS), sampler="dddim")
    with pytest.raises(InputError, match="needs the ladder of an NCSN"):
        redrawn(gaussian(edm()), sampler="langevin")
