"""Limits of sums over cells: exact where a formula is known, and those of the records drawn one by one elsewhere."""

import numpy as np
import pytest
from scipy.stats import binom

from diffaudit_jax.metrics.cells import change_of_widest, draws, high, low, two_sided, value, widest

ERROR = 0.025
SHARE = np.arange(2.0)[None]


def standard_errors(drawn, of=1):
    """Four standard errors of the share of resamples beyond a limit, or of the difference of `of` such shares."""
    return 4 * np.sqrt(of * ERROR / drawn.total.shape[1])


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 12), (1, 12), (7, 12), (12, 12), (30, 400)])
def test_limits_of_a_share_are_clopper_and_pearsons(k, n):
    drawn = draws(np.array([[n - k, k]]), ERROR, seed=0)
    assert value(drawn.counts, SHARE) == k / n
    if k < n:
        assert abs(binom.cdf(k, n, high(drawn, SHARE, ERROR)) - ERROR) < standard_errors(drawn)
    else:
        assert high(drawn, SHARE, ERROR) == 1
    if k > 0:
        assert abs(binom.sf(k - 1, n, low(drawn, SHARE, ERROR)) - ERROR) < standard_errors(drawn)
    else:
        assert low(drawn, SHARE, ERROR) == 0


def test_limits_are_those_of_records_weighed_one_by_one():
    counts = np.array([[3, 0, 4, 2], [0, 9, 1, 0], [5, 5, 5, 5]])
    v = np.array([[0.0, -0.4, 0.6, 0.2], [0.1, 0.1, 0.1, 0.1], [0.0, 1.0, -1.0, 0.0]])
    drawn, rng, num = draws(counts, ERROR, seed=0), np.random.default_rng(1), 10_000
    for side, extreme in ((1, np.max), (-1, np.min)):
        resampled = np.zeros(num)
        for row, worth in zip(counts, v, strict=True):
            records = np.append(np.repeat(worth, row), extreme(worth))
            resampled += rng.dirichlet(np.ones(len(records)), num) @ records
        limit = high(drawn, v, ERROR) if side > 0 else low(drawn, v, ERROR)
        beyond = (side * resampled > side * limit).mean()
        assert abs(beyond - ERROR) < standard_errors(drawn, of=2)
    np.testing.assert_allclose(value(counts, v), (2.4 + 0.4) / 9 + 0.1 + 0, rtol=1e-12)


def test_what_every_outcome_counts_alike_moves_the_limits_by_that():
    drawn = draws(np.array([[5, 7]]), ERROR, seed=0)
    np.testing.assert_allclose(two_sided(drawn, SHARE + 3, 0.95), np.add(two_sided(drawn, SHARE, 0.95), 3), rtol=1e-12)
    assert two_sided(drawn, np.full((1, 2), 0.3), 0.95) == pytest.approx((0.3, 0.3, 0.3))


def gap_of(cells):
    """A gap of the shares in two cells, either way."""
    v = np.zeros((4, 2))
    v[cells[0], 1], v[cells[1], 1] = 1, -1
    return [v, -v]


def test_a_gap_is_never_below_nothing_and_of_two_it_is_their_difference():
    drawn = draws(np.array([[20, 5], [6, 19], [9, 16], [9, 16]]), ERROR / 2, seed=0)
    apart, same = gap_of((1, 0)), gap_of((2, 3))
    assert widest(drawn, apart, 0.95) == two_sided(drawn, apart[0], 0.95)
    assert widest(drawn, same, 0.95)[:2] == (0, 0)
    assert widest(drawn, same, 0.95).high > 0
    # Asked of several at once, no limit is nearer.
    both = widest(drawn, [*apart, *same], 0.95)
    assert both.low < widest(drawn, apart, 0.95).low
    assert both.high == max(widest(drawn, gap, 0.95).high for gap in (apart, same))


def test_a_change_is_the_mirror_image_of_the_change_back():
    drawn = draws(np.array([[20, 5], [6, 19], [9, 16], [12, 13]]), ERROR / 2, seed=0)
    before, after = gap_of((2, 3)), gap_of((1, 0))
    there, back = change_of_widest(drawn, before, after, 0.95), change_of_widest(drawn, after, before, 0.95)
    np.testing.assert_allclose(there, -np.array(back)[[0, 2, 1]], rtol=1e-12)
    assert there.value == pytest.approx(14 / 25 - 3 / 25)
    assert there.low < there.value < there.high
    nothing = change_of_widest(drawn, after, after, 0.95)
    assert nothing == (0, 0, 0)
