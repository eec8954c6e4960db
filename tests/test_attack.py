"""The contract that every attack keeps, over the table ATTACKS; and attacks made from attacks."""

import functools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.attack import concatenate, with_score
from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.auditing import audit
from diffaudit_jax.losses import Losses
from diffaudit_jax.types import Query, to_signed
from tests.oracles import (
    ACCESS,
    ATTACKS,
    EPS32,
    PROCESSES,
    auc,
    conv,
    counted,
    gaussian,
    memorising,
    null_se,
    pool,
    signed,
    stub,
)

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(7)
MADE = {name: make(PROCESS) for name, make in ATTACKS.items()}
every_attack = pytest.mark.parametrize("name", ATTACKS)


@functools.cache
def streamed(name):
    """What each attack sees of a small network, six queries in a block of eight."""
    return audit(MADE[name], conv(PROCESS), pool(6), key=KEY, block=8)


def signed_queries(queries):
    return Query(to_signed(queries.x), None, jnp.asarray(queries.row))


def close(got, want):
    """Predictions sum 9 taps x 8 channels in another order; a loss near 0 is a mean of squares of size 1."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=72 * EPS32, atol=72 * EPS32), got, want)


@every_attack
def test_spec_is_json_and_names_the_access_it_is_granted(name):
    spec = MADE[name].spec
    assert json.loads(json.dumps([spec.config, spec.scoring])) == [dict(spec.config), dict(spec.scoring)]
    assert spec.paper.startswith("https://")
    assert type(MADE[name].grant(gaussian(PROCESS))) is ACCESS[spec.access]


@every_attack
def test_narrow_access_suffices_and_vmap_agrees_with_the_stream(name):
    attack, queries = MADE[name], signed_queries(pool(6))
    narrow = stub(attack.grant(conv(PROCESS)))

    def observe(query):
        return attack.observe(narrow, attack.evidence, jax.random.fold_in(KEY, query.row), query)

    close(jax.jit(jax.vmap(observe))(queries), streamed(name).features)


@every_attack
def test_calls_are_the_calls_made_and_one_query_agrees_with_the_stream(name):
    attack, query = MADE[name], jax.tree.map(lambda leaf: leaf[0], signed_queries(pool(6)))
    target, calls = counted(conv(PROCESS))
    access = attack.grant(target)

    def observe(query):
        return attack.observe(access, attack.evidence, jax.random.fold_in(KEY, query.row), query)

    close(jax.jit(observe)(query), jax.tree.map(lambda leaf: leaf[0], streamed(name).features))
    jax.effects_barrier()
    assert len(calls) == attack.spec.calls


@every_attack
def test_higher_score_means_member(name):
    queries = pool(24)
    scores = audit(MADE[name], memorising(PROCESS, signed(queries.x[:12])), queries, key=KEY, block=24).scores
    assert auc(scores[:12], scores[12:]) == 1


@every_attack
def test_a_model_that_knows_no_data_has_auc_half(name):
    scores = audit(MADE[name], gaussian(PROCESS), pool(600), key=KEY, block=600).scores
    # Of 180,000 pairs 2e-7 each tie, the spacing of float32 over the spread of the scores: more than 5 is no chance.
    assert len(np.unique(scores)) >= 595
    assert abs(auc(scores[:300], scores[300:]) - 0.5) < 4 * null_se(300, 300)


@every_attack
def test_score_is_a_function_of_the_features_alone(name):
    attack, seen = MADE[name], streamed(name)
    assert seen.scores.shape == (6,)
    assert seen.scores.dtype == np.float64
    np.testing.assert_array_equal(attack.score(seen.features), seen.scores)
    order = [3, 1, 5]
    some = jax.tree.map(lambda leaf: leaf[order], seen.features)
    np.testing.assert_array_equal(attack.score(some), seen.scores[order])


def test_with_score_changes_only_the_conclusion():
    attack = loss_trajectory(PROCESS.times(3))
    other = with_score(attack, lambda features: np.zeros(len(features.eps)), rule="none")
    assert other.spec.scoring == {"rule": "none"}
    assert (other.spec.config, other.observe, other.grant) == (attack.spec.config, attack.observe, attack.grant)
    features = Losses(*np.random.default_rng(0).uniform(size=(3, 4, 3, 1)))
    np.testing.assert_array_equal(other.score(features), 0)
    assert (attack.score(features) < 0).all()


def test_concatenate_sees_what_both_see_each_with_its_own_key():
    first, second = (loss_trajectory([0.2], common_noise=common, num_noises=2) for common in (False, True))
    both = concatenate(concatenate(first, first, first.score), second, lambda pair: second.score(pair[1]))
    assert both.spec.calls == 6
    assert both.spec.config["second"] == second.spec.config
    assert json.loads(json.dumps(both.spec.config)) == both.spec.config
    access = both.grant(gaussian(PROCESS))

    @jax.jit
    def observe(query):
        keys = jax.random.split(jax.random.split(KEY)[0])
        return both.observe(access, both.evidence, KEY, query), (
            tuple(first.observe(access, first.evidence, key, query) for key in keys),
            second.observe(access, second.evidence, KEY, query),
        )

    got, want = observe(jax.tree.map(lambda leaf: leaf[0], signed_queries(pool(1))))
    close(got, want)
    assert (got[0][0].eps != got[0][1].eps).all()
    assert both.score(jax.tree.map(lambda leaf: leaf[None], got)) == second.score(
        jax.tree.map(lambda leaf: leaf[None], want[1])
    )


def test_attacks_of_different_access_do_not_join():
    white = loss_trajectory([0.2])
    gray = replace(white, spec=replace(white.spec, access="gray"))
    with pytest.raises(ValueError, match="cannot join a white-box and a gray-box attack"):
        concatenate(white, gray, white.score)
