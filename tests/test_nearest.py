"""Nearest samples: against a slow search in float64, and the contract of a black-box attack."""

import functools
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import BlackBox
from diffaudit_jax.attacks import nearest
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Query
from tests.oracles import EPS32, PROCESSES, SHAPE, auc, gaussian, images, memorising, null_se, pool, signed, stub

MODULE = importlib.import_module("diffaudit_jax.attacks.nearest")  # the package exports a function of the same name
PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(2)
DIMS = int(np.prod(SHAPE))
# A sum of DIMS squares and its root, of pixels that NumPy and XLA may round differently.
CLOSE = {"rtol": (DIMS + 3) * EPS32 / 2, "atol": np.sqrt(DIMS) * 4 * EPS32}
PROJECTION = np.random.default_rng(5).normal(size=(6, DIMS)).astype(np.float32)


def project(params, x):
    return params @ x.reshape(-1)


MAKE = {
    "nearest": nearest,
    "nearest 3": functools.partial(nearest, k=3),
    "in features": functools.partial(nearest, features=project, params=PROJECTION),
}
every_attack = pytest.mark.parametrize("name", MAKE)


def refuse(params, key, cond):
    raise AssertionError("the target was asked")


def silent(shape=SHAPE):
    """A target that must not be asked."""
    return Target(None, shape, refuse)


def slow(bank, x, k):
    """The k smallest distances, one pair at a time, in float64."""
    out = [[np.sqrt(sum((a - b) ** 2 for a, b in zip(one.ravel(), g.ravel(), strict=True))) for g in bank] for one in x]
    return np.sort(out, axis=1)[:, :k]


def asked(attack, x, **options):
    """Distances of uint8 or float queries, as an audit sees them."""
    return audit(attack, silent(x.shape[1:]), Query(x, None, np.arange(len(x))), key=KEY, **options).features


@pytest.mark.parametrize(
    ("num", "chunk", "k"),
    [(1, 2048, 1), (7, 2048, 7), (16, 16, 3), (33, 16, 33), (100, 48, 1), (96, 32, 5), (129, 32, 1), (130, 64, 40)],
)
def test_distances_are_those_of_a_slow_search(num, chunk, k, monkeypatch):
    monkeypatch.setattr(MODULE, "CHUNK", chunk)
    bank, x = images(num, 1), images(5, 2) // 64  # so dark that what fills up the last chunk would be nearest
    got = asked(nearest(bank, k=k), x, block=8)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, slow(signed(bank), signed(x), k), **CLOSE)


def test_floats_and_bytes_are_the_same_images():
    bank, x = images(40, 1), images(5, 2)
    want = asked(nearest(bank, k=3), x, block=8)
    for floats in (np.float32, np.float64):
        other = asked(nearest(signed(bank).astype(floats), k=3), signed(x).astype(np.float32), block=8)
        np.testing.assert_allclose(other, want, **CLOSE)
    every_byte = np.arange(256, dtype=np.uint8).reshape(8, *SHAPE)
    rounded_twice = every_byte.astype(np.float32) / np.float32(127.5) - np.float32(1)
    for copies in (every_byte, rounded_twice, signed(every_byte).astype(np.float32)):
        np.testing.assert_array_equal(asked(nearest(every_byte), copies, block=8), 0)


def test_copies_are_at_distance_zero_and_equal_samples_tie():
    shape = (32, 32, 3)
    bank, others = images(40, 1, shape), images(3, 2, shape)
    bank[[3, 37]] = bank[20]  # three of one, in three groups
    bank[[8, 9]] = bank[7]  # three of another, in one
    x = np.concatenate([bank, others])
    got = asked(nearest(bank, k=4), x, block=8)
    copies = np.ones(43, int)
    copies[[3, 37, 20, 7, 8, 9]], copies[40:] = 3, 0
    np.testing.assert_array_equal((got == 0).sum(1), copies)
    np.testing.assert_array_equal(np.sort(got, axis=1), got)
    near = slow(signed(bank), signed(others), 4)
    np.testing.assert_allclose(got[40:], near, rtol=32 * 32 * 3 * EPS32 / 2)
    one = others[:1].astype(int)
    one = np.concatenate([bank[:30], np.repeat(np.clip(one + 3, 0, 255), 4, axis=0)]).astype(np.uint8)
    tied = asked(nearest(one, k=4), others[:1], block=8)[0]
    assert (tied == tied[0]).all()


