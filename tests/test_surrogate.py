"""Surrogates: what an attack sees of one is what it would see of a target, and the target is asked nothing."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import BlackBox, gray_box, white_box
from diffaudit_jax.attack import together
from diffaudit_jax.attacks import by_surrogate, loss_trajectory, nearest, x0_trajectory
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Query
from tests.oracles import (
    ATTACKS,
    EPS32,
    PROCESSES,
    SHAPE,
    auc,
    conv,
    counted,
    gaussian,
    images,
    memorising,
    null_se,
    pool,
    signed,
    stub,
)

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(6)
every_attack = pytest.mark.parametrize("name", ATTACKS)


def refuse(params, key, cond):
    raise AssertionError("the target was asked")


def silent(shape=SHAPE):
    """A target that must not be asked."""
    return Target(None, shape, refuse)


def close(got, want):
    """Predictions of the small network sum 9 taps x 8 channels, in another order in another program."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=72 * EPS32, atol=72 * EPS32), got, want)


@pytest.mark.parametrize("name", ["eps-mean", "api-x0"])
def test_it_sees_what_the_attack_sees_and_scores_it_the_same(name):
    attack, surrogate, queries = ATTACKS[name](PROCESS), conv(PROCESS), pool(6)
    want = audit(attack, surrogate, queries, key=KEY, block=8)
    got = audit(by_surrogate(attack, surrogate), silent(), queries, key=KEY, block=8)
    close(got.features, want.features)
    np.testing.assert_array_equal(got.scores, attack.score(got.features))


@every_attack
def test_spec_is_json_that_says_what_is_asked_of_whom(name):
    attack, surrogate = ATTACKS[name](PROCESS), conv(PROCESS)
    spec = by_surrogate(attack, surrogate).spec
    assert json.loads(json.dumps([spec.config, spec.scoring])) == [spec.config, spec.scoring]
    assert (spec.access, spec.calls, spec.clean, spec.scoring) == ("black", 0, (), attack.spec.scoring)
    asked = spec.config["asked"]
    assert (asked["attack"], asked["calls"], asked["access"]) == (
        attack.spec.name,
        attack.spec.calls,
        attack.spec.access,
    )
    assert spec.config["surrogate"] == surrogate.config


def test_narrow_access_suffices_and_the_target_is_not_called():
    target, calls = counted(gaussian(PROCESS))
    surrogate, asked = counted(conv(PROCESS))
    attack = by_surrogate(loss_trajectory([0.2, 0.6], num_noises=2), surrogate)
    assert type(attack.grant(target)) is BlackBox
    access, x = stub(attack.grant(target)), jnp.asarray(signed(images(1)[0]), jnp.float32)
    jax.jit(lambda x: attack.observe(access, attack.evidence, KEY, Query(x)))(x)
    jax.effects_barrier()
    assert (len(calls), len(asked)) == (0, attack.spec.config["asked"]["calls"])


def test_weights_are_arguments_of_the_program():
    """One trace serves all surrogates of an architecture: what it is given decides, not what it was made with."""
    attack, other = (by_surrogate(x0_trajectory([0.2]), conv(PROCESS, seed=seed)) for seed in (0, 1))
    x = jnp.asarray(signed(images(1)[0]), jnp.float32)
    observe = jax.jit(lambda evidence, x: attack.observe(None, evidence, KEY, Query(x)))
    apart = jax.jit(lambda evidence, x: other.observe(None, evidence, KEY, Query(x)))(other.evidence, x)
    close(observe(other.evidence, x), apart)
    assert abs(observe(attack.evidence, x).x0 - apart.x0).max() > 1e-2


@pytest.mark.parametrize(("block", "devices"), [(16, 1), (5, 2)])
def test_scores_do_not_depend_on_block_devices_or_order(block, devices):
    attack, queries = by_surrogate(loss_trajectory([0.2, 0.6], common_noise=False), conv(PROCESS)), pool(19)
    order = np.random.default_rng(0).permutation(19)
    shuffled = jax.tree.map(lambda leaf: leaf[order], queries)
    seen = audit(attack, silent(), shuffled, key=KEY, block=block, mesh=local_mesh(devices))
    close(seen.scores, audit(attack, silent(), queries, key=KEY, block=24).scores[order])


ACCESSES = {
    "white": lambda: loss_trajectory([0.1], loss="x0"),
    "gray": lambda: x0_trajectory([0.1]),
}


@pytest.mark.parametrize("access", ACCESSES)
def test_a_surrogate_of_a_memorising_models_samples_finds_its_members(access):
    queries = pool(24)
    bank = draw_bank(KEY, memorising(PROCESS, signed(queries.x[:12])), 200, block=200)
    attack = by_surrogate(ACCESSES[access](), memorising(PROCESS, signed(bank)))
    scores = audit(attack, silent(), queries, key=KEY, block=24).scores
    assert auc(scores[:12], scores[12:]) == 1


@pytest.mark.parametrize("access", ACCESSES)
def test_a_surrogate_of_samples_that_know_no_data_has_auc_half(access):
    bank = draw_bank(KEY, gaussian(PROCESS), 100, block=200)
    attack = by_surrogate(ACCESSES[access](), memorising(PROCESS, signed(bank)))
    scores = audit(attack, silent(), pool(600), key=KEY, block=600).scores
    assert len(np.unique(scores)) >= 595
    assert abs(auc(scores[:300], scores[300:]) - 0.5) < 4 * null_se(300, 300)


def test_it_runs_in_one_pass_with_other_black_box_attacks():
    surrogate, queries = conv(PROCESS), pool(5)
    attacks = {"near": nearest(images(20)), "trained": by_surrogate(x0_trajectory([0.2]), surrogate)}
    both = audit(together(attacks), silent(), queries, key=KEY, block=8)
    for name, attack in attacks.items():
        close(both.features[name], audit(attack, silent(), queries, key=KEY, block=8).features)


def test_the_fingerprint_tells_surrogates_and_attacks_apart():
    white, surrogate = loss_trajectory([0.2]), conv(PROCESS)
    attacks = [
        by_surrogate(white, surrogate),
        by_surrogate(white, conv(PROCESS, seed=1)),
        by_surrogate(white, replace(surrogate, config={"sampler": "ddpm"})),
        by_surrogate(loss_trajectory([0.3]), surrogate),
        by_surrogate(loss_trajectory([0.2], noise_key=jax.random.key(1)), surrogate),
        by_surrogate(x0_trajectory([0.2]), surrogate),
        white,
    ]
    prints = [fingerprints(attack, silent(), pool(3), KEY)["attack"] for attack in attacks]
    assert len(set(prints)) == len(attacks)


def test_surrogates_that_cannot_be_asked_are_refused():
    white, surrogate = loss_trajectory([0.2]), conv(PROCESS)
    with pytest.raises(InputError, match="white-box access needs a diffusion model, and this target offers samples"):
        by_surrogate(white, silent())
    for grant, says in ((white_box, "needs gradients"), (gray_box, "a Python function: train one")):
        with pytest.raises(InputError, match=says):
            by_surrogate(replace(white, grant=grant), replace(surrogate, host=True))
    with pytest.raises(InputError, match=r"queries of shape \(2, 4, 4\) do not fit a surrogate of shape \(4, 4, 2\)"):
        audit(by_surrogate(white, surrogate), silent((2, 4, 4)), pool(3, shape=(2, 4, 4)), key=KEY)
