"""Planted copies that are all found, rules against loops, and a floor that says what is found by chance."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom
from skimage.metrics import structural_similarity

from diffaudit_jax.metrics import likeness
from diffaudit_jax.metrics.clusters import clusters
from diffaudit_jax.metrics.extraction import extract
from diffaudit_jax.metrics.likeness import distances, ssim
from diffaudit_jax.metrics.mixed import mixed
from diffaudit_jax.metrics.points import points
from diffaudit_jax.metrics.recall import beyond_chance, counted, recall
from diffaudit_jax.metrics.rules import Found
from diffaudit_jax.types import InputError

from .tabled import drawn, table


def images(n, seed, high=256, shape=(12, 13, 1)):
    return np.random.default_rng(seed).integers(0, high, (n, *shape), dtype=np.uint8)


def noisy(x, seed, by=3):
    noise = np.random.default_rng(seed).integers(-by, by + 1, x.shape)
    return np.clip(x.astype(int) + noise, 0, 255).astype(np.uint8)


def slow_distance(x, y):
    """Root of the mean squared difference of pixels in [0, 1], pixel by pixel."""
    pixels = list(zip(x.ravel().tolist(), y.ravel().tolist(), strict=True))
    return math.sqrt(sum((a - b) ** 2 for a, b in pixels) / len(pixels)) / 255


def slow_ratio(x, sample, records, neighbours, alpha):
    near = sorted(slow_distance(sample, other) for other in records)[:neighbours]
    return slow_distance(x, sample) / (alpha * sum(near) / neighbours)


@pytest.mark.parametrize("shape", [(4, 5, 1), (64, 64, 1), (20,)])
def test_distances_are_those_of_loops_and_do_not_depend_on_blocks(shape, monkeypatch):
    x, y = images(6, 0, shape=shape), images(5, 1, shape=shape)
    y[2] = x[4]
    (found,) = (d for _, d in distances(x, y))
    # Sums of squares of bytes are whole numbers and exact: a division, a root and a division are three roundings.
    expected = [[slow_distance(a, b) for b in y] for a in x]
    np.testing.assert_allclose(found, expected, rtol=3 * np.finfo(float).eps, atol=0)
    assert found[4, 2] == 0
    monkeypatch.setattr(likeness, "BLOCK", 7)
    blocks = list(distances(x, y))
    assert len(blocks) == 6
    np.testing.assert_array_equal(np.concatenate([d for _, d in blocks]), found)


def test_distances_of_records_are_means_over_columns():
    a = table(x=[0.0, 4.0, np.nan], c=["p", "q", "q"])
    points = mixed([a, a], [a])
    (found,) = (d for _, d in distances(*points))
    # A missing number is 0 and a category of its own.
    np.testing.assert_array_equal(found, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])


def test_ranges_are_those_of_all_real_records():
    sides = {"generated": [9.0], "members": [0.0, 2.0], "heldout": [4.0]}
    found = points({name: table(x=values) for name, values in sides.items()})
    assert [side.numbers["x"].tolist() for side in found] == [[2.25], [0, 0.5], [1]]


@pytest.mark.parametrize("shape", [(16, 13, 1), (12, 12, 3)])
def test_likeness_is_that_of_scikit_image(shape):
    x = images(4, 0, shape=shape)
    y = np.stack([x[0], noisy(x[1], 1, 40), 255 - x[2], images(1, 3, shape=shape)[0]])
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = [structural_similarity(a / 255, b / 255, channel_axis=2, **settings) for a, b in zip(x, y, strict=True)]
    # Two blurs of 11 terms in another order, of numbers up to 1, over constants of 9e-4 and 1e-4 at least.
    np.testing.assert_allclose(ssim(x, y), expected, rtol=0, atol=100 * np.finfo(float).eps / 1e-4)
    assert ssim(x[:, :6, :6], x[:, :6, :6]) == pytest.approx(np.ones(4), abs=1e-12)
    assert ssim(x[:0], x[:0]).shape == (0,)


TIMES = np.repeat([1, 10, 100], [30, 6, 4])


@pytest.fixture(scope="module")
def planted():
    """Members of which some are there more often, and samples of which some are copies of half of each kind."""
    records, others = images(40, 0), images(60, 1)
    chosen = np.r_[0:15, 30:33, 36:38]
    generated = np.concatenate([images(100, 2), noisy(records[chosen], 3), noisy(records[chosen], 4)])
    members = np.repeat(records, TIMES, axis=0)[::-1]  # not sorted by how often
    return generated, members, others, chosen


def test_planted_copies_are_found_and_nothing_else(planted):
    generated, members, others, chosen = planted
    found = extract(generated, members, others)
    np.testing.assert_array_equal(found.times, TIMES[::-1])
    expected = np.isin(np.arange(40)[::-1], chosen)
    for rule, floor in zip(found.members, found.heldout, strict=True):
        np.testing.assert_array_equal(rule.extracted, expected, err_msg=rule.rule)
        assert not floor.extracted.any()
        np.testing.assert_array_equal(rule.copies, np.arange(140) >= 100)
        rows = [(each.times, each.records, each.extracted) for each in recall(rule, found.times)]
        assert rows == [(1, 30, 15), (10, 6, 3), (100, 4, 2)]
        # All 20 of 100 on one side.
        assert beyond_chance(rule, floor) == pytest.approx(math.comb(40, 20) / math.comb(100, 20), rel=1e-9)
    assert [each.rule for each in found.members] == ["l2", "adaptive", "ssim", "calibrated"]
    np.testing.assert_array_equal(found.near, TIMES[::-1])  # only copies of a record are near it
    sample = found.members[1].sample[expected]
    np.testing.assert_array_equal((sample - 100) % 20, np.arange(20)[::-1])
    alone = extract(generated, members)
    assert alone.heldout is None
    assert [each.rule for each in alone.members] == ["l2", "adaptive", "ssim"]


def test_rules_are_those_of_loops(monkeypatch):
    monkeypatch.setattr(likeness, "BLOCK", 40)
    base = images(1, 9, 200, (5, 4, 1))
    members, others = (noisy(np.repeat(base, 7, axis=0), seed, 30) for seed in (0, 1))
    generated = noisy(np.concatenate([members[:4], others[:2], np.repeat(base, 4, axis=0)]), 2, 20)
    members = np.concatenate([members, members[:2]])
    settings = {"delta": 0.06, "alpha": 0.9, "neighbours": 4, "floor": 0.3}
    found = extract(generated, members, others, **settings)
    union = np.concatenate([members[:7], others])
    far = np.array([[slow_distance(x, g) for g in generated] for x in union])
    ratio = np.array([[slow_ratio(x, g, union, 4, 0.9) for g in generated] for x in union])
    ratio[far.argmin(axis=0) != np.arange(14)[:, None]] = np.inf  # a sample tells of the nearest only
    # Three tenths of seven are two that may be found.
    limit = min(1.0, np.sort(ratio[7:].min(axis=1))[2])
    for rows, (plain, adaptive, _, calibrated) in ((slice(7), found.members), (slice(7, None), found.heldout)):
        np.testing.assert_allclose(plain.value, far[rows].min(axis=1), rtol=1e-14)
        np.testing.assert_array_equal(plain.sample, far[rows].argmin(axis=1))
        np.testing.assert_array_equal(plain.extracted, far[rows].min(axis=1) <= 0.06)
        np.testing.assert_allclose(adaptive.value, ratio[rows].min(axis=1), rtol=1e-14)
        told = np.isfinite(adaptive.value)
        np.testing.assert_array_equal(adaptive.sample[told], ratio[rows].argmin(axis=1)[told])
        np.testing.assert_array_equal(adaptive.copies, (ratio[rows] <= 1).any(axis=0))
        assert calibrated.limit == pytest.approx(limit, rel=1e-14)
        np.testing.assert_array_equal(calibrated.extracted, (ratio[rows] < limit).any(axis=1))
    assert found.heldout[3].extracted.sum() == 2
    near = [[slow_distance(x, y) <= 0.06 for y in members] for x in members[:7]]
    np.testing.assert_array_equal(found.near, np.sum(near, axis=1))
    assert found.near.min() < found.near.max()


def test_a_ratio_does_not_depend_on_scale_nor_on_copies_in_the_training_set():
    members, generated = images(60, 0, 128), images(40, 1, 128)
    generated[:5] = noisy(members[:5], 2) // 2 + members[:5] // 2
    generated = np.minimum(generated, 127)
    values = [
        extract(scale * generated, np.concatenate([scale * members, *[scale * members[:9]] * copies])).members[1].value
        for scale, copies in ((1, 0), (2, 0), (1, 60))
    ]
    for other in values[1:]:
        np.testing.assert_array_equal(values[0], other)


def test_of_independent_sets_the_floor_holds_and_p_values_are_uniform_at_most():
    """Members and others are alike to samples that know neither."""
    runs, p_values, over = 200, [], []
    for seed in range(runs):
        generated, members, others = (images(30, 3 * seed + i, shape=(3, 3, 1)) for i in range(3))
        found = extract(generated, members, others, floor=0.1, neighbours=25, alpha=1.0)
        assert found.heldout[3].extracted.sum() == 3
        p_values.append(beyond_chance(found.members[3], found.heldout[3]))
        over.append(found.members[3].extracted.sum())
    for level in (0.05, 0.2, 0.5):
        assert np.sum(np.array(p_values) <= level) <= binom.isf(1e-4, runs, level)
    # Into each of 31 gaps between others members fall alike: 30 x 4/31 are expected below the fourth.
    error = np.std(over, ddof=1) / math.sqrt(runs)
    assert abs(np.mean(over) - 30 * 4 / 31) < 4 * error


def alike(people, each, seed):
    """Records of people whose own are nearly the same, and who each is of."""
    records = np.repeat(images(people, seed, shape=(3, 3, 1)), each, axis=0)
    return noisy(records, seed, 2), np.repeat(np.arange(people), each)


def test_people_are_counted_where_they_have_several_records():
    """By person p-values are uniform at most, whatever a person's records have in common."""
    runs, p_values = 200, []
    for seed in range(runs):
        records, whose = alike(30, 8, 2 * seed)
        ours = np.isin(whose, np.random.default_rng(seed).permutation(30)[:15])
        groups = np.concatenate([whose[ours], whose[~ours]])
        generated = images(30, 2 * seed + 1, shape=(3, 3, 1))
        found = extract(generated, records[ours], records[~ours], groups=groups, floor=0.2, neighbours=100, alpha=1.0)
        # Three of fifteen held-out people come before the limit.
        assert counted(found.heldout[-1].extracted, found.people[1]).sum() == 3
        p_values.append(beyond_chance(found.members[-1], found.heldout[-1], found.people))
    for level in (0.05, 0.2, 0.5):
        assert np.sum(np.array(p_values) <= level) <= binom.isf(1e-4, runs, level)
    assert min(p_values) < 0.2