def test_what_differs_in_one_pixel_by_one_level_is_told_from_a_copy():
    """In floats the product form cannot: its rounding is that of norms of 32, the squared distance 6e-5."""
    x = images(40, 3)
    x[:, 0, 0, 0] //= 2
    beside = x.copy()
    beside[:, 0, 0, 0] += 1
    np.testing.assert_array_equal(asked(nearest(np.concatenate([beside, x])), x, block=8), 0)
    alone = asked(nearest(beside), x, block=8)
    np.testing.assert_allclose(alone, 1 / 127.5, rtol=2 * EPS32)


def test_batched_over_queries_it_is_one_product():
    bank, x = jnp.asarray(images(64)), jnp.zeros((8, *SHAPE))
    jaxpr = jax.make_jaxpr(jax.vmap(lambda x: MODULE.smallest(bank, x, 1)))(x)
    loop, _ = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    products = [eqn for eqn in loop.params["jaxpr"].jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert [eqn.params["dimension_numbers"][1] for eqn in products] == [((), ())]
    assert products[0].outvars[0].aval.shape == (64 // MODULE.GROUP, MODULE.GROUP, 8)


def test_the_bank_is_an_argument_of_the_program():
    attack, other = nearest(images(20, 1)), nearest(images(20, 2))
    observe = jax.jit(lambda evidence, x: attack.observe(None, evidence, KEY, Query(x)))
    copy = jnp.asarray(signed(other.evidence[0][5]), jnp.float32)
    assert observe(other.evidence, copy) == 0
    assert observe(attack.evidence, copy) > 1


def test_memory_does_not_hold_the_bank_as_floats(monkeypatch):
    monkeypatch.setattr(MODULE, "CHUNK", 64)
    shape = (8, 8, 2)

    def temporary(num):
        run = jax.jit(jax.vmap(lambda bank, x: MODULE.smallest(bank, x, 1), (None, 0)))
        like = jax.ShapeDtypeStruct((num, *shape), jnp.uint8), jax.ShapeDtypeStruct((8, *shape), jnp.float32)
        return run.lower(*like).compile().memory_analysis().temp_size_in_bytes

    more = 4096 * int(np.prod(shape))  # bytes of the samples added; as floats four times that
    assert temporary(5120) - temporary(1024) < 2 * more


@functools.cache
def streamed(name):
    return audit(MAKE[name](images(200, 1)), silent(), pool(37), key=KEY, block=40)


@every_attack
@pytest.mark.parametrize(("block", "devices"), [(16, 1), (5, 2)])
def test_scores_do_not_depend_on_block_devices_or_order(name, block, devices):
    order, queries = np.random.default_rng(0).permutation(37), pool(37)
    shuffled = jax.tree.map(lambda leaf: leaf[order], queries)
    seen = audit(MAKE[name](images(200, 1)), silent(), shuffled, key=KEY, block=block, mesh=local_mesh(devices))
    np.testing.assert_allclose(seen.scores, streamed(name).scores[order], rtol=DIMS * EPS32)


@every_attack
def test_spec_is_json_and_asks_nothing(name):
    attack = MAKE[name](images(20))
    assert json.loads(json.dumps(attack.spec.config)) == attack.spec.config
    assert (attack.spec.access, attack.spec.calls) == ("black", 0)
    assert attack.spec.config["samples"] == 20
    assert attack.spec.paper.startswith("https://")
    assert type(attack.grant(gaussian(PROCESS))) is BlackBox


@every_attack
def test_narrow_access_suffices(name):
    attack, queries = MAKE[name](images(200, 1)), pool(37)
    access = stub(BlackBox(lambda key, cond=None: refuse(None, key, cond)))
    x = jnp.asarray(signed(queries.x), jnp.float32)
    observe = jax.jit(jax.vmap(lambda x: attack.observe(access, attack.evidence, KEY, Query(x))))
    np.testing.assert_allclose(observe(x), streamed(name).features, rtol=DIMS * EPS32)


@every_attack
def test_a_memorising_model_is_found_by_its_samples(name):
    queries = pool(24)
    target = memorising(PROCESS, signed(queries.x[:12]))
    seen = audit(MAKE[name](draw_bank(KEY, target, 200)), target, queries, key=KEY, block=24)
    assert auc(seen.scores[:12], seen.scores[12:]) == 1
    if name == "nearest":
        np.testing.assert_array_equal(seen.scores[:12], 0)


@every_attack
def test_samples_that_know_no_data_give_auc_half(name):
    seen = audit(MAKE[name](draw_bank(KEY, gaussian(PROCESS), 200, block=200)), silent(), pool(600), key=KEY, block=600)
    assert len(np.unique(seen.scores)) >= 595
    assert abs(auc(seen.scores[:300], seen.scores[300:]) - 0.5) < 4 * null_se(300, 300)


def test_the_score_is_minus_the_mean_distance():
    distances = np.float32([[1, 2, 6], [0, 0, 3]])
    np.testing.assert_array_equal(nearest(images(9), k=3).score(distances), [-3, -1])
    assert nearest(images(9)).score(distances[:, :1]).dtype == np.float64


def test_distances_in_a_feature_space():
    bank, x = images(50, 1), images(5, 2)
    attack = nearest(bank, k=4, features=project, params=PROJECTION)
    vectors = [signed(some).reshape(len(some), -1) @ PROJECTION.astype(np.float64).T for some in (bank, x)]
    np.testing.assert_allclose(asked(attack, x, block=8), slow(*vectors, 4), rtol=DIMS * EPS32 * 4)
    assert attack.evidence[0].shape == (50, 6)
    same = nearest(bank, k=4, features=lambda params, x: x)
    np.testing.assert_allclose(asked(same, x, block=8), asked(nearest(bank, k=4), x, block=8), **CLOSE)


CHANGES = {
    "bank": nearest(images(20, 1)),
    "one pixel": nearest(np.concatenate([images(20)[:-1], images(20)[-1:] ^ 1])),
    "k": nearest(images(20), k=2),
    "features": nearest(images(20), features=project, params=PROJECTION),
    "params": nearest(images(20), features=project, params=PROJECTION + 1),
}


def test_the_fingerprint_tells_banks_and_settings_apart():
    queries = pool(3)
    attacks = [nearest(images(20)), *CHANGES.values()]
    prints = {fingerprints(attack, silent(), queries, KEY)["attack"] for attack in attacks}
    assert len(prints) == len(attacks)
    assert fingerprints(nearest(images(20)), silent(), queries, KEY)["attack"] in prints


@pytest.mark.parametrize(
    ("bank", "options", "says"),
    [
        (images(8), {"k": 9}, "the 9 nearest of 8 samples were asked for: draw more, or ask for 1 to 8"),
        (images(8), {"k": 0}, "the 0 nearest of 8"),
        (images(0), {}, r"at least one, got shape \(0, 4, 4, 2\)"),
        (np.zeros(8, np.uint8), {}, r"got shape \(8,\)"),
        (images(8).astype(np.int64), {}, "uint8 images or floats .* got int64"),
        (images(8) / 255 * 3, {}, r"lies in \[-1, 1\], got .* to 3: rescale it"),
        (np.where(np.arange(8)[:, None] == 6, np.nan, np.zeros((8, 3))), {}, "sample 6 of the bank holds NaN"),
        (images(8), {"features": lambda params, x: jnp.log(x - 2)}, "features of the bank hold NaN"),
    ],
)
def test_bad_banks_are_refused(bank, options, says):
    with pytest.raises(InputError, match=says):
        nearest(bank, **options)


def test_queries_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"queries of shape \(2, 4, 4\) do not fit a bank of samples of shape \(4, 4"):
        asked(nearest(images(8)), images(3, shape=(2, 4, 4)))
