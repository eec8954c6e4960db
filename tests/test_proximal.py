"""PIA and PIAN against the published code, and their norms against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.attacks import proximal
from diffaudit_jax.attacks.norms import mean_norm, norm
from diffaudit_jax.auditing import audit
from diffaudit_jax.types import InputError, to_signed
from tests.oracles import EPS32, PROCESSES, conv, gaussian, images, memorising, pool, published, seen_in_float64, signed

KEY = jax.random.key(3)
LINEAR = PROCESSES["linear-1000"]
TARGETS = {"gaussian": gaussian(LINEAR, 0.2, 0.5), "conv": conv(LINEAR)}


def slow(target, x, steps, first, p, normalised):
    """R at each of the 0-based `steps`, with e0 from the step `first`."""
    eps, alpha, sigma = published(target, 1000)
    e0 = eps(x, first)
    if normalised:
        e0 = e0 * np.sqrt(2 / np.pi) / np.mean(np.abs(e0))
    moved = [e0 - eps(alpha[i] * x + sigma[i] * e0, i) for i in steps]
    return [sum(abs(v) ** p for v in e.ravel()) ** (1 / p) for e in moved]


@pytest.mark.parametrize(
    ("steps", "first", "p", "normalised"),
    [((200,), 0, 4, False), ((200,), 0, 4, True), ((10, 20, 300), 0, 2, False), ((300, 5), 5, 1, True)],
)
@pytest.mark.parametrize("name", TARGETS)
def test_every_distance_is_that_of_the_published_code(name, steps, first, p, normalised):
    times = [(i + 1) / 1000 for i in steps]
    attack = proximal(times, first=(first + 1) / 1000, p=p, normalised=normalised)
    x = signed(images(1))[0]
    got = seen_in_float64(attack, TARGETS[name], x, KEY)
    # Of float64's 16 digits sigma = 0.01 costs 2.
    np.testing.assert_allclose(got, slow(TARGETS[name], x, steps, first, p, normalised), rtol=1e-11)
    np.testing.assert_allclose(attack.score(got[None]), [-np.mean(got)], rtol=1e-15)


def test_the_defaults_are_published_steps():
    spec = proximal().spec
    assert dict(spec.config) == {"times": [0.201], "first": 0.001, "p": 4.0, "normalised": False}
    assert (spec.calls, spec.clean) == (2, (float(np.float32(0.001)),))


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0, 40.0])
def test_a_norm_neither_overflows_nor_loses_digits(p):
    rng = np.random.default_rng(0)
    for size in (1e-30, 1.0, 1e4, 1e30):
        e = np.float32(size * rng.normal(size=50))
        largest = float(np.abs(e).max())
        want = largest * ((np.abs(np.float64(e)) / largest) ** p).sum() ** (1 / p)
        # A power multiplies the rounding of its base by p, a root divides it again; 50 terms are summed.
        assert abs(float(norm(jnp.asarray(e), p)) / want - 1) < 64 * EPS32
    assert float(norm(jnp.zeros(3), p)) == 0


def test_a_score_is_the_mean_of_powers_in_float64():
    norms = np.float32([[1e12, 2e12], [1, 3]])
    np.testing.assert_allclose(mean_norm(4.0)(norms), -(np.float64(norms) ** 4).mean(1), rtol=1e-15)
    np.testing.assert_array_equal(mean_norm()(norms), -np.float64(norms).mean(1))
    assert mean_norm(4.0)(norms).dtype == np.float64


def test_an_estimate_of_no_noise_at_all_is_rescaled_to_none():
    """A model that knows the query by heart sees no noise in it where x_t is not scaled: e0 = 0 exactly."""
    process, queries = PROCESSES["ve"], pool(4)
    attack = proximal([0.2], first=0.001, normalised=True)
    seen = audit(attack, memorising(process, to_signed(queries.x[:2])), queries, key=KEY)
    assert (seen.features[:2] == 0).all()
    assert (seen.features[2:] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": []}, r"times lie in \(0, 1\], got none"),
        ({"times": [0.2, 1.2]}, "got 0.2 to 1.2"),
        ({"first": 0.0}, r"times lie in \(0, 1\], got 0 to 0"),
        ({"p": 0.5}, "a p-norm needs a finite p of 1 or more, got p=0.5"),
        ({"p": np.inf}, "got p=inf"),
        ({"p": np.nan}, "got p=nan"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        proximal(**arguments)


@pytest.mark.parametrize("arguments", [{"first": 0.001}, {"first": 0.05, "times": [0.01]}])
def test_times_that_a_schedule_takes_for_clean_data_are_refused(arguments):
    with pytest.raises(InputError, match=r"1 times? from .* of a schedule of 20.* from 1 on"):
        audit(proximal(**arguments), gaussian(PROCESSES["cosine-20"]), pool(2), key=KEY)