def test_by_record_people_of_many_records_would_look_given_away():
    """Whoever is found is found with all of their records, on either side alike."""
    runs, p_values = 300, []
    whose = np.repeat(np.arange(20), 8), np.repeat(np.arange(20, 40), 8)
    for seed in range(runs):
        seen = np.random.default_rng(seed).random(40) < 0.2
        sides = [Found("adaptive", 1.0, side, side, seen[side], side) for side in whose]
        p_values.append([beyond_chance(*sides), beyond_chance(*sides, whose)])
        assert p_values[-1][1] == beyond_chance(*(each._replace(extracted=each.extracted[::8]) for each in sides))
    by_record, by_person = (np.array(p_values) <= 0.05).sum(axis=0)
    assert by_person <= binom.isf(1e-4, runs, 0.05) < by_record


def test_a_person_is_given_away_by_any_record():
    members, others = images(12, 0), images(12, 1)
    members = np.concatenate([members, members[:1]])
    groups = [*"aaabbbcccddd", "a", *"eeeefffggghh"]
    generated = np.concatenate([images(9, 2), members[[0, 1, 5]], others[[4, 5, 10]]])
    found = extract(generated, members, others, groups=groups, floor=0.5)
    ours, theirs = found.people
    assert [len(set(side.tolist())) for side in found.people] == [4, 4]
    adaptive, floor = found.members[1], found.heldout[1]
    assert counted(adaptive.extracted, ours).tolist() == [True, True, False, False]
    assert counted(floor.extracted, theirs).tolist() == [False, True, False, True]
    # Two of four and two of four, dealt at random: at least two of the four found are members.
    expected = sum(math.comb(4, k) * math.comb(4, 4 - k) for k in (2, 3, 4)) / math.comb(8, 4)
    assert beyond_chance(adaptive, floor, found.people) == pytest.approx(expected, rel=1e-12)
    # Half of four held-out people are two that may be found, though three held-out records are.
    assert counted(found.heldout[-1].extracted, theirs).sum() == 2
    rows = [(row.times, row.records, row.extracted) for row in recall(adaptive, found.times, people=ours)]
    assert rows == [(1, 4, 2), (2, 1, 1)]


