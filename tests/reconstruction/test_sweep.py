"""A sweep over mu by the exact prior of Gaussian data, where every error is known, and what it refuses."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from diffaudit_jax import models
from diffaudit_jax.importers.callables import from_sampler
from diffaudit_jax.metrics import gdp_epsilon, rero
from diffaudit_jax.metrics.bounds import prior_kappa
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.metrics.subsampled import rero_subsampled
from diffaudit_jax.process import ddpm_linear
from diffaudit_jax.reconstruction import Knowledge, dense, linear_unit, random_mlp, reconstruct
from diffaudit_jax.reconstruction.baselines import fit_baselines
from diffaudit_jax.reconstruction.levels import noise_levels, reconstructed, released
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.reconstruction.promises import Training
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.reconstruction.scoring import Scorer, distances, effective_norm, ranked, without_prior
from diffaudit_jax.reconstruction.sweep import sweep
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, PROCESSES, counted, gaussian
from tests.oracles import images as uniform

SHAPE, KEY = (6, 6, 1), jax.random.key(5)
MEAN, VAR = 0.1, 0.04  # 4.5 deviations inside [-1, 1]
MUS = (0.1, 3.0, 8.0, 100.0)
STEPS = 40


def prior(name="edm"):
    target = gaussian(PROCESSES[name], MEAN, VAR, SHAPE)
    return replace(target, config={**target.config, "clip": False})


def pictures(n, seed=0):
    drawn = MEAN + np.sqrt(VAR) * np.random.default_rng(seed).standard_normal((n, *SHAPE))
    return np.clip(drawn, -1, 1).astype(np.float32)


def noise(x, mu):
    # One of the targets is short of the clipping norm, 1.
    return np.maximum(np.linalg.norm(np.float64(x).reshape(len(x), -1), axis=1), 1) / mu


def within(values, want, level=4):
    """Whether independent values have the mean of what each is expected to be, by 4 standard errors."""
    away = values - want
    return abs(away.mean()) < level * away.std(ddof=1) / np.sqrt(len(away))


X, PUBLIC = pictures(24), pictures(100, seed=1)


@pytest.fixture(scope="module")
def swept():
    return sweep(KEY, prior(), X, MUS[::-1], public=PUBLIC, num=2, steps=STEPS, shown=3)


def test_linear_attacks_err_as_they_must(swept):
    known = fit_baselines(PUBLIC)
    for k, mu in enumerate(MUS):
        sigma = noise(X, mu)[:, None]
        np.testing.assert_allclose(swept.sigma[k], sigma[:, 0], rtol=16 * EPS32)
        linear = {
            "posterior mean": (VAR / (VAR + sigma**2), MEAN),
            "wiener": (known.var.ravel() / (known.var.ravel() + sigma**2), known.mean.ravel()),
            "diffusion": (np.sqrt(VAR / (VAR + sigma**2)), MEAN),
        }
        for name, (slope, mean) in linear.items():
            if name == "diffusion" and mu < 1:
                continue  # at sigma = 13 its 40 steps are not many, and more would be slow
            want = ((1 - slope) ** 2 * (X.reshape(len(X), -1) - mean) ** 2 + slope**2 * sigma**2).mean(axis=1)
            assert within(swept.scores[name]["mse"][k], want), (name, mu)
        best = VAR * sigma[:, 0] ** 2 / (VAR + sigma[:, 0] ** 2)
        assert within(swept.scores["posterior mean"]["mse"][k], best)


def test_the_release_errs_as_an_attacker_without_a_prior():
    found = released(KEY, X, np.array(MUS), linear_unit(SHAPE))
    expected = without_prior(X, np.array(MUS)).mean["mse"]
    for k, mu in enumerate(MUS):
        np.testing.assert_allclose(expected[k], noise(X, mu) ** 2, rtol=1e-9)
        assert within(((found.y[k] - np.float64(X)) ** 2).mean((1, 2, 3)), expected[k])


def test_a_sweep_has_the_release_clipped_and_what_it_is_expected_to_err(swept):
    assert within(swept.scores["release"]["mse"][-1], swept.bounds.uninformed.mean["mse"][-1])
    assert within(swept.scores["release"]["psnr"][-1], swept.bounds.uninformed.mean["psnr"][-1])
    assert within(swept.scores["release"]["ncc"][1], swept.bounds.uninformed.mean["ncc"][1])
    assert (swept.scores["release"]["mse"][0] < swept.bounds.uninformed.mean["mse"][0]).all()
    assert np.abs(swept.shown.release).max() <= 1


def test_the_prior_is_expected_to_do_what_it_does(swept):
    expected, se = swept.bounds.prior_curve
    done = swept.scores["posterior mean"]["mse"]
    spread = done.std(axis=1, ddof=1) / np.sqrt(len(X))
    # What reading between levels adds is known of Gaussian data: up to exp(log(2)^2/32).
    assert (np.abs(expected - done.mean(axis=1)) < 4 * np.hypot(se, spread) + 0.016 * expected).all()


def test_bounds_are_those_of_mu(swept):
    np.testing.assert_array_equal(swept.mus, MUS)
    np.testing.assert_array_equal(swept.epsilons, gdp_epsilon(MUS, 1e-5))
    for kappa, bound in swept.bounds.rero.items():
        np.testing.assert_array_equal(bound, rero(kappa, MUS))


def test_four_releases_say_as_much_as_one_of_twice_the_mu():
    x, joint = X[:4], np.array([4.0, 12.0])
    found = sweep(KEY, prior(), x, joint / 2, num=2, steps=2, num_releases=4)
    np.testing.assert_array_equal(found.epsilons, gdp_epsilon(joint, 1e-5))
    np.testing.assert_allclose(found.sigma, noise(x, joint[:, None]), rtol=16 * EPS32)
    np.testing.assert_allclose(found.bounds.rero[1e-4], rero(1e-4, joint), rtol=1e-12)
    for name, want in without_prior(x, joint).mean.items():
        np.testing.assert_allclose(found.bounds.uninformed.mean[name], want, rtol=1e-12)


def test_targets_are_found_where_noise_is_little_and_guessed_where_it_is_all(swept):
    for found in swept.retrieval.values():
        assert found[-1].top1.value == 1
        assert found[0].top1.low <= found[0].chance <= found[0].top1.high
    assert swept.relative["diffusion"][-1].high < 0.01
    assert swept.relative["diffusion"][0].value == pytest.approx(1, abs=0.5)


def test_scores_are_means_over_pairs(swept):
    a, b = X[:6].astype(np.float64), X[6:11].astype(np.float64)
    slow = [[((x - y) ** 2).mean() for y in b] for x in a]
    np.testing.assert_allclose(distances(a, b), slow, rtol=1e-9)
    others = [np.mean([((x - y) ** 2).mean() for j, y in enumerate(X) if j != i]) for i, x in enumerate(np.float64(X))]
    np.testing.assert_allclose(swept.unrelated["mse"], others, rtol=SHAPE[0] ** 2 * EPS32)
    ratio = swept.scores["wiener"]["mse"][1].mean() / np.mean(others)
    np.testing.assert_allclose(swept.relative["wiener"][1].value, ratio, rtol=SHAPE[0] ** 2 * EPS32)


def test_samples_tell_their_error_on_average(swept):
    for k, mu in enumerate(MUS[1:], 1):
        var = VAR * noise(X, mu) ** 2 / (VAR + noise(X, mu) ** 2)
        # DDIM of few steps spreads a little less than the posterior.
        assert within(swept.agreement_error[k], 2 * var) or swept.agreement_error[k].mean() < 2 * var.mean()
        assert swept.agreement_error[k].mean() > 1.5 * var.mean()
    assert (np.diff(swept.agreement_ratio.mean(axis=1)) < 0).all()
    assert all(-1 <= each.low <= each.value <= each.high <= 1 for each in swept.agreement_rank)


def test_where_errors_are_all_the_same_nothing_is_known_of_their_order():
    same, order = np.ones((1, 5)), np.arange(5.0)[None]
    assert ranked(same, order) == ranked(order, same) == ((0.0, -1.0, 1.0),)
    assert ranked(order, order)[0].low > 0


def test_pictures_are_of_the_first_targets(swept):
    shown = swept.shown
    np.testing.assert_array_equal(shown.targets, X[:3])
    assert shown.samples.shape == (4, 3, 2, *SHAPE)
    np.testing.assert_allclose(
        shown.spread, np.abs(np.diff(shown.samples, axis=2))[:, :, 0, ..., 0] / 2**0.5, atol=1e-6
    )
    for name, images in {"diffusion": shown.diffusion, "posterior mean": shown.mean, "release": shown.release}.items():
        error = ((np.float64(images) - X[:3]) ** 2).mean((2, 3, 4))
        # Every difference has a rounding of numbers up to 1, and the mean one of each of its terms.
        size = np.sqrt(error)
        assert (np.abs(swept.scores[name]["mse"][:, :3] - error) < EPS32 * (4 * size + 64 * error)).all()


def test_values_depend_on_neither_block_nor_other_mus(swept):
    few = sweep(KEY, prior(), X[:8], MUS[1:3], public=PUBLIC, num=2, steps=STEPS, shown=3, block=8)
    for name, got in few.shown._asdict().items():
        want = getattr(swept.shown, name)
        want = want if name == "targets" else want[1:3]
        # 40 steps of 8 roundings, of numbers no larger than the release's.
        np.testing.assert_allclose(got, want, atol=40 * 8 * EPS32)
    np.testing.assert_allclose(few.sigma, swept.sigma[1:3, :8], rtol=16 * EPS32)


def test_the_transition_is_where_the_closed_form_has_it():
    # DDIM of Gaussian data errs by 2 v (1 - sqrt(v/(v + sigma^2))), unrelated images by 2 v: half at sigma^2 = 3 v.
    x = pictures(40, seed=3)
    place = noise(x, 1).mean() / np.sqrt(3 * VAR)
    grid = place * 2.0 ** np.arange(-2, 2.5, 0.5)
    found = sweep(KEY, prior(), x, grid, num=2, steps=STEPS).transition["diffusion"]["mse"].mu
    assert found is not None
    assert found.low < place < found.high < 2 * found.low


def test_several_levels_are_reconstructed_as_each_alone():
    x, target = X[:3], prior("linear-50")
    releases = released(KEY, x, np.array([2.0, 9.0]), linear_unit(SHAPE))
    found = reconstructed(KEY, target, releases, num=2, steps=5)
    for k in range(2):
        alone = Release(releases.y[k], releases.sigma[k])
        settings = {"diffusion": {"steps": 5}, "mean": {"method": "posterior-mean"}}
        settings["samples"] = {"steps": 5, "eta": 1.0, "num": 2}
        for field, each in settings.items():
            want = reconstruct(KEY, target, alone, **each)
            got = getattr(found, field)[k]
            np.testing.assert_allclose(got, want if field == "samples" else want[:, 0], atol=5 * 8 * EPS32)


def test_the_network_is_called_as_often_as_is_said():
    target, calls = counted(prior("linear-50"))
    x, public, done = X[:8], PUBLIC[:8], []
    settings = {"num": 2, "steps": 3, "block": 16}
    sweep(KEY, target, x, (2, 9), public=public, progress=lambda *each: done.append(each), **settings)
    levels = len(noise_levels(effective_norm(x) / np.array([[2], [9]])))
    ratio = effective_norm(x).max() / effective_norm(x).min() * 4.5
    assert levels == np.ceil(2 * np.log2(ratio)) + 1
    assert len(calls) == 2 * 8 * (1 + 3 * 3) + 8 * 4 * levels
    assert done[-1] == (16, 16)


def test_noise_that_float32_does_not_have_is_refused():
    with pytest.raises(InputError, match="float32 has no such noise"):
        released(KEY, X, np.array([1e60]), linear_unit(SHAPE))


def test_a_distance_of_ones_own_is_scored_beside():
    apart = Perceptual((), lambda params, x: x, lambda params, u, v: abs(u - v).mean())
    found = sweep(KEY, prior(), X[:4], (3, 9), num=2, steps=2, perceptual=apart)
    score = np.abs(found.shown.diffusion.astype(np.float64) - X[:4]).mean((2, 3, 4))
    np.testing.assert_allclose(found.scores["diffusion"]["lpips"], score, rtol=64 * EPS32)
    assert found.transition["diffusion"]["lpips"].half == pytest.approx(found.unrelated["lpips"].mean() / 2)
    assert found.bounds.prior_curve is None
    assert set(found.scores) == {"diffusion", "posterior mean", "release"}


def test_equal_images_have_a_finite_psnr():
    scores = Scorer()(X[:2], X[:2])
    np.testing.assert_array_equal(scores["mse"], 0)
    assert np.isfinite(scores["psnr"]).all()


BAD = {
    "one mu": ({"mus": [3]}, "2 values of mu or more"),
    "no mu": ({"mus": []}, "2 values of mu or more"),
    "mu of 0": ({"mus": [0, 3]}, "mu is 0"),
    "one sample": ({"num": 1}, "2 or more random"),
    "no noise": ({"eta": 0.0}, "eta is above 0"),
    "few targets": ({"targets": X[:3]}, "4 of them or more"),
    "another shape": ({"targets": uniform(5)}, r"prior takes images \(6, 6, 1\)"),
    "range": ({"targets": 2 * X}, "rescale them"),
    "twice": ({"targets": np.concatenate([X[:4], X[2:3]])}, "targets 2 and 4 are the same"),
    "flat": ({"targets": np.concatenate([X[:4], 0 * X[:1]])}, "target 4 is of one value"),
    "public target": ({"public": X[3:6]}, "target 3 is among the public"),
    "public twice": ({"public": np.repeat(PUBLIC[:1], 3, 0)}, "all the same"),
    "classes": ({"cond": np.zeros(3, int)}, "every target has its class"),
    "kappa": ({"kappas": (0,)}, "kappa is 0"),
    "delta": ({"delta": 1.0}, "delta is 1"),
    "releases": ({"num_releases": 0}, "num_releases is 0"),
    "silent": ({"knowledge": Knowledge(noise="silent")}, "has none"),
    "float32": ({"mus": [1, 1e60]}, "float32 tells no such noise"),
    "samples": (
        {"prior": from_sampler(lambda n, cond: uniform(n, shape=SHAPE), SHAPE, name="gan")},
        "offers samples only",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_before_the_network_runs(name):
    changed, message = BAD[name]
    target, calls = counted(prior())
    asked = {"prior": target, "targets": X[:5], "mus": (2, 9), "num": 2, "steps": 2} | changed
    with pytest.raises(InputError, match=message):
        sweep(KEY, **asked)
    assert not calls


def test_a_prior_without_a_null_class_is_told_the_classes_of_public_images():
    model = models.unet(X.shape[1:], channels=4, mults=(1,), num_blocks=1, num_classes=3, null_class=False)
    process = ddpm_linear(100)
    network = models.from_linen(model, process)
    conditional = diffusion_target(network.init(jax.random.key(0)), network, process, X.shape[1:], num_classes=3)
    asked = {"public": PUBLIC[:6], "num": 2, "steps": 2, "cond": np.arange(4) % 3}
    found = sweep(KEY, conditional, X[:4], [1.0, 5.0], public_cond=np.arange(6) % 3, **asked)
    assert np.isfinite(found.bounds.prior_curve).all()
    with pytest.raises(InputError, match="no null class"):
        sweep(KEY, conditional, X[:4], [1.0, 5.0], **asked)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ({"cond": [0, 2, 3, 1]}, r"^class 3 of target 2 is none that the prior knows: give one from 0 to 2\.$"),
        ({"cond": [0, 2, -1, 1]}, "class -1 of target 2"),
        ({"cond": [0, 2, 1, 1], "public_cond": [0, 1, 2, 0, 7]}, "class 7 of public image 4"),
        ({"cond": [0, 2, 1, 1], "public_cond": [0, 1]}, r"every public image has its class, .* shape \(2,\) for 5"),
    ],
)
def test_classes_that_the_prior_does_not_know_are_refused_before_the_network_runs(classes, says):
    target, calls = counted(prior())
    asked = {name: np.array(each) for name, each in classes.items()}
    with pytest.raises(InputError, match=says):
        sweep(KEY, replace(target, num_classes=3), X[:4], (2, 9), public=PUBLIC[:5], num=2, steps=2, **asked)
    assert not calls


def test_bounds_of_the_linear_unit_are_not_set_beside_another_leak():
    leak = dense(random_mlp(KEY, X.shape[1:]), X.shape[1:])
    found = sweep(KEY, prior(), X[:4], [5.0, 50.0], public=PUBLIC[:6], num=2, steps=2, leak=leak)
    assert found.bounds.prior_curve is None
    assert found.bounds.uninformed is None
    assert found.bounds.picked is None
    assert found.believed is None


def test_psnr_has_no_transition(swept):
    """It has no best value, and half way to the last one goes with the grid."""
    assert {*swept.transition["diffusion"]} == {"mse", "ssim", "ncc"}


def test_nobody_picks_targets_more_often_than_is_promised(swept):
    """The likeliest of all targets, naively: the one whose clipped gradient is nearest to that which was released."""
    picked = swept.bounds.picked
    exact = released(jax.random.split(KEY, 3)[0], X, np.array(MUS), linear_unit(SHAPE))
    flat = np.float64(X).reshape(len(X), -1)
    norms = np.maximum(np.linalg.norm(flat, axis=1), 1)[:, None]
    for k, mu in enumerate(MUS):
        gradients = np.float64(exact.y[k]).reshape(len(X), -1) / norms
        nearest = ((gradients[:, None] - (flat / norms)[None]) ** 2).sum(-1).argmin(1)
        assert picked.found[k].top1.value == (nearest == np.arange(len(X))).mean()
        np.testing.assert_allclose(picked.bound[k], rero(1 / len(X), mu))
        assert picked.found[k].top1.low <= picked.bound[k]
        for method in swept.retrieval.values():
            assert method[k].top1.low <= picked.bound[k]
    assert picked.found[1].top1.value > 0.5
    assert picked.training is picked.training_bound is None


def test_what_the_attacker_does_not_know_does_not_change_the_bounds():
    x, mus = X[:4], [3.0, 8.0]
    ignorant = sweep(KEY, prior(), x, mus, num=2, steps=2, knowledge=Knowledge(noise="wavelet"))
    told = sweep(KEY, prior(), x, mus, num=2, steps=2)
    assert ignorant.bounds.picked.found == told.bounds.picked.found
    np.testing.assert_allclose(told.believed, 1, rtol=16 * EPS32)
    np.testing.assert_allclose(ignorant.believed, ignorant.sigma / told.sigma, rtol=16 * EPS32)
    assert np.abs(ignorant.believed - 1).max() > 0.01


def test_coming_near_is_counted_and_bounded_by_what_public_images_tell():
    eta = 0.03
    found = sweep(KEY, prior(), X, [3.0, 30.0], public=PUBLIC, num=2, steps=2, near=eta, training=Training(0.5, 4))
    near = found.bounds.near
    guesses = np.concatenate([PUBLIC, PUBLIC.mean(0, keepdims=True)])
    assert near.kappa == prior_kappa(distances(guesses, X), eta)
    np.testing.assert_allclose(near.bound, rero(near.kappa.high, [3.0, 30.0]))
    for method, scores in found.scores.items():
        for k in range(2):
            assert near.within[method][k] == clopper_pearson(int((scores["mse"][k] <= eta).sum()), len(X))
    assert near.within["posterior mean"][1].value == 1
    whole = found.bounds.picked.training_bound
    assert whole == tuple(rero_subsampled(1 / len(X), mu, 0.5, 4, num_draws=5000) for mu in (3.0, 30.0))
    assert whole[0].value < whole[1].value


def test_releases_without_noise_to_speak_of_have_a_range_all_the_same():
    told = without_prior(X[:4], np.array([5.0, 1e6]))
    for metric, mean in told.mean.items():
        assert (told.low[metric] <= mean).all()
        assert (mean <= told.high[metric]).all()
    assert (told.low["ncc"][0] < told.mean["ncc"][0] - 0.01).all()
    draws = np.random.default_rng(2).standard_normal((4000, *SHAPE)) * noise(X[:1], 5.0)
    errors = (draws**2).mean((1, 2, 3))
    inside = ((told.low["mse"][0, 0] < errors) & (errors < told.high["mse"][0, 0])).mean()
    assert abs(inside - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)
