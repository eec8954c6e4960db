"""LPIPS against loops written from its definition, in float64, and the laws of a distance."""

import functools
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models.lpips import STAGES, Lpips, Stage, lpips
from diffaudit_jax.types import InputError, to_signed

VGG, POOL2, POOL3, TAP = ("conv", 3, 1, 1), ("pool", 2), ("pool", 3), ("tap",)
LAYERS = {
    "vgg": [VGG, VGG, TAP, POOL2, VGG, VGG, TAP] + 3 * [POOL2, VGG, VGG, VGG, TAP],
    "alex": [("conv", 11, 4, 2), TAP, POOL3, ("conv", 5, 1, 2), TAP, POOL3, VGG, TAP, VGG, TAP, VGG, TAP],
}
"""What is published: convolutions (size, stride, padding), each with its ReLU; max pools; where features are taken."""
RTOL = 1e-10  # both in float64: some thousand roundings of 1e-16 a layer


def narrow(net: str) -> Lpips:
    """The published layers with 2, 3, 4, ... channels, so that no two widths are mistaken for each other."""
    widths = iter(range(2, 99))
    return Lpips(net, tuple(s._replace(widths=tuple(next(widths) for _ in s.widths)) for s in STAGES[net]))


@functools.cache
def params(net: str):
    """Random weights, float64, of both signs in the trunk and of one in the heads."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(narrow(net).init, jax.random.key(0))
    trunk = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])), shapes["trunk"])
    return {"trunk": trunk, "heads": tuple(rng.uniform(0.1, 1, size=leaf.shape) for leaf in shapes["heads"])}


def images(shape: tuple[int, ...], number: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (number, *shape)).astype(np.float32)


@functools.cache
def program(net: str, name: str = "distance"):
    return jax.jit(getattr(narrow(net), name))


def distance(net: str, x, y, weights=None) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(program(net)(params(net) if weights is None else weights, x, y))


def conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    h, w = ((n - size) // stride + 1 for n in x.shape[:2])
    out = np.zeros((h, w, kernel.shape[3])) + bias
    for i in range(h):
        for j in range(w):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] += np.tensordot(window, kernel, 3)
    return out


def pool(x: np.ndarray, size: int) -> np.ndarray:
    h, w = ((n - size) // 2 + 1 for n in x.shape[:2])
    return np.array([[x[2 * i : 2 * i + size, 2 * j : 2 * j + size].max((0, 1)) for j in range(w)] for i in range(h)])


def enlarged(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear by its definition: pixel i lies at i + 1/2, and beyond the outermost centres the image is constant."""
    for axis, size in enumerate(shape):
        at = np.clip((np.arange(size) + 0.5) * x.shape[axis] / size - 0.5, 0, x.shape[axis] - 1)
        left = np.floor(at).astype(int)
        right = np.minimum(left + 1, x.shape[axis] - 1)
        weight = (at - left).reshape(-1, *[1] * (2 - axis))
        x = (1 - weight) * x.take(left, axis) + weight * x.take(right, axis)
    return x


