"""Neighbours against loops, copies that are all or none, and simulated coverage of a half where nothing is copied."""

import math

import numpy as np
import pytest

from diffaudit_jax.metrics import mixed as neighbours
from diffaudit_jax.metrics.copies import copies
from diffaudit_jax.metrics.mixed import mixed, nearest
from diffaudit_jax.types import InputError

from .tabled import drawn, table


def slow_distance(a, b, ranges, p):
    """Distance of two records, dicts of values."""
    total = 0.0
    for name, value in a.items():
        other = b[name]
        if isinstance(value, str):
            total += value != other
        elif math.isnan(value) or math.isnan(other):
            low, width = ranges[name]
            # A missing number is 0 and a category of its own.
            u, v = (0.0 if math.isnan(each) else (each - low) / width for each in (value, other))
            total += abs(u - v) ** p + (math.isnan(value) != math.isnan(other))
        else:
            total += abs((value - other) / ranges[name][1]) ** p
    return total ** (1 / p)


def records(made):
    return [{name: column[i].item() for name, column in made.columns.items()} for i in range(len(made))]


def ranges_of(*tables):
    joined = {name: np.concatenate([each.columns[name] for each in tables]) for name in tables[0].numeric}
    return {name: (np.nanmin(values), np.nanmax(values) - np.nanmin(values)) for name, values in joined.items()}


@pytest.mark.parametrize("p", [1, 2])
def test_neighbours_are_those_of_loops_in_any_blocks(p, monkeypatch):
    queries, among = drawn(23, 0, missing=0.4), drawn(31, 1, missing=0.4)
    far = [[slow_distance(a, b, ranges_of(among), p) for b in records(among)] for a in records(queries)]
    expected = np.sort(far, axis=1)[:, :3]
    x, y = mixed([queries, among], [among])
    rows, found = nearest(x, y, 3, p)
    # Differences of numbers about 1, four terms and a root: a dozen roundings of 1.
    np.testing.assert_allclose(found, expected, rtol=0, atol=12 * np.finfo(float).eps)
    monkeypatch.setattr(neighbours, "BLOCK", 70)
    again = nearest(x, y, 3, p)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], found)


def test_of_equals_the_first_is_nearest_and_a_copy_is_at_zero():
    among = table(x=[0.1, 0.3, 0.3, 1e9], c=["a", "b", "b", "a"])
    queries, y = mixed([among, among], [among])
    rows, far = nearest(queries, y, 2, 2)
    assert rows.tolist()[1:3] == [[1, 2], [1, 2]]
    assert (far[:, 0] == 0).all()
    only = queries.of(["c"])
    assert nearest(only, y.of(["c"]), 1, 1)[0][:, 0].tolist() == [0, 1, 1, 0]


def test_distances_are_those_of_one_hot_categories():
    members, synthetic, holdout = drawn(20, 0), drawn(15, 1), drawn(25, 2)
    found = copies(members, synthetic, holdout)
    assert found.holdout is not None
    for side, made in ((found.synthetic, synthetic), (found.holdout, holdout)):
        far = [sorted(slow_distance(a, b, ranges_of(members), 2) for b in records(members)) for a in records(made)]
        assert side.dcr == pytest.approx(np.median([each[0] for each in far]), rel=1e-12)
        assert side.ratio == pytest.approx(np.median([each[0] / each[1] for each in far]), rel=1e-12)
        assert side.exact == 0
    assert (found.num_members, found.num_each) == (20, 20)


def test_copies_are_all_nearest_to_members():
    members, holdout = drawn(40, 0), drawn(40, 1)
    found = copies(members, members, holdout, num_permutations=199)
    assert (found.synthetic.dcr, found.synthetic.ratio, found.synthetic.exact) == (0, 0, 40)
    assert found.share == pytest.approx((1, 0.025 ** (1 / 40), 1))
    assert found.p_value == 1 / 200
    turned = copies(members, holdout, holdout, num_permutations=199)
    assert (turned.share.value, turned.p_value, turned.synthetic.exact) == (0, 1, 0)
    twice = table(a=[1.0, 1.0], b=["u", "u"])
    assert copies(twice, twice).synthetic[1:] == (0, 1, 2)
    assert copies(twice, twice)[2:] == (None, None, None, None)
    assert copies(members.take(np.arange(1)), members).synthetic.ratio is None


def test_records_on_both_sides_count_half():
    members = table(a=[0.0, 1.0, 2.0, 3.0])
    assert copies(members, members, members).share.value == 0.5


def test_where_nothing_is_copied_a_half_is_covered():
    """400 synthetic records against 20 of each kind: who is nearest depends on 40 records, and not on 400 coins."""
    num, missed, rejected, coins = 300, 0, 0, 0
    for seed in range(num):
        rng = np.random.default_rng(seed)
        members, holdout, synthetic = (table(a=rng.normal(size=n), b=rng.normal(size=n)) for n in (20, 20, 400))
        found = copies(members, synthetic, holdout, num_permutations=99)
        missed += not found.share.low <= 0.5 <= found.share.high
        rejected += found.p_value <= 0.05
        coins += abs(found.share.value - 0.5) > 1.96 * 0.5 / 20
    allowed = 0.05 + 4 * math.sqrt(0.05 * 0.95 / num)
    assert missed / num <= allowed
    assert rejected / num <= allowed
    assert coins / num > allowed  # the plain binomial interval would not have covered it


def test_no_more_records_than_asked_for_are_compared():
    found = copies(drawn(60, 0), drawn(50, 1), drawn(30, 2), most=25)
    assert (found.num_members, found.num_each, len(found.synthetic.distances)) == (25, 25, 25)
    with pytest.raises(InputError, match="most is 0 and num_permutations 999: give 1 or more"):
        copies(drawn(3, 0), drawn(3, 1), most=0)
