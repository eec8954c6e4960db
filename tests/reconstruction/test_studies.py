"""Studies by exact priors of Gaussian data: what is varied makes the difference that the closed forms say."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import beta, chi2, norm, spearmanr, ttest_ind, ttest_rel

from diffaudit_jax.reconstruction import linear_unit
from diffaudit_jax.reconstruction.attacker import Attacker, gain
from diffaudit_jax.reconstruction.dials import _curve, image_sizes, prior_dial
from diffaudit_jax.reconstruction.levels import released
from diffaudit_jax.reconstruction.studies import rounds, seen_by_prior, unknown_noise
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, PROCESSES, counted, gaussian, memorising

SHAPE, KEY = (6, 6, 1), jax.random.key(11)
MEAN, VAR = 0.1, 0.04
MUS = (3.0, 9.0)
ONE_CALL = Attacker(method="posterior-mean", block=48)
METRICS = {"mse", "psnr", "ssim", "ncc"}


def prior(mean=MEAN, var=VAR, shape=SHAPE):
    target = gaussian(PROCESSES["edm"], mean, var, shape)
    return replace(target, config={**target.config, "clip": False})


def pictures(n, seed=0, shape=SHAPE):
    drawn = MEAN + np.sqrt(VAR) * np.random.default_rng(seed).standard_normal((n, *shape))
    return np.clip(drawn, -1, 1).astype(np.float32)


def norms(x):
    return np.maximum(np.linalg.norm(np.float64(x).reshape(len(x), -1), axis=1), 1)


def within(values, want):
    away = values - want
    return abs(away.mean()) < 4 * away.std(ddof=1) / np.sqrt(len(away))


X, PUBLIC = pictures(24), pictures(200, seed=1)


@pytest.fixture(scope="module")
def unknown():
    target, calls = counted(prior())
    found = unknown_noise(KEY, target, X, MUS, PUBLIC, attacker=ONE_CALL)
    assert len(calls) == 5 * 2 * 24
    return found


def test_a_wrong_noise_costs_what_its_filter_does(unknown):
    found = unknown
    assert found.names == ("known", "wavelet", "typical", "0.8 sigma", "1.2 sigma")
    typical = np.linalg.norm(PUBLIC.reshape(200, -1), axis=1).mean()
    for k, mu in enumerate(MUS):
        sigma = norms(X) / mu
        for name, (scale, factor) in {
            "known": (1, 1),
            "typical": (typical / norms(X), 1),
            "0.8 sigma": (1, 0.8),
            "1.2 sigma": (1, 1.2),
        }.items():
            v, true = found.names.index(name), scale * sigma
            np.testing.assert_allclose(found.sigma[v, k], factor * true, rtol=64 * EPS32)
            kept = (VAR / (VAR + (factor * true) ** 2))[:, None]
            x = X.reshape(24, -1).astype(np.float64)
            away = kept * np.reshape(scale, (-1, 1)) * x + (1 - kept) * MEAN - x
            assert within(found.scores["mse"][v, k], (away**2 + (kept * true[:, None]) ** 2).mean(1))
        lost = found.lost["1.2 sigma"]["mse"][k]
        np.testing.assert_allclose(lost.value, np.diff(found.scores["mse"][[0, 4], k].mean(-1))[0], rtol=1e-9)
        assert lost.low < lost.value < lost.high


def test_noise_read_from_a_picture_is_that_of_its_texture_too(unknown):
    found, told = unknown, released(KEY, X, np.array(MUS), linear_unit(SHAPE))
    v, largest = found.names.index("wavelet"), np.abs(told.y).max()
    band = np.float64(told.y)[..., 0].reshape(2, 24, 3, 2, 3, 2)  # 2 x 2 blocks
    band = np.abs(band[..., 0, :, 0] - band[..., 0, :, 1] - band[..., 1, :, 0] + band[..., 1, :, 1]) / 2
    believed = np.median(band.reshape(2, 24, 9), axis=-1) / norm.ppf(0.75)
    np.testing.assert_allclose(found.sigma[v], believed, rtol=0, atol=8 * EPS32 * largest)
    for k, mu in enumerate(MUS):
        # The median of 9 numbers |n| is the 5th: its chances under |n| have a Beta law.
        law = norm.ppf((1 + beta(5, 5).ppf((np.arange(4000) + 0.5) / 4000)) / 2) / norm.ppf(0.75)
        # Independent pixels are texture alone, and add their variance to that of the noise.
        assert within(believed[k] / np.sqrt(VAR + norms(X) ** 2 / mu**2), law.mean())
        kept = (VAR / (VAR + believed[k] ** 2))[:, None]
        away = kept * np.float64(told.y[k]).reshape(24, -1) + (1 - kept) * MEAN - X.reshape(24, -1)
        error = (away**2).mean(1)
        # 16 roundings of numbers no larger than the release's in each difference, and one of each term of the mean.
        assert (np.abs(found.scores["mse"][v, k] - error) < EPS32 * (32 * largest * np.sqrt(error) + 64 * error)).all()
    # Where noise is as small as texture, the filter takes off too much of the image.
    assert (believed[1] / norms(X) * MUS[1]).mean() > 1.3
    assert found.lost["wavelet"]["mse"][1].low > 0


def test_more_releases_are_one_of_a_larger_mu_in_distribution():
    x, num = pictures(64, seed=4), 4
    leak = linear_unit(SHAPE)
    averaged = released(KEY, x, np.array(MUS), leak, num_releases=num)
    single = released(KEY, x, 2 * np.array(MUS), leak)
    np.testing.assert_allclose(averaged.sigma, single.sigma, rtol=16 * EPS32)
    for each in (averaged, single):
        squares = (((each.y - x) / each.sigma[..., None, None, None]) ** 2).sum((1, 2, 3, 4))
        assert (np.abs(chi2.cdf(squares, x.size) - 0.5) < 0.5 - 1e-4).all()


def test_rounds_are_compared_with_one_release_that_says_as_much():
    target, calls = counted(prior())
    found = rounds(KEY, target, X, MUS, num_releases=(1, 4), attacker=ONE_CALL)
    assert len(calls) == 2 * 2 * 2 * 24
    assert set(found.averaged) == set(found.single) == METRICS
    np.testing.assert_array_equal(found.rounds, (1, 4))
    for i, num in enumerate((1, 4)):
        for k, mu in enumerate(MUS):
            noise = norms(X) ** 2 / mu**2 / num
            kept = VAR / (VAR + noise)
            away = ((X.reshape(24, -1) - MEAN) ** 2).mean(1)
            for side in (found.averaged, found.single):
                assert within(side["mse"][i, k], (1 - kept) ** 2 * away + kept**2 * noise)
            apart = found.difference[i]["mse"][k]
            want = gain(found.averaged["mse"][i, k], found.single["mse"][i, k], paired=True)
            assert apart == want
            assert 2 * apart.low - apart.high < 0 < 2 * apart.high - apart.low  # thrice as wide
            assert apart.value != 0


def test_a_prior_that_knows_its_images_is_found_out():
    seen, unseen = pictures(8, seed=2), pictures(16, seed=3)
    knowing = memorising(PROCESSES["edm"], seen)
    found = seen_by_prior(KEY, knowing, seen, unseen, (1.0, 30.0), attacker=ONE_CALL)
    assert found.remembered[1]
    assert found.seen["mse"].shape == (2, 8)
    assert found.unseen["mse"].shape == (2, 16)
    np.testing.assert_allclose(found.seen["mse"][1], 0, atol=EPS32)
    honest = seen_by_prior(KEY, prior(), seen, unseen, (1.0, 30.0), attacker=ONE_CALL)
    assert not honest.remembered.any()
    np.testing.assert_array_equal(
        found.difference["mse"][1], gain(found.seen["mse"][1], found.unseen["mse"][1], paired=False)
    )


def test_distance_is_the_divergence_between_gaussians_and_goes_with_error():
    priors = {"matched": prior(), "wide": prior(var=0.08), "wider": prior(var=0.3), "elsewhere": prior(mean=0.6)}
    found = prior_dial(KEY, {**priors, "none": None}, X, MUS, PUBLIC, attacker=ONE_CALL)
    assert found.names == (*priors, "none")
    assert found.distance[0] == found.distance_se[0] == 0

    def divergence(mean, var, sigma):
        at, of = var + sigma**2, VAR + sigma**2
        return X[0].size / 2 * (np.log(at / of) + (of + (mean - MEAN) ** 2) / at - 1)

    high, low = norms(X).max() / MUS[0], norms(X).min() / MUS[-1]
    laws = {"wide": (MEAN, 0.08), "wider": (MEAN, 0.3), "elsewhere": (0.6, VAR)}
    for i, name in enumerate(found.names[1:4], 1):
        want = divergence(*laws[name], low) - divergence(*laws[name], high)
        # The trapezoid rule adds up to log(sqrt(2)^2)^2/3 of either part of the whole.
        assert abs(found.distance[i] - want) < 4 * found.distance_se[i] + np.log(2) ** 2 / 3 * want
    # Fitted to 200 images, Wiener's filter is all but the exact prior.
    assert abs(found.distance[4]) < found.distance[1]
    assert found.scores["mse"].shape == (5, 2, 24)
    for name, sign in {"mse": 1, "psnr": -1}.items():
        for k, each in enumerate(found.correlation[name]):
            want = spearmanr(found.distance, found.scores[name][:, k].mean(axis=-1))[0]
            np.testing.assert_allclose(each.value, want, rtol=1e-12)
            assert sign * want > 0.5


def test_without_a_prior_each_image_is_filtered_by_what_the_others_are_like():
    x, levels = PUBLIC[:6].astype(np.float64), np.array([0.05, 0.4, 2.0])
    curve = _curve(KEY, None, PUBLIC[:6], levels, 64)
    for i in range(6):
        rest = np.delete(x, i, axis=0)
        for j, sigma in enumerate(levels):
            kept = rest.var(0) / (rest.var(0) + sigma**2)
            error = (1 - kept) ** 2 * (x[i] - rest.mean(0)) ** 2 + kept**2 * sigma**2
            np.testing.assert_allclose(curve[i, j], error.mean(), rtol=1e-9)


def test_sizes_have_transitions_of_their_own():
    sizes = {side: (prior(shape=(side, side, 1)), pictures(16, side, (side, side, 1))) for side in (6, 12)}
    found = image_sizes(KEY, sizes, 2.0 ** np.arange(0.5, 5), attacker=Attacker(steps=20))
    for side, row in found.items():
        want = norms(sizes[side][1]).mean() / np.sqrt(3 * VAR)
        place = row.transition["mse"].mu
        assert place is not None
        assert place.low < want < place.high
        np.testing.assert_allclose(row.sigma[0], norms(sizes[side][1]) / 2**0.5, rtol=16 * EPS32)
        assert len(row.relative) == 5
        assert set(row.scores) == set(row.unrelated) == METRICS
    assert 1.7 < found[12].transition["mse"].mu.value / found[6].transition["mse"].mu.value < 2.3


def test_gains_have_students_interval():
    rng = np.random.default_rng(0)
    for _ in range(3):
        a, b, c = rng.normal(1, 1, 6), rng.normal(0, 3, 9), rng.normal(0, 2, 6)
        for each, test in {
            gain(a, b, paired=False): ttest_ind(a, b, equal_var=False),
            gain(a, c, paired=True): ttest_rel(a, c),
        }.items():
            np.testing.assert_allclose(each[1:], test.confidence_interval(), rtol=1e-9)
            np.testing.assert_allclose(2 * each.value, each.low + each.high, rtol=1e-9)
    assert gain(np.ones(4), np.zeros(4), paired=True) == (1, 1, 1)


@pytest.mark.parametrize(
    ("study", "says"),
    [
        (lambda: prior_dial(KEY, {"a": prior(), "b": None}, X, MUS, PUBLIC), "4 priors or more"),
        (lambda: prior_dial(KEY, {"n": None, **dict.fromkeys("abc", prior())}, X, MUS, PUBLIC), "matched one first"),
        (
            lambda: prior_dial(KEY, {"m": prior(), **dict.fromkeys("abc", prior(shape=(4, 4, 1)))}, X, MUS, PUBLIC),
            "give one shape",
        ),
        (lambda: image_sizes(KEY, {6: (prior(), X)}, [3]), "2 values of mu or more"),
        (lambda: unknown_noise(KEY, prior(), X, MUS, X), "among the public"),
        (lambda: rounds(KEY, prior(), X, MUS, num_releases=[0]), "num_releases is 0"),
        (lambda: seen_by_prior(KEY, prior(), X[:5], X[4:9], MUS), "are the same image"),
        (lambda: seen_by_prior(KEY, prior(), X[:3], X[4:9], MUS), "4 of them or more"),
        (lambda: rounds(KEY, prior(), X, [-1]), "mu is -1"),
    ],
)
def test_what_cannot_be_is_refused(study, says):
    with pytest.raises(InputError, match=says):
        study()