def test_records_of_a_table_are_found():
    members, others = drawn(40, 0), drawn(30, 1)
    generated = drawn(50, 2).take(np.arange(50))
    columns = {name: np.concatenate([generated.columns[name], members.columns[name][:7]]) for name in members.columns}
    found = extract(table(**columns), members, others)
    assert [each.rule for each in found.members] == ["l2", "adaptive", "calibrated"]
    calibrated = found.members[2]
    assert calibrated.extracted[:7].all()
    assert (found.members[0].value[:7] == 0).all()
    assert len(found.heldout[0].extracted) == 30


def brute(generated, delta, smallest):
    """Stars by definition: again and again the sample with most others near it, of those that are left."""
    left, found = set(range(len(generated))), []
    while left:
        stars = {i: [j for j in sorted(left) if slow_distance(generated[i], generated[j]) <= delta] for i in left}
        centre = min(left, key=lambda i: (-len(stars[i]), i))
        if len(stars[centre]) < smallest:
            break
        found.append((centre, stars[centre]))
        left -= set(stars[centre])
    return found


@pytest.mark.parametrize("smallest", [2, 4])
def test_clusters_are_those_of_brute_force(smallest, monkeypatch):
    monkeypatch.setattr(likeness, "BLOCK", 90)
    centres = np.repeat(images(3, 0, shape=(4, 4, 1)), [12, 9, 4], axis=0)
    generated = np.random.default_rng(1).permutation(
        np.concatenate([noisy(centres, 2, 40), images(8, 3, shape=(4, 4, 1))])
    )
    found = [(each.centre, each.samples.tolist()) for each in clusters(generated, 0.12, smallest=smallest)]
    assert found == brute(generated, 0.12, smallest)
    assert len(found) >= 2
    assert all(len(a[1]) >= len(b[1]) for a, b in pairwise(found))
    assert clusters(generated[:1], 1.0, smallest=2) == []
    assert clusters(generated[:0], 1.0) == []
    assert clusters(np.repeat(generated[:1], 5, axis=0), 0.0)[0].samples.tolist() == list(range(5))


