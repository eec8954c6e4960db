"""Property inference from samples of a known share: what is asked for, what is told, and where it stops."""

import jax
import numpy as np
import pytest

from diffaudit_jax.attacks.property import property_share
from diffaudit_jax.bank import draw_bank, drawn
from diffaudit_jax.metrics.corrected import Rates, rogan_gladen
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError

SHAPE, KEY, SHARE = (4, 4, 1), jax.random.key(3), 0.3
PERFECT = Rates(2000, 2000, 0, 2000)


def generator(share=SHARE):
    """Draws white images with a probability of `share`, else black ones."""

    def sample(params, key, cond):
        return jax.numpy.where(jax.random.uniform(key) < share, 1.0, -1.0) * jax.numpy.ones(SHAPE)

    return Target((), SHAPE, sample)


def bright(images):
    return images.reshape(len(images), -1).mean(axis=1) > 127


def counted(blocks, taken):
    for block in blocks:
        taken.append(len(block))
        yield block


def test_blocks_are_the_bank_and_no_more_are_drawn_than_are_taken():
    whole = draw_bank(KEY, generator(), 100, block=16)
    blocks = drawn(KEY, generator(), 100, block=16)
    np.testing.assert_array_equal(np.concatenate([next(blocks), next(blocks)]), whole[:32])
    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole[32:])


def test_the_share_of_all_samples_and_what_its_intervals_are():
    found = property_share(drawn(KEY, generator(), 500), bright, PERFECT)
    k = int(found.has.sum())
    assert len(found.has) == 500
    assert not found.stopped
    assert found.corrected == rogan_gladen(k, 500, PERFECT)
    assert found.raw["exact"] == clopper_pearson(k, 500)
    assert found.corrected.estimate.low < SHARE < found.corrected.estimate.high
    widths = {name: each.high - each.low for name, each in found.raw.items()}
    assert widths["exact"] < widths["hoeffding"] < widths["bernstein"]
    assert widths["exact"] < widths["anytime"]


def test_it_stops_as_soon_as_the_interval_is_narrow():
    taken = []
    found = property_share(counted(drawn(KEY, generator(), 4000, block=64), taken), bright, PERFECT, error=0.06)
    assert found.stopped
    assert sum(taken) == len(found.has) < 4000
    assert found.raw["anytime"].high - found.raw["anytime"].low <= 0.12
    k, n = int(found.has.sum()), len(found.has)
    assert found.corrected == rogan_gladen(k, n, PERFECT, stopped=True)
    assert found.corrected.raw == found.raw["anytime"]
    before = property_share(drawn(KEY, generator(), len(found.has) - 64, block=64), bright, PERFECT, error=0.06)
    assert not before.stopped


def test_the_budget_tells_sampling_from_the_discriminator():
    def noisy(images):
        """Right in nine of ten, by the order of the images."""
        return bright(images) ^ (np.arange(len(images)) % 10 == 0)

    few, many = (
        property_share(drawn(KEY, generator(), 400), noisy, Rates(9 * m, 10 * m, m, 10 * m)).budget for m in (3, 3000)
    )
    assert few.discriminator > 3 * many.discriminator
    assert few.sampling == pytest.approx(many.sampling)
    blind = property_share(drawn(KEY, generator(), 64), noisy, Rates(5, 10, 5, 10))
    assert blind.budget == (0.0, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: property_share([], bright, PERFECT), "there are no samples"),
        (lambda: property_share([np.zeros((3, *SHAPE), np.uint8)], lambda x: np.zeros((2,)), PERFECT), "to 3 images"),
        (lambda: property_share([np.zeros((3, *SHAPE), np.uint8)], lambda x: np.full(3, 0.4), PERFECT), "yes or no"),
        (lambda: property_share([], bright, PERFECT, error=0.0), "error is 0"),
        (lambda: next(drawn(KEY, generator(), 0)), "at least 1 sample, got 0"),
        (lambda: next(drawn(KEY, generator(), 3, labels=np.zeros(2, int))), "3 samples need as many labels, got 2"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
