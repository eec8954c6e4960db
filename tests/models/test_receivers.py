"""Receivers' networks against loops written from their definitions, and dropout where there is a key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models import count_params
from diffaudit_jax.models.receivers import RECEIVERS, LeNet, ViT
from diffaudit_jax.types import InputError
from tests.oracles import EPS32

EPS64 = float(np.finfo(np.float64).eps)


def initial(module, shape):
    return jax.eval_shape(module.init, jax.random.key(0), np.zeros(shape, np.float32))["params"]


def filled(module, shape):
    """Random parameters in place of the initial ones, which hold zeros; and an image."""
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))  # noqa: E731
    return jax.tree.map(draw, initial(module, shape)), rng.uniform(-1, 1, shape)


def in_float64(module, params, x):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(module.apply)({"params": params}, x))


# Counted by hand for 2 classes of 32x32 colour: LeNet's layers as published, the others as their docstrings say.
STAGES = [(16, 16, 0), (16, 32, 16 * 32), (32, 64, 32 * 64)]
SIZES = {
    "lenet": (75 * 6 + 6) + (150 * 16 + 16) + (400 * 100 + 100) + (100 * 20 + 20) + (20 * 2 + 2),
    "resnet": (27 * 16 + 16) + sum(9 * (i + c) * c + 2 * c + 2 * (i + c) + skip for i, c, skip in STAGES) + 128 + 130,
    "mlp": (3072 * 256 + 256) + (256 * 128 + 128) + (128 * 2 + 2),
    "vit": (48 * 64 + 64) + 64 * 64 + 3 * (256 + 4 * (64 * 64 + 64) + 2 * 64 * 128 + 128 + 64) + 128 + (64 * 2 + 2),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_sizes_are_those_counted_by_hand(name):
    assert count_params(initial(RECEIVERS[name](2), (32, 32, 3))) == SIZES[name]


@pytest.mark.parametrize("name", RECEIVERS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (16, 20, 3)])
def test_other_shapes_and_numbers_of_classes_fit(name, shape):
    module = RECEIVERS[name](7)
    features, logits = jax.eval_shape(module.apply, {"params": initial(module, shape)}, np.zeros(shape, np.float32))
    assert (features.ndim, logits.shape) == (1, (7,))


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def conv(layer, x, stride=1):
    """Cross-correlation without padding, a patch at a time."""
    kernel = layer["kernel"]
    k = len(kernel)
    places = [range(0, side - k + 1, stride) for side in x.shape[:2]]
    return (
        np.array([[np.tensordot(x[i : i + k, j : j + k], kernel, 3) for j in places[1]] for i in places[0]])
        + (layer["bias"])
    )


def conv3x3(layer, x, stride=1):
    return conv(layer["conv"], np.pad(x, ((1, 1), (1, 1), (0, 0))), stride)


def relu(x):
    return np.maximum(x, 0)


def lenet(params, x):
    for name in ("conv0", "conv1"):
        x = relu(conv(params[name], x))
        x = np.array(
            [
                [x[i : i + 2, j : j + 2].max((0, 1)) for j in range(0, x.shape[1] - 1, 2)]
                for i in range(0, len(x) - 1, 2)
            ]
        )
    features = dense(params["features"], relu(dense(params["dense"], x.ravel())))
    return features, dense(params["logits"], relu(features))


def mlp(params, x):
    features = dense(params["dense1"], relu(dense(params["dense0"], x.ravel())))
    return features, dense(params["logits"], relu(features))


def group_norm(layer, x):
    """Groups of 4 channels."""
    parts = x.reshape(*x.shape[:2], -1, 4)
    parts = (parts - parts.mean((0, 1, 3), keepdims=True)) / np.sqrt(parts.var((0, 1, 3), keepdims=True) + 1e-5)
    return parts.reshape(x.shape) * layer["scale"] + layer["bias"]


def resnet(params, x):
    h = conv3x3(params["stem"], x)
    for i in range(3):
        y = relu(group_norm(params[f"norm{i}a"], h))
        if i:
            h = y[::2, ::2] @ params[f"skip{i}"]["kernel"][0, 0]
        y = conv3x3(params[f"conv{i}a"], y, 2 if i else 1)
        h = h + conv3x3(params[f"conv{i}b"], relu(group_norm(params[f"norm{i}b"], y)))
    features = relu(group_norm(params["norm"], h)).mean((0, 1))
    return features, dense(params["logits"], features)


def layer_norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * layer["scale"] + layer["bias"]


def attention(layer, x):
    q, k, v = (
        np.einsum("td,dhe->hte", x, layer[p]["kernel"]) + layer[p]["bias"][:, None] for p in ("query", "key", "value")
    )
    weights = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]))
    out = weights / weights.sum(-1, keepdims=True) @ v
    return np.einsum("hte,hed->td", out, layer["out"]["kernel"]) + layer["out"]["bias"]


def vit(params, x):
    h, w, _ = x.shape
    patches = np.array([x[i : i + 4, j : j + 4].ravel() for i in range(0, h, 4) for j in range(0, w, 4)])
    h = dense(params["embed"], patches) + params["positions"]
    for i in range(3):
        h = h + attention(params[f"attention{i}"], layer_norm(params[f"norm{i}a"], h))
        y = dense(params[f"wide{i}"], layer_norm(params[f"norm{i}b"], h))
        cubic = np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)
        h = h + dense(params[f"narrow{i}"], y * (1 + np.tanh(cubic)) / 2)
    features = layer_norm(params["norm"], h).mean(0)
    return features, dense(params["logits"], features)


ORACLES = {"lenet": lenet, "mlp": mlp, "resnet": resnet, "vit": vit}
# In float64 no sum has more than 400 terms, and no path more than 12 of them; a ResNet's seven group norms are taken in
# float32, each within 64 roundings.
ROUNDING = {"resnet": 7 * 64 * EPS32}


@pytest.mark.parametrize("name", RECEIVERS)
def test_networks_are_what_their_definitions_say(name):
    module = RECEIVERS[name](3)
    params, x = filled(module, (16, 20, 1))
    for ours, theirs in zip(in_float64(module, params, x), ORACLES[name](params, x), strict=True):
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=ROUNDING.get(name, 12 * 400 * EPS64) * np.abs(theirs).max()
        )


def test_dropout_asks_for_a_key_and_keeps_the_mean():
    module, n = LeNet(2), 400
    params, x = filled(module, (16, 16, 1))
    x = jnp.asarray(x, jnp.float32)
    run = jax.jit(lambda key: module.apply({"params": params}, x, rngs={"dropout": key}))
    features, logits = map(np.asarray, jax.vmap(run)(jax.random.split(jax.random.key(0), n)))
    assert len(np.unique(features, axis=0)) == n
    kept, _ = module.apply({"params": params}, x)
    # Features are linear in what is dropped before them, so that their mean is what no dropout gives.
    assert (np.abs(features.mean(axis=0) - kept) < 5 * features.std(axis=0) / np.sqrt(n)).all()
    # Those are dropped in their turn: without that, logits would follow from them.
    again = dense(jax.tree.map(np.asarray, params["logits"]), relu(features))
    assert (np.abs(logits - again) > 64 * EPS32 * np.abs(again).max()).mean() > 0.9


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (LeNet(2), (15, 16, 1), r"images of \(15, 16, 1\) leave this receiver's convolutions nothing: give 16x16"),
        (ViT(2), (16, 18, 1), r"images of \(16, 18, 1\) are not whole patches of 4"),
    ],
)
def test_images_that_do_not_fit_are_refused(module, shape, message):
    with pytest.raises(InputError, match=message):
        initial(module, shape)