BAD = {
    "delta": ({"delta": -1.0}, "delta is -1"),
    "alpha": ({"alpha": 0.0}, "alpha 0"),
    "neighbours": ({"neighbours": 1}, "neighbours 1"),
    "floor": ({"floor": 1.0}, "floor 1"),
    "smallest": ({"smallest": 1}, "smallest 1"),
    "person": ({"groups": np.arange(10) % 5}, "group 0 has members and non-members"),
    "people": ({"groups": np.arange(9)}, "give one integer or string for each of the 10 records"),
    "few": ({"members": np.repeat(images(2, 0), 5, axis=0), "heldout": None}, "2 different records are too few"),
    "both": ({"heldout": images(9, 1)[3:]}, "2 held-out records are members as well"),
    "shape": ({"generated": images(4, 0, shape=(3, 3, 1))}, "generated has images of"),
    "floats": ({"heldout": images(4, 0) / 255}, "heldout is float64"),
    "kinds": ({"members": drawn(9, 0)}, "generated holds images and members are a table"),
    "tables": ({"generated": drawn(9, 0)}, "generated is the table made"),
    "empty": ({"generated": images(0, 0)}, "generated is uint8 (0, 12, 13, 1)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_compared_is_refused(case):
    changes, says = BAD[case]
    given = {"generated": images(4, 0), "members": images(5, 1), "heldout": images(5, 2)} | changes
    sides = [given.pop(name) for name in ("generated", "members", "heldout")]
    with pytest.raises(InputError) as refused:
        extract(*sides, **given)
    assert says in str(refused.value)
