"""The RefineNet of NCSN and NCSNv2 against the same network written in NumPy, pixel by pixel where it matters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models import count_params
from diffaudit_jax.models.instance import InstanceNormPlus
from diffaudit_jax.models.layers import depth_to_space, space_to_depth
from diffaudit_jax.models.ncsn import NCSN, RefineBlock, ResidualBlock, bilinear, max_pool
from diffaudit_jax.types import InputError

SHAPE = (8, 12, 2)
CHANNELS, LEVELS = 3, 5
EPS32 = float(np.finfo(np.float32).eps)
# Programs here take long to optimise, and milliseconds to run without.
QUICK = {"xla_backend_optimization_level": 0}
X = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
each = pytest.mark.parametrize("num_levels", [None, LEVELS])


@functools.cache
def params(num_levels, patch):
    """Random parameters: initial biases are zero, and would hide where they go."""
    module = NCSN(CHANNELS, num_levels, patch)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(SHAPE), jnp.zeros(()))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


@functools.cache
def program(num_levels, patch, dtype):
    module = NCSN(CHANNELS, num_levels, patch, dtype)
    apply = jax.vmap(lambda p, x, t: module.apply({"params": p}, x, t), (None, 0, None))
    return jax.jit(apply, compiler_options=QUICK)


def run(num_levels, x=X, time=2.0, patch=1, dtype=None):
    return np.asarray(program(num_levels, patch, dtype)(params(num_levels, patch), x, jnp.float32(time)))


def traced(module, p):
    """Shapes and types of a module's output and of every layer's, without computing them."""
    call = functools.partial(module.apply, capture_intermediates=True, mutable=["intermediates"])
    out, seen = jax.eval_shape(lambda p: call({"params": p}, X[0], 2.0), p)
    return out, seen["intermediates"]


def norm(x, p, level):
    gamma, alpha, beta = (np.float64(p[name]) for name in ("gamma", "alpha", "beta"))
    if level is not None:
        gamma, alpha, beta = gamma[level], alpha[level], beta[level]
    means = [x[..., k].mean() for k in range(x.shape[-1])]
    middle, spread = np.mean(means), np.sqrt(np.sum((means - np.mean(means)) ** 2) / (len(means) - 1) + 1e-5)
    y = np.empty(x.shape)
    for k, mean in enumerate(means):
        own = (x[..., k] - mean) / np.sqrt(np.mean((x[..., k] - mean) ** 2) + 1e-5)
        y[..., k] = gamma[k] * (own + alpha[k] * (mean - middle) / spread) + beta[k]
    return y


def conv(x, p, dilation=1):
    kernel, (h, w, _) = np.float64(p["kernel"]), x.shape
    wide = np.pad(x, ((dilation, dilation), (dilation, dilation), (0, 0)))
    taps = [wide[i * dilation :, j * dilation :][:h, :w] @ kernel[i, j] for i in range(3) for j in range(3)]
    return sum(taps) + np.float64(p.get("bias", 0.0))


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def halved(x):
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def pooled(x, reduce, outside):
    """Reduces the 5x5 pixels around each, those outside the image taken for `outside`."""
    wide, y = np.pad(x, ((2, 2), (2, 2), (0, 0)), constant_values=outside), np.empty(x.shape)
    for i, j in np.ndindex(x.shape[:2]):
        y[i, j] = reduce(wide[i : i + 5, j : j + 5].reshape(25, -1), axis=0)
    return y


def resized(x, shape):
    """Linear interpolation with the corners of both grids on one another."""
    y = np.empty((*shape, x.shape[-1]))
    for i, j in np.ndindex(*shape):
        at = [k * (old - 1) / (new - 1) for k, old, new in zip((i, j), x.shape[:2], shape, strict=True)]
        low = [min(int(a), old - 2) for a, old in zip(at, x.shape[:2], strict=True)]
        u, v = (a - b for a, b in zip(at, low, strict=True))
        a, b = low
        y[i, j] = (1 - u) * ((1 - v) * x[a, b] + v * x[a, b + 1]) + u * ((1 - v) * x[a + 1, b] + v * x[a + 1, b + 1])
    return y


def block(x, p, level, dilation, opens):
    y = conv(elu(norm(x, p["norm1"], level)), p["conv1"], dilation)
    y = conv(elu(norm(y, p["norm2"], level)), p["conv2"], dilation)
    if not opens:
        return x + y
    if dilation > 1:
        return conv(x, p["shortcut"], dilation) + y
    return halved(x @ np.float64(p["shortcut"]["kernel"]) + np.float64(p["shortcut"]["bias"])) + halved(y)


def refine(inputs, p, level, num_out):
    """Of NCSN (a norm before each convolution, means) if there is a level, else of NCSNv2 (no norms, maxima)."""
    maybe = lambda x, name: x if level is None else norm(x, p[name], level)  # noqa: E731

    def residual(x, name, units):
        for i in range(units):
            y = conv(elu(maybe(x, f"{name}_norm{i}_0")), p[f"{name}_conv{i}_0"])
            x = x + conv(elu(maybe(y, f"{name}_norm{i}_1")), p[f"{name}_conv{i}_1"])
        return x

    inputs = [residual(x, f"adapt{i}", 2) for i, x in enumerate(inputs)]
    h = inputs[0]
    if len(inputs) > 1:
        joined = [conv(maybe(x, f"fuse_norm{i}"), p[f"fuse_conv{i}"]) for i, x in enumerate(inputs)]
        h = joined[0] + resized(joined[1], joined[0].shape[:2])
    h = path = elu(h)
    for i in range(2):
        path = maybe(path, f"pool_norm{i}")
        path = pooled(path, np.max, -np.inf) if level is None else pooled(path, np.mean, 0.0)
        path = conv(path, p[f"pool_conv{i}"])
        h = h + path
    return residual(h, "out", num_out)


def written_out(x, p, level):
    h, stages = conv(np.float64(x), p["begin"]), []
    for i, dilation in enumerate((1, 1, 2, 4)):
        for j in range(2):
            h = block(h, p[f"stage{i}_{j}"], level, dilation, i > 0 and j == 0)
        stages.append(h)
    h = refine(stages[3:], p["refine3"], level, 1)
    for i, num_out in ((2, 1), (1, 1), (0, 3)):
        h = refine([stages[i], h], p[f"refine{i}"], level, num_out)
    return conv(elu(norm(h, p["norm"], level)), p["end"])


@pytest.mark.parametrize(("num_levels", "patch"), [(None, 1), (LEVELS, 1), (None, 2)])
def test_the_network_is_the_one_written_out(num_levels, patch):
    level = None if num_levels is None else 2
    deep = [space_to_depth(x, patch) for x in X]
    want = [depth_to_space(written_out(x, params(num_levels, patch), level), patch) for x in deep]
    # Some 40 layers one after the other, each of sums of up to 9 x 6 products; norms keep numbers of one size.
    np.testing.assert_allclose(run(num_levels, patch=patch), want, atol=40 * 54 * EPS32 * np.abs(want).max())


@each
def test_sizes_are_those_of_the_released_networks(num_levels):
    module = NCSN(num_levels=num_levels and 10)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((32, 32, 3)), jnp.zeros(()))["params"]
    assert count_params(shapes) == (30_117_635 if num_levels else 29_694_083)


@each
def test_only_the_first_network_depends_on_the_level(num_levels):
    outs = [run(num_levels, time=float(i)) for i in range(LEVELS)]
    for i in range(1, LEVELS):
        differ = np.abs(outs[i] - outs[0]).max() > 1e-3 * np.abs(outs[0]).max()
        assert differ == (num_levels is not None)


@each
def test_an_index_is_rounded_to_its_level(num_levels):
    np.testing.assert_array_equal(run(num_levels, time=1.9999), run(num_levels, time=2.0))


@each
def test_an_answer_does_not_depend_on_the_images_beside_it(num_levels):
    np.testing.assert_array_equal(run(num_levels, X[[0, 2, 2]])[0], run(num_levels)[0])


@each
def test_one_stage_halves_the_image_and_dilation_keeps_it(num_levels):
    module = NCSN(CHANNELS, num_levels)
    _, seen = traced(module, params(num_levels, 1))
    shapes = [seen[f"stage{i}_1"]["__call__"][0].shape for i in range(4)]
    assert shapes == [(8, 12, CHANNELS), *[(4, 6, 2 * CHANNELS)] * 3]


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (ResidualBlock(4, 1, True, LEVELS), X[0]),
        (ResidualBlock(2, 2, True, LEVELS), X[0]),
        (RefineBlock(2, 1), [X[0], X[1, :4, :6]]),
    ],
    ids=["halves", "dilates", "joins"],
)
def test_gradients_are_finite_and_those_of_the_level_asked_for(module, inputs):
    inputs = jax.tree.map(jnp.asarray, inputs)
    p = jax.jit(module.init, compiler_options=QUICK)(jax.random.key(0), inputs, 2)["params"]
    loss = lambda p: jnp.sum(module.apply({"params": p}, inputs, 2) ** 2)  # noqa: E731
    for path, grad in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss), compiler_options=QUICK)(p)):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path
        if path[-1].key in ("gamma", "alpha", "beta"):
            assert not np.delete(grad, 2, axis=0).any(), path


@each
def test_bfloat16_computes_so_and_answers_in_float32(num_levels):
    module = NCSN(CHANNELS, num_levels, dtype=jnp.bfloat16)
    out, seen = traced(module, params(num_levels, 1))
    assert out.dtype == jnp.float32
    del seen["__call__"]
    assert {leaf.dtype for leaf in jax.tree.leaves(seen)} == {jnp.dtype("bfloat16")}


@each
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_instance_norm_is_its_definition(num_levels, offset):
    rng = np.random.default_rng(2)
    x = (offset + rng.normal(size=(4, 6, 5)) * np.linspace(0.5, 2, 5)).astype(np.float32)
    rows = () if num_levels is None else (num_levels,)
    p = {name: jnp.asarray(rng.normal(size=(*rows, 5)), jnp.float32) for name in ("gamma", "alpha", "beta")}
    level = None if num_levels is None else 3
    got = jax.jit(lambda p, x: InstanceNormPlus(num_levels).apply({"params": p}, x, level))(p, x)
    want = norm(x.astype(np.float64), p, level)
    # E[x^2] - E[x]^2 in float32 loses the digits that the mean square has beyond the variance, 0.25 at least.
    np.testing.assert_allclose(got, want, atol=16 * EPS32 * (1 + offset**2) / 0.25 * np.abs(want).max())


def test_initial_scales_are_near_one():
    init = jax.jit(InstanceNormPlus(50).init, compiler_options=QUICK)
    p = init(jax.random.key(0), jnp.zeros((4, 4, 40)), 0)["params"]
    for name in ("gamma", "alpha"):
        assert abs(p[name].mean() - 1) < 4 * 0.02 / np.sqrt(2000)
        assert abs(p[name].std() - 0.02) < 4 * 0.02 / np.sqrt(2 * 2000)
    np.testing.assert_array_equal(p["beta"], 0)


@pytest.mark.parametrize("shape", [(8, 12), (7, 5), (4, 6)])
def test_resizing_is_linear_between_pixels(shape):
    x = np.random.default_rng(3).normal(size=(4, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(bilinear(jnp.asarray(x), shape), resized(x, shape), atol=16 * EPS32 * np.abs(x).max())


@pytest.mark.parametrize("shape", [(8, 5, 2), (3, 3, 1)])
def test_pooling_takes_the_maximum_around_each_pixel(shape):
    x = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), pooled(x, np.max, -np.inf).astype(np.float32))


def test_the_gradient_of_pooling_goes_to_the_maxima():
    x = np.random.default_rng(4).normal(size=(8, 5, 2)).astype(np.float32)
    largest, want = pooled(x, np.max, -np.inf), np.zeros(x.shape)
    for i, j, k in np.ndindex(x.shape):
        want[..., k] += x[..., k] == np.float32(largest[i, j, k])
    np.testing.assert_array_equal(jax.grad(lambda x: max_pool(x).sum())(x), want)


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((8, 7, 1), {}, "sides that 2 divides, got 8x7"),
        ((28, 28, 1), {"patch": 4}, "sides that 8 divides, got 28x28"),
        ((8, 8, 1), {"channels": 1}, "channels=1"),
    ],
)
def test_bad_input_is_refused(shape, options, says):
    with pytest.raises(InputError, match=says):
        NCSN(**options).init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(()))