def naive_features(net: str, x: np.ndarray, shape: tuple[int, int]) -> list[np.ndarray]:
    x = enlarged(np.broadcast_to(x, (*x.shape[:2], 3)).astype(np.float64), shape)
    h = (x - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    weights, number, features = params(net)["trunk"], 0, []
    for kind, *numbers in LAYERS[net]:
        if kind == "conv":
            size, stride, padding = numbers
            kernel, bias = (weights[f"conv{number}"][name] for name in ("kernel", "bias"))
            assert kernel.shape[:2] == (size, size)
            h, number = np.maximum(conv(h, kernel, bias, stride, padding), 0), number + 1
        elif kind == "pool":
            h = pool(h, *numbers)
        else:
            features.append(h / (np.sqrt((h**2).sum(-1, keepdims=True)) + 1e-10))
    return features


SHAPES = {
    (64, 64, 3): (64, 64),
    (71, 66, 1): (71, 66),
    (28, 28, 1): (64, 64),
    (45, 30, 3): (96, 64),
    (28, 45, 3): (64, 103),
    (1, 2, 3): (64, 128),
}
"""Shapes of images, and of what is compared: the shorter side has 64 pixels or more."""


@pytest.mark.parametrize(("net", "shape"), [*product(["alex"], SHAPES), ("vgg", (45, 30, 3)), ("vgg", (71, 66, 1))])
def test_the_distance_is_its_definition(net, shape):
    x, y = images(shape)
    pairs = zip(naive_features(net, x, SHAPES[shape]), naive_features(net, y, SHAPES[shape]), strict=True)
    want = sum(((u - v) ** 2 @ w).mean() for (u, v), w in zip(pairs, params(net)["heads"], strict=True))
    assert want > 0.01
    np.testing.assert_allclose(distance(net, x, y), want, rtol=RTOL)


@pytest.mark.parametrize(("shape", "size"), [*SHAPES.items(), ((63, 200, 1), (64, 203)), ((200, 63, 1), (203, 64))])
def test_it_says_to_what_size_it_enlarged(shape, size):
    assert lpips("alex").upsampled_to(shape) == (None if size == shape[:2] else size)


def test_grey_is_three_equal_colours_and_the_order_of_a_pair_does_not_matter():
    x, y = images((28, 28, 1))
    want = distance("alex", x, y)
    np.testing.assert_allclose(distance("alex", y, x), want, rtol=RTOL)
    np.testing.assert_allclose(distance("alex", *(np.repeat(image, 3, axis=2) for image in (x, y))), want, rtol=RTOL)


def test_pairs_are_vmapped_and_features_used_again():
    one, *others = images((28, 28, 1), 4)
    want = [distance("alex", one, other) for other in others]
    many = jax.jit(jax.vmap(narrow("alex").distance, (None, None, 0)))
    with jax.enable_x64(True):
        np.testing.assert_allclose(many(params("alex"), one, np.stack(others)), want, rtol=RTOL)
        u, *vs = (program("alex", "features")(params("alex"), image) for image in (one, *others))
        got = [program("alex", "between")(params("alex"), u, v) for v in vs]
    np.testing.assert_allclose(got, want, rtol=RTOL)


def test_drawn_weights_make_a_distance_in_float32_and_bytes_are_images_too():
    drawn = jax.jit(narrow("alex").init)(jax.random.key(0))
    x, y = np.random.default_rng(2).integers(0, 256, (2, 28, 28, 1), np.uint8)
    found = program("alex")(drawn, x, y)
    assert found.dtype == np.float32
    assert program("alex")(drawn, x, x) == 0 < found
    wide, signed = jax.tree.map(np.float64, drawn), map(to_signed, (x, y))
    np.testing.assert_allclose(distance("alex", x, y, wide), distance("alex", *signed, wide), rtol=RTOL)


def test_where_nothing_is_active_there_is_no_distance_and_a_finite_gradient():
    x, y = images((64, 64, 1))
    one = Lpips("alex", (Stage((2,)),))
    dead = {"trunk": {"conv0": {"kernel": np.ones((3, 3, 3, 2)), "bias": np.full(2, -1e3)}}, "heads": (np.ones(2),)}
    value, slope = jax.jit(jax.value_and_grad(one.distance, 1))(jax.tree.map(np.float32, dead), x, y)
    assert value == 0
    np.testing.assert_array_equal(slope, np.zeros_like(x))


@pytest.mark.parametrize(("net", "weights", "heads"), [("vgg", 14_714_688, 1_472), ("alex", 2_469_696, 1_152)])
def test_the_networks_have_the_published_sizes(net, weights, heads):
    shapes = jax.eval_shape(lpips(net).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["trunk"])) == weights
    assert sum(leaf.size for leaf in shapes["heads"]) == heads


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((28, 28), (28, 28), r"^LPIPS compares images \(h, w, 1\) or \(h, w, 3\), not \(28, 28\): reshape them\."),
        ((64, 64, 4), (64, 64, 4), r"not \(64, 64, 4\): reshape"),
        ((2, 64, 64, 3), (2, 64, 64, 3), r"not \(2, 64, 64, 3\): reshape"),
        ((0, 64, 3), (0, 64, 3), r"not \(0, 64, 3\): reshape"),
        ((28, 28, 1), (28, 28, 3), r"of one shape, not \(28, 28, 1\) and \(28, 28, 3\): crop or resize one\."),
    ],
)
def test_images_of_other_shapes_are_refused(x, y, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(program("vgg"), params("vgg"), jnp.zeros(x), jnp.zeros(y))


def test_an_unknown_trunk_is_refused():
    with pytest.raises(InputError, match="unknown trunk of LPIPS 'vgg16': did you mean 'vgg'"):
        lpips("vgg16")  # pyright: ignore[reportArgumentType]
