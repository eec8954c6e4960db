import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from diffaudit_jax.metrics import advantage_over_blind, auc, blind_baseline, blind_scores
from diffaudit_jax.metrics import folds as folds_room
from diffaudit_jax.metrics.traces import blind_features, principal_components, processing_traces
from diffaudit_jax.types import InputError

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * 255 / 16).astype(np.uint8)  # 1,797 of 8 x 8
M, N = 60, 240
MEMBER = np.arange(M + N) < M


def pool(seed=0):
    """A fair split: members and non-members drawn alike."""
    return IMAGES[np.random.default_rng(seed).permutation(len(IMAGES))[: M + N]].astype(np.float64)


def class_mix(x, rng):
    """Five in six members show a 0 or a 1, as against one in six others."""
    few, many = np.flatnonzero(DIGITS.target < 2), np.flatnonzero(DIGITS.target >= 2)
    few, many = rng.permutation(few), rng.permutation(many)
    return IMAGES[np.concatenate([few[:50], many[:10], few[50:90], many[10:210]])].astype(np.float64)


def changed(change):
    """Members went through `change`, then through 8 bits like everything else."""

    def shift(x, rng):
        x[MEMBER] = change(x[MEMBER], rng)
        return np.clip(np.round(x), 0, 255)

    return shift


