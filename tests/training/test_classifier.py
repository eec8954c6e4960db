"""The classifier learns, and answers each image alike whatever it is asked with."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.models import count_params
from diffaudit_jax.models.classifier import ImageClassifier
from diffaudit_jax.training.classifier import fit_classifier
from diffaudit_jax.types import InputError
from tests.oracles import EPS32
from tests.training.runs import members

STEPS = 60


@pytest.fixture(scope="module")
def pools():
    pool = data.load("fashion-mnist-2k")
    order = np.random.default_rng(0).permutation(len(pool))
    return pool.take(order[:1500]), pool.take(order[1500:])


def fit(pool, seed=0, **options):
    return fit_classifier(jax.random.key(seed), pool, **{"num_steps": STEPS, "batch_size": 32, **options})


def tiny():
    pool = members(20)
    return replace(pool, labels=(np.arange(len(pool)) % 3).astype(np.int32))


@pytest.fixture(scope="module")
def trained(pools, compiled):
    losses = []
    classifier = fit(pools[0], progress=lambda step, total, info: losses.append((step, total, float(info.loss))))
    return classifier, losses


def test_the_loss_falls_below_that_of_a_guess_and_held_out_images_are_told(trained, pools):
    classifier, losses = trained
    assert [row[:2] for row in losses] == [(20, STEPS), (40, STEPS), (60, STEPS)]
    assert losses[-1][2] < losses[0][2] < 2 * np.log(10)
    # Ten classes: chance is a tenth, and 500 images tell it from this within .013 a standard error.
    assert classifier.accuracy(pools[1]) > 0.6


def test_features_are_float64_and_an_images_own(trained, pools):
    classifier, x = trained[0], pools[1].x[:300]
    features = classifier.features(x)
    assert features.shape == (300, 64)
    assert features.dtype == np.float64
    assert np.linalg.matrix_rank(features - features.mean(axis=0)) == 64
    alone = classifier.features(x[7:9])
    np.testing.assert_allclose(alone, features[7:9], atol=64 * EPS32 * np.abs(features).max())
    assert classifier.run.num_compiles == 1


def test_logits_are_the_last_layer_of_the_features(trained, pools):
    classifier, x = trained[0], pools[1].x[:10]
    features, last = classifier.features(x), classifier.params["logits"]
    expected = features / (1 + np.exp(-features)) @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"])
    np.testing.assert_allclose(classifier.logits(x), expected, atol=64 * EPS32 * np.abs(expected).max())


def test_the_key_decides_everything(compiled):
    first, again, other = (fit(tiny(), seed, num_steps=25).params for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first["logits"]["kernel"] != other["logits"]["kernel"]).any()


class Dropping(nn.Module):
    """Knows nothing of an image but how often each label is, and forgets that nine times in ten."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        kept = nn.Dropout(0.9, deterministic=not self.has_rng("dropout"))(jnp.ones(()))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.num_classes,))
        return x.reshape(-1), bias * kept


def test_any_network_is_trained_and_each_image_drops_out_what_it_does(compiled):
    pool, infos = replace(tiny(), labels=np.zeros(20, np.int32), label_names=("a", "b")), []
    options = {"network": Dropping, "batch_size": 400, "warmup_steps": 0}
    fit(pool, num_steps=20, progress=lambda step, total, info: infos.append(info), **options)
    logits = fit(pool, num_steps=19, **options).logits(pool.x[:3])
    assert (logits == logits[0]).all()
    a, b = logits[0]
    assert a > b
    # Kept, the bias counts ten times: the loss of step 20 says how many of its 400 images kept it.
    kept = (np.log(2) - infos[0].loss) / (np.log(2) - np.log1p(np.exp(10 * (b - a))))
    assert abs(kept * 400 - round(float(kept * 400))) < 400 * 64 * EPS32
    assert abs(kept - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 400)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (4, 4, 1), (7, 5, 2)])
def test_any_shape_fits_and_none_takes_a_hundred_thousand_parameters(shape):
    module = ImageClassifier(10)
    params = jax.eval_shape(module.init, jax.random.key(0), np.zeros(shape, np.float32))["params"]
    assert count_params(params) < 100_000
    features, logits = jax.eval_shape(module.apply, {"params": params}, np.zeros(shape, np.float32))
    assert (features.shape, logits.shape) == ((64,), (10,))
    if shape == (28, 28, 1):
        assert f"{count_params(params):,}" in (ImageClassifier.__doc__ or "")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"labels": None}, {}, "has no labels"),
        ({}, {"num_steps": 0}, "num_steps must be above 0 and finite, got 0"),
        ({}, {"batch_size": -1}, "batch_size must be above 0"),
        ({}, {"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, got inf"),
        ({}, {"num_steps": 3, "learning_rate": 1e38}, r"training diverged: .* lower learning_rate=1e\+38"),
    ],
)
def test_bad_training_is_refused(change, options, message):
    with pytest.raises(InputError, match=message):
        fit(replace(tiny(), **change), **options)


def test_an_empty_pool_is_refused():
    with pytest.raises(InputError, match="there are no images"):
        fit(tiny().take(np.arange(0)))


def test_other_images_are_refused(trained, pools):
    classifier, x = trained[0], pools[1].x
    for images in (x[:0], x[:, :14], x.astype(np.float32)):
        with pytest.raises(InputError, match="this classifier takes uint8"):
            classifier.features(images)
    with pytest.raises(InputError, match="has no labels"):
        classifier.accuracy(replace(pools[1], labels=None))
