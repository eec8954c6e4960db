"""CLIP against loops written from its definition, in float64, its preprocessing against Pillow's, and its laws."""

import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.models.clip import MEAN, STD, Clip
from diffaudit_jax.models.clip_towers import Tower
from diffaudit_jax.types import InputError

SMALL = Clip(
    vision=Tower(6, 2, 3, 10, "quick_gelu", 1e-3),
    text=Tower(4, 1, 2, 7, "gelu", 1e-3),
    dim=5,
    side=7,
    patch=3,  # one row and one column of the image are left over
    vocab=9,
    context=6,
    eot=7,
)
RTOL = 1e-10  # both in float64: some thousand roundings of 1e-16
UNIT = float(np.finfo(np.float32).eps) / 2
TEXTS = np.array([[8, 1, 8, 7, 2, 7], [0, 7, 8, 8, 8, 8], [1, 2, 3, 4, 5, 7]], np.int32)
"""Ends at place 3, 1 and 5; and the greatest of the row is at 0, 2 and 5."""


@functools.cache
def params():
    """Random weights, float64, none of them 0 or 1."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / math.sqrt(leaf.shape[0]), shapes)


@functools.cache
def photo(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def answered(model: Clip, name: str, x) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.jit(getattr(model, name))(params(), x))


def dense(x: np.ndarray, layer) -> np.ndarray:
    return x @ layer["kernel"] + layer.get("bias", 0)


def norm(x: np.ndarray, layer, epsilon: float) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + epsilon) * layer["scale"] + layer["bias"]


def activated(x: np.ndarray, name: str) -> np.ndarray:
    if name == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    return x * np.vectorize(lambda number: (1 + math.erf(number / math.sqrt(2))) / 2)(x)


def blocks(h: np.ndarray, weights, tower: Tower, causal: bool) -> np.ndarray:
    """Token by token and head by head."""
    d = tower.width // tower.num_heads
    for i in range(tower.num_layers):
        layer = lambda name, i=i: weights[f"{i}_{name}"]  # noqa: E731
        qkv = np.array([dense(norm(row, layer("norm1"), tower.epsilon), layer("qkv")) for row in h])
        out = np.zeros_like(h)
        for token in range(len(h)):
            others = range(token + 1 if causal else len(h))
            for at in range(0, tower.width, d):
                q, k, v = (qkv[:, part * tower.width + at :][:, :d] for part in range(3))
                weight = np.array([math.exp(q[token] @ k[other] / math.sqrt(d)) for other in others])
                out[token, at : at + d] = sum(w * v[other] for w, other in zip(weight, others, strict=True))
                out[token, at : at + d] /= weight.sum()
        h = h + dense(out, layer("out"))
        hidden = np.array([dense(norm(row, layer("norm2"), tower.epsilon), layer("fc1")) for row in h])
        h = h + dense(activated(hidden, tower.activation), layer("fc2"))
    return h


def test_an_images_feature_is_its_definition():
    x, weights, tower = photo((7, 7, 3)), params()["vision"], SMALL.vision
    z = ((np.float64(x) + 1) / 2 - MEAN) / STD
    squares = [z[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] for i in range(2) for j in range(2)]
    tokens = [weights["class"]["embedding"], *(np.tensordot(s, weights["patch"]["kernel"], 3) for s in squares)]
    rows = np.array(tokens) + weights["position"]["embedding"]
    h = blocks(
        np.array([norm(row, weights["norm_in"], tower.epsilon) for row in rows]), weights["blocks"], tower, False
    )
    u = dense(norm(h[0], weights["norm_out"], tower.epsilon), weights["project"])
    want = u / np.linalg.norm(u)
    np.testing.assert_allclose(answered(SMALL, "image_features", x), want, rtol=RTOL)


@pytest.mark.parametrize(("eot", "ends"), [(7, (3, 1, 5)), (None, (0, 2, 5))])
def test_a_texts_feature_is_its_definition_at_its_end(eot, ends):
    model, weights, tower = replace(SMALL, eot=eot), params()["text"], SMALL.text
    for ids, end in zip(TEXTS, ends, strict=True):
        h = np.array([weights["token"]["embedding"][i] for i in ids]) + weights["position"]["embedding"]
        h = blocks(h, weights["blocks"], tower, causal=True)
        v = dense(norm(h[end], weights["norm_out"], tower.epsilon), weights["project"])
        got = answered(model, "text_features", ids)
        np.testing.assert_allclose(got, v / np.linalg.norm(v), rtol=RTOL)


def test_what_comes_after_a_texts_end_does_not_matter():
    ids = TEXTS[0]
    other = np.array([*ids[:4], 0, 3], np.int32)
    np.testing.assert_array_equal(*(answered(SMALL, "text_features", row) for row in (ids, other)))
    before = np.array([*ids[:2], 0, *ids[3:]], np.int32)
    assert np.abs(answered(SMALL, "text_features", before) - answered(SMALL, "text_features", ids)).max() > 1e-3


def pillows(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resized by Pillow, which keeps numbers of this mode as float32 after each axis."""
    channels = [Image.fromarray(x[..., c], "F").resize(size[::-1], Image.Resampling.BICUBIC) for c in range(x.shape[2])]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.parametrize(
    ("shape", "size", "corner"),
    [
        ((7, 7, 3), (7, 7), (0, 0)),
        ((7, 12, 3), (7, 12), (0, 2)),
        ((28, 28, 1), (7, 7), (0, 0)),
        ((30, 13, 3), (16, 7), (4, 0)),
        ((3, 4, 1), (7, 9), (0, 1)),
    ],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_images_are_resized_as_pillow_does_and_cut_and_normalised(shape, size, corner):
    x = photo(shape)
    resized = x if size == shape[:2] else np.clip(pillows(x, size), -1, 1)
    assert size == shape[:2] or (np.abs(resized) == 1).any() or shape[0] > 7  # enlarging overshoots, which is clipped
    cut = resized[corner[0] : corner[0] + 7, corner[1] : corner[1] + 7]
    want = ((np.broadcast_to(cut, (7, 7, 3)).astype(np.float64) + 1) / 2 - MEAN) / STD
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(SMALL.pixels)(jnp.asarray(x)))
    # Pillow rounds to float32 after each axis, what weighs at most 1.25 then; the largest number is below 2.
    allowed = 0 if size == shape[:2] else 2 * (1 + 1.25) * UNIT / 2 / min(STD)
    np.testing.assert_allclose(got, want, rtol=RTOL, atol=allowed)