SHIFTS = {
    "class mix": class_mix,
    "brightness": changed(lambda x, rng: x + 4),
    "contrast": changed(lambda x, rng: 128 + 0.95 * (x - 128)),
    "noise": changed(lambda x, rng: x + rng.normal(size=x.shape) * 3),
    "blur": changed(lambda x, rng: gaussian_filter(x, (0, 0.4, 0.4))),
    "grey levels": changed(lambda x, rng: np.round(x / 51) * 51),
    "one pixel sideways": changed(lambda x, rng: np.roll(x, 1, axis=2)),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_shifted_pools_are_noticed(name):
    x = SHIFTS[name](pool(), np.random.default_rng(0)).astype(np.uint8)
    found = blind_baseline(x, MEMBER, num_permutations=199)
    assert found.leaks
    assert found.p_value <= 0.01
    assert found.auc.value > 0.6


def test_processing_is_seen_by_its_traces_not_by_pixels():
    """Coarser grey levels barely move any pixel's mean, and give the pools away completely."""
    x = SHIFTS["grey levels"](pool(), np.random.default_rng(0))
    labels, fold = MEMBER[:, None].astype(float), folds_room.assign(MEMBER, 5, np.random.default_rng(0))
    pixels, traces = (
        folds_room.out_of_fold(f / np.sqrt((f**2).sum(axis=1).mean()), labels, fold)[:, 0]
        for f in (principal_components(x, 0), processing_traces(x))
    )
    assert auc(pixels, MEMBER).value < 0.7
    assert auc(traces, MEMBER).value > 0.99


def table(seed, m=40, n=80, d=12, shift=0.0):
    """Rows of normal values, members shifted in the first column: small, so that many can be drawn."""
    x = np.random.default_rng(seed).normal(size=(m + n, d))
    x[:m, 0] += shift
    return x, np.arange(m + n) < m


REPEATS = 300


def test_fair_splits_raise_a_false_alarm_as_often_as_announced_and_their_interval_holds_one_half():
    found = [blind_baseline(*table(seed), alarm=0.05, num_permutations=99, seed=seed) for seed in range(REPEATS)]
    error = 3 * np.sqrt(0.05 * 0.95 / REPEATS)
    assert abs(np.mean([b.leaks for b in found]) - 0.05) <= error
    assert np.mean([b.auc.low <= 0.5 <= b.auc.high for b in found]) >= 0.95 - error
    naive = [auc(b.scores, table(0)[1]) for b in found]  # as if rows were independent
    assert np.mean([a.low <= 0.5 <= a.high for a in naive]) < 0.95 - error


def test_shifted_tables_are_noticed_nearly_always():
    found = [blind_baseline(*table(seed, shift=1.5), alarm=0.05, num_permutations=99, seed=seed) for seed in range(100)]
    assert np.mean([b.leaks for b in found]) > 0.9


def test_scores_are_ridge_regression_on_the_other_folds():
    x, seed, folds = pool(), 3, 4
    ours = blind_scores(x, MEMBER, seed=seed, folds=folds)
    fold = folds_room.assign(MEMBER, folds, np.random.default_rng(seed))
    features = blind_features(x, seed)
    for k in range(folds):
        train, test = fold != k, fold == k
        ridge = Ridge(folds_room.RIDGE * train.sum(), fit_intercept=False)
        theirs = ridge.fit(features[train], MEMBER[train] - MEMBER[train].mean()).predict(features[test])
        np.testing.assert_allclose(ours[test], (theirs - theirs.mean()) / theirs.std(), rtol=1e-6, atol=1e-8)


def test_folds_share_both_classes_and_a_row_never_judges_itself():
    x, member = table(0, shift=1.0)
    fold = folds_room.assign(member, 5, np.random.default_rng(0))
    assert all(((fold == k) & member).sum() == 8 and ((fold == k) & ~member).sum() == 16 for k in range(5))
    features, labels = blind_features(x, 0), member[:, None].astype(float)
    flipped = labels.copy()
    flipped[fold == 2] = 1 - flipped[fold == 2]
    a, b = (folds_room.out_of_fold(features, y, fold) for y in (labels, flipped))
    np.testing.assert_array_equal(a[fold == 2], b[fold == 2])
    assert not np.allclose(a[fold != 2], b[fold != 2])


def test_all_permutations_at_once_are_each_on_its_own():
    x, member = table(0)
    fold = folds_room.assign(member, 5, np.random.default_rng(0))
    labels = np.random.default_rng(1).permuted(np.repeat(member[:, None], 4, axis=1).astype(float), axis=0)
    features = blind_features(x, 0)
    together = folds_room.out_of_fold(features, labels, fold)
    for j in range(4):
        alone = folds_room.out_of_fold(features, labels[:, j : j + 1], fold)
        np.testing.assert_allclose(together[:, j : j + 1], alone, rtol=1e-9, atol=1e-9)
        within = [auc(alone[fold == k, 0], labels[fold == k, j]).value for k in range(5)]
        np.testing.assert_allclose(folds_room.within_fold_auc(alone, labels[:, j : j + 1], fold), np.mean(within))


def test_bytes_and_signed_floats_are_the_same_pictures():
    x = pool()
    a, b = blind_scores(x.astype(np.uint8), MEMBER), blind_scores(x / 127.5 - 1, MEMBER)
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_seed_decides_everything():
    x, member = table(0)
    same, again, other = (blind_baseline(x, member, seed=seed, num_permutations=99) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same.scores, again.scores)
    assert same[:4] == again[:4]
    assert not np.array_equal(same.scores, other.scores)
    np.testing.assert_array_equal(same.scores, blind_scores(x, member, seed=1))
    np.testing.assert_array_equal(same.scores, blind_baseline(x, member, seed=1, num_permutations=199).scores)


@pytest.mark.parametrize("shape", [(5,), (1,), (4, 4, 3), (1, 1), (200,), (2, 3, 2, 2)])
def test_any_shape_of_record_is_scored(shape):
    x = np.random.default_rng(0).random((30, *shape), np.float32)
    scores = blind_scores(x, np.arange(30) < 12)
    assert np.isfinite(scores).all()
    assert scores.std() > 0


def test_identical_records_say_nothing():
    found = blind_baseline(np.full((40, 6, 6), 7, np.uint8), np.arange(40) < 20, num_permutations=99)
    assert (found.auc.value, found.p_value, found.leaks) == (0.5, 1.0, False)


def test_advantage_over_itself_holds_zero_and_over_nothing_is_large():
    x, member = table(0, shift=1.5)
    scores = blind_scores(x, member)
    over_itself = advantage_over_blind(scores, scores, member)
    assert over_itself.value == 0.0
    assert over_itself.low < 0 < over_itself.high
    perfect = advantage_over_blind(member, np.random.default_rng(0).normal(size=120), member)
    assert 0.2 < perfect.low < perfect.value <= perfect.high
    both = advantage_over_blind(member, member, member)
    assert both.low < 0.0 == both.value < both.high


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize(("attack", "blind"), [(0.5, 0.5), (0.99, 0.9), (0.6, 0.9)])
def test_advantage_covers_for_correlated_scores(attack, blind, correlation):
    m, n = 64, 300
    rng, member, hits = np.random.default_rng(0), np.arange(m + n) < m, 0
    root = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    means = norm.ppf([attack, blind]) * 2**0.5
    for _ in range(REPEATS):
        scores = rng.normal(size=(m + n, 2)) @ root.T + member[:, None] * means
        found = advantage_over_blind(scores[:, 0], scores[:, 1], member)
        hits += found.low <= attack - blind <= found.high
    assert hits / REPEATS >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / REPEATS)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_advantage_covers_for_out_of_fold_scores(shift):
    """The attack is a noisy view of the record itself; the blind AUC's truth is its mean over all the draws."""
    found, blind = [], []
    for seed in range(REPEATS):
        x, member = table(seed, shift=shift)
        scores = blind_scores(x, member, seed=seed)
        attack = x[:, 0] + np.random.default_rng((seed, 1)).normal(size=len(x)) + member
        found.append(advantage_over_blind(attack, scores, member))
        blind.append(auc(scores, member).value)
    truth = norm.cdf((1 + shift) / 2) - (0.5 if shift == 0 else np.mean(blind))
    hits = np.mean([e.low <= truth <= e.high for e in found])
    assert hits >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / REPEATS)


