"""The contract that every attack keeps, over the table ATTACKS; and attacks made from attacks."""

import functools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import asked_once, gray_box, noise_of
from diffaudit_jax.attack import Attack, Spec, together, with_score
from diffaudit_jax.attacks import loss_trajectory, variation, x0_trajectory
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.auditing import audit
from diffaudit_jax.losses import Losses
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import Query, to_signed
from tests.oracles import (
    ACCESS,
    ATTACKS,
    EPS32,
    PROCESSES,
    SHAPE,
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
def test_blocks_devices_and_the_order_of_queries_do_not_matter(name):
    order = np.asarray([4, 0, 5, 2, 1, 3])
    shuffled = jax.tree.map(lambda leaf: leaf[order], pool(6))
    seen = audit(MADE[name], conv(PROCESS), shuffled, key=KEY, block=4, mesh=local_mesh(2))
    close(seen.features, jax.tree.map(lambda leaf: leaf[order], streamed(name).features))


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


def clean(times):
    """A gray-box attack that asks about the query itself, and then about what the first answer says."""

    def observe(access, evidence, key, query):
        keys = [api_keys(key, t)[0] for t in times]
        answers = [
            noise_of(access, key, query.x, t, query.cond) + jax.random.normal(key)
            for key, t in zip(keys, times, strict=True)
        ]
        last = access.denoise(api_keys(key, times[0], 2)[1], answers[0], times[0], query.cond)
        return jnp.stack([*answers, last])

    times = [np.float32(t) for t in times]
    spec = Spec("clean", "gray", "https://example.org", len(times) + 1, {}, clean=tuple(float(t) for t in times))
    return Attack(spec, gray_box, (), observe, lambda features: features.sum((1, 2, 3, 4)))


def test_together_sees_what_each_sees_alone_and_asks_once_what_several_ask():
    attacks = {
        "first": clean([0.1, 0.2]),
        "second": clean([0.2, 0.3, 0.1]),
        "third": x0_trajectory([0.1, 0.2], common_noise=False),
    }
    both = together(attacks)
    assert both.spec.calls == 3 + 4 + 2 - 2
    assert json.loads(json.dumps(both.spec.config)) == both.spec.config
    query = jax.tree.map(lambda leaf: leaf[0], signed_queries(pool(1)))
    for target in (conv(PROCESS), gaussian(PROCESS)):
        target, calls = counted(target)
        access = both.grant(target)
        got = jax.jit(lambda query, access=access: both.observe(access, both.evidence, KEY, query))(query)
        jax.effects_barrier()
        assert len(calls) == both.spec.calls
        for name, attack in attacks.items():
            alone = jax.jit(lambda query, a=attack, access=access: a.observe(access, a.evidence, KEY, query))(query)
            close(got[name], alone)
    seen = audit(both, gaussian(PROCESS), pool(3), key=KEY)
    np.testing.assert_array_equal(seen.scores, attacks["first"].score(seen.features["first"]))


def test_what_is_asked_once_is_the_same_array_at_the_same_known_time():
    target, calls = counted(gaussian(PROCESS))
    access, x = asked_once(gray_box(target)), jnp.ones(SHAPE)
    for xt, t in [(x, np.float32(0.2)), (x, np.float32(0.2)), (x + 0, np.float32(0.2)), (x, np.float32(0.3))]:
        access.denoise(KEY, xt, t)
    access.denoise(KEY, x, np.float32(0.2), jnp.asarray(1))
    assert len(calls) == 4
    jax.jit(lambda t: (access.denoise(KEY, x, t), access.denoise(KEY, x, t)))(0.2)
    jax.effects_barrier()
    assert len(calls) == 6


def test_attacks_of_different_access_do_not_join():
    white = loss_trajectory([0.2])
    gray = replace(white, spec=replace(white.spec, access="gray"))
    with pytest.raises(ValueError, match=r"one and the same access, got {'a': 'white-box', 'b': 'gray-box'}"):
        together({"a": white, "b": gray})
    with pytest.raises(ValueError, match="one and the same access"):
        together({})


def test_image_to_image_attacks_join_if_they_ask_the_same_service():
    attacks = {"a": variation(0.4, num_variations=2, num_steps=2), "b": variation(0.6, num_variations=1, num_steps=2)}
    seen = audit(together(attacks), gaussian(PROCESS), pool(3), key=KEY).features
    for name, attack in attacks.items():
        close(seen[name], audit(attack, gaussian(PROCESS), pool(3), key=KEY).features)
    with pytest.raises(
        ValueError, match="attacks of one pass ask one and the same service, a, c are granted different"
    ):
        together({"a": attacks["a"], "c": variation(0.4, num_variations=2, num_steps=3)})
