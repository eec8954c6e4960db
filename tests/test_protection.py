"""Protections: what each does to an answer, what it costs an attacker, and that audits tell them apart."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import gray_box, noise_of, variation_box
from diffaudit_jax.attack import Attack, Spec, together
from diffaudit_jax.attacks import loss_trajectory, variation, x0_trajectory
from diffaudit_jax.attacks.noise import api_keys, noise_at
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.importers import from_callable
from diffaudit_jax.protection import check_budget, noised, protected, rounded, shared_noise
from diffaudit_jax.types import InputError, Query, to_signed
from tests.oracles import EPS32, PROCESSES, SHAPE, auc, conv, counted, gaussian, images, memorising, pool, signed, stub

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(13)
WIDE = (32, 32, 2)


def asking(times=(0.3,), num=1, answer="x0"):
    """A gray-box attack that stores what it is answered about the query itself, [times, num, *shape]."""

    def observe(access, evidence, key, query):
        ask = access.denoise if answer == "x0" else lambda *question: noise_of(access, *question)
        each = lambda t: jax.vmap(lambda key: ask(key, query.x, t, query.cond))(api_keys(key, t, num))  # noqa: E731
        return jnp.stack([each(jnp.float32(t)) for t in times])

    spec = Spec("asking", "gray", "https://example.org", len(times) * num, {"times": list(times), "num": num})
    return Attack(spec, gray_box, (), observe, lambda features: features.reshape(len(features), -1).sum(1))


def answers(attack, target=None, queries=None, key=KEY):
    """What each query was answered, in float64."""
    target = gaussian(PROCESS, 0.2, 0.5, WIDE) if target is None else target
    queries = pool(3, shape=target.shape) if queries is None else queries
    return np.float64(audit(attack, target, queries, key=key, block=8).features)


def measured_std(errors):
    """Root mean square, and its standard error, of independent errors of mean 0."""
    squares = np.square(errors).ravel()
    std = np.sqrt(squares.mean())
    return std, squares.std() / np.sqrt(squares.size) / (2 * std)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_rounding_clips_and_is_off_by_half_a_level_at_most(levels):
    bare = answers(asking(), gaussian(PROCESS, 0.9, 1.0, WIDE))
    got = answers(protected(asking(), rounded(levels)), gaussian(PROCESS, 0.9, 1.0, WIDE))
    assert bare.max() > 1
    assert np.abs(got - np.clip(bare, -1, 1)).max() <= 1 / (levels - 1) + 4 * EPS32
    on_the_levels = (got + 1) / 2 * (levels - 1)
    np.testing.assert_allclose(on_the_levels, np.round(on_the_levels), atol=4 * levels * EPS32)


def test_rounded_answers_are_those_of_an_8_bit_image():
    got = answers(protected(asking(), rounded()))
    bare = np.clip(answers(asking()), -1, 1)
    np.testing.assert_allclose(got, signed(np.round((bare + 1) * 127.5).astype(np.uint8)), atol=4 * EPS32)


@pytest.mark.parametrize("t", [0.05, 0.3])
def test_rounding_blurs_the_noise_estimate_by_alpha_over_sigma_of_a_uniform_error(t):
    # Queries between the 8-bit levels: estimates that lie on a lattice of their own would not round uniformly.
    x = np.random.default_rng(15).uniform(-1, 1, (3, *WIDE)).astype(np.float32)
    attack, queries = asking((t,), 1, "eps"), Query(x, None, np.arange(3))
    bare, got = (answers(each, queries=queries) for each in (attack, protected(attack, rounded())))
    alpha, sigma = float(PROCESS.alpha(jnp.float32(t))), float(PROCESS.sigma(jnp.float32(t)))
    inside = np.abs(answers(asking((t,)), queries=queries)) < 1  # elsewhere it is clipped too
    std, se = measured_std((got - bare)[inside])
    assert abs(std - alpha / sigma / (np.sqrt(3) * 255)) < 4 * se


def test_noise_has_its_standard_deviation_and_is_drawn_for_every_question():
    attack = asking((0.3, 0.5), num=2)
    errors = answers(protected(attack, noised(0.1))) - answers(attack)
    std, se = measured_std(errors)
    assert abs(std - 0.1) < 4 * se
    each = errors.reshape(-1, np.prod(WIDE)) / 0.1  # queries, times and draws
    products = each @ each.T / np.prod(WIDE) - np.eye(len(each)) * np.mean(each**2, axis=1)
    assert np.abs(products).max() < 5 / np.sqrt(np.prod(WIDE))  # 66 pairs: 5 standard errors are 4e-5 of chance
    assert (answers(protected(attack, noised(0.1)), key=jax.random.key(1)) - answers(attack) != errors).all()


def test_queries_that_share_a_draw_cancel_it_and_times_do_not():
    attack, std = asking((0.3, 0.5), num=2), 0.1
    bare, got = answers(attack), answers(protected(attack, shared_noise(std)))
    errors = got - bare
    measured, se = measured_std(errors[0, :, 0])
    assert abs(measured - std) < 4 * se
    # All queries and draws at one time have one error, but for the rounding of what it is added to.
    np.testing.assert_allclose(errors, np.broadcast_to(errors[:1, :, :1], errors.shape), atol=8 * EPS32)
    np.testing.assert_allclose(got[0] - got[1], bare[0] - bare[1], atol=16 * EPS32)
    between = errors[0, 0, 0] * errors[0, 1, 0] / std**2
    assert abs(between.mean()) < 4 / np.sqrt(between.size)


def test_shared_noise_is_drawn_from_the_apis_key_and_not_from_the_audits():
    attack, other = asking(), jax.random.key(99)
    base = answers(protected(attack, shared_noise(0.1)))
    np.testing.assert_array_equal(base, answers(protected(attack, shared_noise(0.1)), key=other))
    assert (base != answers(protected(attack, shared_noise(0.1, key=other)))).any(axis=(1, 2)).all()


def test_shared_noise_is_not_the_noise_that_an_attack_draws_from_the_same_key():
    t, answer = jnp.float32(0.3), jnp.zeros(SHAPE)
    drawn = shared_noise(1.0).shield(jax.random.key(1), t, answer)
    assert (drawn != noise_at(jax.random.key(0), t, 1, SHAPE)[0]).all()


def test_protections_are_applied_first_to_last_and_nest():
    attack, levels = asking(), 4
    last, first = (answers(protected(attack, *order)) for order in (
        (noised(0.1), rounded(levels)), (rounded(levels), noised(0.1))
    ))  # fmt: skip
    assert len(np.unique(np.float32(last))) <= levels < len(np.unique(np.float32(first)))
    # Rounding to 3 levels and then to 4 is not rounding to 4 and then to 3.
    both = protected(attack, rounded(3), rounded(4))
    nested = protected(protected(attack, rounded(4)), rounded(3))
    assert nested.spec == both.spec
    assert [each["levels"] for each in both.spec.config["protections"]] == [3, 4]
    np.testing.assert_array_equal(answers(nested), answers(both))
    assert (answers(both) != answers(protected(attack, rounded(4), rounded(3)))).any()
    np.testing.assert_array_equal(answers(protected(attack)), answers(attack))


def test_variations_are_protected_too():
    attack = variation(0.3, num_variations=1, num_steps=2)
    target, x = gaussian(PROCESS, 0.2, 0.5), to_signed(images(1)[0])
    seen = []

    def observe(access, evidence, key, query):
        seen.append(access.vary(key, query.x, 0.3, None))
        return attack.observe(access, evidence, key, query)

    access = stub(variation_box(2)(target))
    guarded = protected(replace(attack, observe=observe), rounded(16), shared_noise(0.0))
    features = guarded.observe(access, (), KEY, Query(x))
    levels = (np.float64(seen[0]) + 1) / 2 * 15
    np.testing.assert_allclose(levels, np.round(levels), atol=64 * EPS32)
    assert features.mse != attack.observe(access, (), KEY, Query(x)).mse


def test_a_protected_attack_sees_its_record_alone_and_makes_the_calls_that_it_says():
    attack = protected(x0_trajectory([0.1, 0.5], num_noises=2), rounded(), noised(0.1), shared_noise(0.1))
    target, calls = counted(gaussian(PROCESS))
    access, x = stub(attack.grant(target)), to_signed(images(1)[0])
    jax.jit(lambda x: attack.observe(access, attack.evidence, KEY, Query(x)))(x)
    jax.effects_barrier()
    assert len(calls) == attack.spec.calls == 4
    assert json.loads(json.dumps(attack.spec.config)) == attack.spec.config


def test_protected_attacks_join_others_and_see_what_they_see_alone():
    bare = x0_trajectory([0.1, 0.5])
    attacks = {"guarded": protected(bare, noised(0.1), rounded(16)), "bare": bare}
    target, queries = gaussian(PROCESS, 0.2, 0.5), pool(3)
    for both in (together(attacks), together(dict(reversed(attacks.items())))):
        got = audit(both, target, queries, key=KEY, block=8).features
        for name, attack in attacks.items():
            alone = audit(attack, target, queries, key=KEY, block=8).features.x0
            np.testing.assert_allclose(got[name].x0, alone, rtol=16 * EPS32, atol=16 * EPS32)
    whole = audit(protected(together({"a": bare, "b": bare}), noised(0.1)), target, queries, key=KEY, block=8)
    np.testing.assert_array_equal(whole.features["a"].x0, whole.features["b"].x0)


def test_an_audit_behind_a_protection_is_another_audit(tmp_path):
    attack, target, queries = x0_trajectory([0.3]), gaussian(PROCESS), pool(2)
    protections = {
        "bare": (),
        "rounded": (rounded(),),
        "coarser": (rounded(16),),
        "noised": (noised(0.1),),
        "noisier": (noised(0.2),),
        "shared": (shared_noise(0.1),),
        "another key": (shared_noise(0.1, key=jax.random.key(1)),),
        "in order": (rounded(), noised(0.1)),
        "in another": (noised(0.1), rounded()),
    }
    guarded = {name: protected(attack, *each) if each else attack for name, each in protections.items()}
    prints = {name: fingerprints(each, target, queries, KEY) for name, each in guarded.items()}
    assert len({each["attack"] for each in prints.values()}) == len(protections)
    audit(guarded["rounded"], target, queries, key=KEY, out=tmp_path)
    audit(protected(attack, rounded(256)), target, queries, key=KEY, out=tmp_path)
    with pytest.raises(InputError, match="holds another audit"):
        audit(attack, target, queries, key=KEY, out=tmp_path)


def test_auc_falls_with_the_noise_as_computed():
    """Scores are (s^2/d) chi2_d of members and (s^2/d) chi2_d(d e/s^2) of others, e their error without noise."""
    num, d, stds = 200, int(np.prod(SHAPE)), (0.0, 0.8, 2.0)
    queries = pool(2 * num)
    target = memorising(PROCESS, signed(queries.x[:num]))
    attack = x0_trajectory([0.1], clip=False)
    errors = -audit(attack, target, queries, key=KEY, block=2 * num).scores
    assert errors[:num].max() < 1e-6 < errors[num:].min()  # members are recalled
    rng, means, found = np.random.default_rng(14), [], []
    for std in stds:
        seen = audit(protected(attack, noised(std)), target, queries, key=KEY, block=2 * num).scores if std else -errors
        found.append(auc(seen[:num], seen[num:]))
        simulated = []
        for _ in range(100):
            z = rng.normal(size=(2 * num, d))
            z[num:, 0] += np.sqrt(d * errors[num:]) / std if std else np.inf
            scores = -(z**2).sum(1)
            simulated.append(auc(scores[:num], scores[num:]))
        simulated = np.array(simulated)
        means.append(simulated.mean())
        assert abs(found[-1] - means[-1]) <= 4 * simulated.std()
        # By more than either could be off, each stronger noise costs the attacker something.
        assert std == 0 or means[-2] - means[-1] > 4 * simulated.std()
    assert found[0] == 1
    assert (np.diff(found) < 0).all()


def test_python_functions_are_protected_as_compiled_models_are():
    model = conv(PROCESS)
    assert model.network is not None
    answer = jax.jit(jax.vmap(lambda xt, t: model.network.apply(model.params, xt, t).x0))  # pyright: ignore
    service = from_callable(lambda xt, t, cond: np.asarray(answer(xt, t)), PROCESS, SHAPE, name="a service")
    attack = protected(asking((0.5,)), noised(0.1), rounded(3), shared_noise(0.1))
    got, want = (answers(attack, target, pool(3)) for target in (service, model))
    # Estimates that sum 72 products in another order.
    np.testing.assert_allclose(got, want, atol=72 * EPS32)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rounded(1), "rounded to 2 levels or more, got levels=1"),
        (lambda: noised(-0.1), "standard deviation of 0 or more, got std=-0.1"),
        (lambda: noised(float("nan")), "got std=nan"),
        (lambda: shared_noise(float("inf")), "got std=inf"),
        (
            lambda: protected(loss_trajectory([0.1]), rounded()),
            "'loss_trajectory' needs white-box access: protect gray-box or image-to-image attacks",
        ),
    ],
)
def test_bad_input_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("calls", "num_queries", "budget", "says"),
    [
        (21, 2000, 41_999, "21 calls x 2000 queries are 42000, over the budget of 41999: it pays for 1999 queries"),
        (1, 1, 0, "it pays for 0 queries"),
        (3, 2, -5, "over the budget of 0: it pays for 0 queries"),
    ],
)
def test_an_exhausted_budget_is_refused(calls, num_queries, budget, says):
    with pytest.raises(InputError, match=says):
        check_budget(calls, num_queries, budget)


@pytest.mark.parametrize(("calls", "num_queries", "budget"), [(21, 2000, 42_000), (0, 10, 0), (0, 10, -1), (5, 0, 0)])
def test_a_budget_that_suffices_is_not(calls, num_queries, budget):
    check_budget(calls, num_queries, budget)