def test_grey_is_three_equal_colours_and_bytes_are_images_too():
    grey, pixels = np.random.default_rng(2).integers(0, 256, (7, 7, 1), np.uint8), jax.jit(SMALL.pixels)
    want = pixels(grey)
    np.testing.assert_array_equal(pixels(np.repeat(grey, 3, axis=2)), want)
    # At most eight roundings on either side, of numbers up to 1, before the std divides.
    signed = pixels(grey / np.float32(127.5) - np.float32(1))
    np.testing.assert_allclose(signed, want, rtol=0, atol=16 * UNIT / min(STD))


def test_a_feature_is_a_unit_vector_of_float32():
    feature = jax.jit(SMALL.text_features)(jax.tree.map(np.float32, params()), TEXTS[0])
    assert feature.dtype == np.float32
    # Each entry is rounded twice, and so is the norm it was divided by, once for each of the five squares.
    np.testing.assert_allclose(np.linalg.norm(np.float64(feature)), 1, rtol=8 * UNIT)


@pytest.mark.parametrize(
    ("patch", "width", "text", "dim", "count"),
    [
        (32, 768, 512, 512, 151_277_313),  # ViT-B/32
        (16, 768, 512, 512, 149_620_737),  # ViT-B/16
        (14, 1024, 768, 768, 427_616_513),  # ViT-L/14
    ],
)
def test_the_published_networks_have_their_number_of_parameters(patch, width, text, dim, count):
    towers = Tower(width, 24 if width == 1024 else 12, width // 64, 4 * width), Tower(text, 12, text // 64, 4 * text)
    model = Clip(*towers, dim=dim, side=224, patch=patch, vocab=49408, context=77)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize("shape", [(7, 7), (7, 7, 4), (2, 7, 7, 3), (0, 7, 3)])
def test_images_of_other_shapes_are_refused(shape):
    message = rf"^CLIP sees images \(h, w, 1\) or \(h, w, 3\), not \({', '.join(map(str, shape))}\): reshape them\."
    with pytest.raises(InputError, match=message):
        jax.eval_shape(SMALL.image_features, params(), jnp.zeros(shape))