def test_correlation_shortens_the_interval():
    rng, member = np.random.default_rng(0), np.arange(300) < 100
    a = rng.normal(size=300) + member
    near, far = a + 0.1 * rng.normal(size=300), rng.normal(size=300) + member
    widths = [e.high - e.low for e in (advantage_over_blind(a, b, member) for b in (near, far))]
    assert widths[0] < 0.8 * widths[1]


@pytest.mark.parametrize(
    ("x", "member", "folds", "message"),
    [
        (np.zeros((10, 3)), np.arange(9) < 4, 2, "10 records but member has 9"),
        (np.zeros((10, 3)), np.arange(10) < 3, 5, "folds is 5: choose 2 to 3"),
        (np.zeros((10, 3)), np.arange(10) < 3, 1, "folds is 1"),
        (np.zeros((10, 3)), np.arange(10) < 0, 2, "non-members only"),
        (np.full((10, 3), np.nan), np.arange(10) < 5, 2, "record 0 holds a value that is not finite"),
        (np.zeros(10), np.arange(10) < 5, 2, r"shape \(10,\)"),
        (np.zeros((10, 0)), np.arange(10) < 5, 2, r"shape \(10, 0\)"),
    ],
)
def test_mistakes_are_named(x, member, folds, message):
    with pytest.raises(InputError, match=message):
        blind_scores(x, member, folds=folds)


@pytest.mark.parametrize(("alarm", "few"), [(0.05, 18), (0.1, 8), (0.01, 98)])
def test_permutations_must_suffice_for_the_alarm(alarm, few):
    x, member = table(0, shift=9.0)
    with pytest.raises(InputError, match=f"alarm is {alarm} with {few} permutations"):
        blind_baseline(x, member, alarm=alarm, num_permutations=few)
    assert blind_baseline(x, member, alarm=alarm, num_permutations=few + 1).leaks


@pytest.mark.parametrize("alarm", [0.0, 1.0, float("nan")])
def test_alarms_lie_inside_0_and_1(alarm):
    with pytest.raises(InputError, match=f"alarm is {alarm}"):
        blind_baseline(*table(0), alarm=alarm)


def test_advantage_needs_the_same_records():
    with pytest.raises(InputError, match=r"\(120,\) but blind has \(119,\)"):
        advantage_over_blind(np.zeros(120), np.zeros(119), table(0)[1])
