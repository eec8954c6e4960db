"""SimA against the published code."""

import jax
import numpy as np
import pytest

from diffaudit_jax.attacks import clean_query
from diffaudit_jax.auditing import audit
from diffaudit_jax.types import InputError
from tests.oracles import PROCESSES, conv, gaussian, images, memorising, pool, published, seen_in_float64, signed

KEY = jax.random.key(3)
LINEAR = PROCESSES["linear-1000"]
TARGETS = {"gaussian": gaussian(LINEAR, 0.2, 0.5), "conv": conv(LINEAR)}


@pytest.mark.parametrize(("steps", "p"), [((100,), 4), ((0, 100), 4), ((50, 0, 300), 2), ((7,), 1)])
@pytest.mark.parametrize("name", TARGETS)
def test_every_norm_is_that_of_the_published_code(name, steps, p):
    x, attack = signed(images(1))[0], clean_query([(i + 1) / 1000 for i in steps], p=p)
    eps, _, _ = published(TARGETS[name], 1000)
    want = [sum(abs(v) ** p for v in eps(x, i).ravel()) for i in steps]
    got = seen_in_float64(attack, TARGETS[name], x, KEY)
    # Of float64's 16 digits sigma = 0.01 costs 2.
    np.testing.assert_allclose(got**p, want, rtol=1e-11)
    np.testing.assert_allclose(attack.score(got[None]), [-np.mean(want)], rtol=1e-11)


def test_the_default_is_one_published_step():
    spec = clean_query().spec
    assert dict(spec.config) == {"times": [0.101], "p": 4.0}
    assert dict(spec.scoring) == {"statistic": "mean", "power": 4.0}
    assert (spec.calls, spec.clean) == (1, (float(np.float32(0.101)),))


def test_estimates_of_hundreds_are_scored_in_float64():
    """Far from all that a model knows, eps is |x - x'| / sigma = 100 and more, and its 20th power no float32."""
    queries = pool(6)
    seen = audit(clean_query([0.001], p=20), memorising(LINEAR, signed(queries.x[:2])), queries, key=KEY, block=8)
    assert np.isfinite(seen.scores).all()
    assert seen.scores[2:].max() < -np.finfo(np.float32).max
    assert seen.scores[:2].min() > seen.scores[2:].max()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": []}, r"times lie in \(0, 1\], got none"),
        ({"times": [0.0]}, r"times lie in \(0, 1\], got 0 to 0"),
        ({"times": [100]}, "got 100 to 100"),
        ({"p": 0.9}, "a p-norm needs a finite p of 1 or more, got p=0.9"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        clean_query(**arguments)


@pytest.mark.parametrize("times", [[0.01], [0.1, 0.11]])
def test_times_that_a_schedule_cannot_tell_apart_are_refused(times):
    with pytest.raises(InputError, match=r"of a schedule of 20, and each needs one of its own from 1 on"):
        audit(clean_query(times), gaussian(PROCESSES["cosine-20"]), pool(2), key=KEY)
