"""One training step against the same step written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffaudit_jax.losses import hybrid_loss, simple_loss
from diffaudit_jax.process import ddpm_cosine
from diffaudit_jax.training.state import Data, Recipe, example_loss, init_state, make_step, optimizer
from diffaudit_jax.types import InputError, Network, Prediction, to_signed

SHAPE = (2, 3, 1)
PROCESS = ddpm_cosine(10)
EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(5)


def linear_network():
    """Eps' = gain x_t + offset t: a network whose gradient is written in one line."""

    def apply(params, xt, t, cond=None, *, key=None):
        assert key is not None, "training always drops out"
        eps = params["gain"] * xt + params["offset"] * t
        return Prediction(eps, xt, jnp.full(SHAPE, 0.5))

    return Network(lambda key: {"gain": jnp.full(SHAPE, 0.3), "offset": jnp.float32(-0.5)}, apply)


@functools.partial(jax.jit, static_argnums=(1, 2))
def draws(key, n, batch):
    """The step's own random choices: indices, times and noise."""
    key_batch, key_examples = jax.random.split(key)
    keys = jax.vmap(lambda key: jax.random.split(key, 5))(jax.random.split(key_examples, batch))
    times = jax.vmap(lambda key: jax.random.randint(key, (), 1, 11))(keys[:, 0])
    eps = jax.vmap(lambda key: jax.random.normal(key, SHAPE))(keys[:, 1])
    return jax.random.choice(key_batch, n, (batch,), replace=batch > n), times, eps


def slow_training(recipe, x, steps):
    """AdamW, clipping, warm-up and EMA from their definitions, in float64."""
    params = {"gain": np.full(SHAPE, 0.3), "offset": np.array(-0.5)}
    ema = {name: value.copy() for name, value in params.items()}
    first, second = ({name: np.zeros_like(value) for name, value in params.items()} for _ in range(2))
    key = jax.random.split(KEY)[1]
    for step in range(steps):
        index, times, noise = map(np.asarray, draws(jax.random.fold_in(key, step), len(x), recipe.batch_size))
        grads, loss = {name: np.zeros_like(value) for name, value in params.items()}, 0.0
        for i, t, eps in zip(index, times / 10, noise.astype(float), strict=True):
            xt = float(PROCESS.alpha(jnp.float32(t))) * x[i] + float(PROCESS.sigma(jnp.float32(t))) * eps
            residual = params["gain"] * xt + params["offset"] * t - eps
            loss += (residual**2).mean() / recipe.batch_size
            grads["gain"] += 2 * residual * xt / xt.size / recipe.batch_size
            grads["offset"] += 2 * (residual * t).mean() / recipe.batch_size
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        if recipe.clip_norm:
            grads = {name: grad * min(1, recipe.clip_norm / norm) for name, grad in grads.items()}
        rate = recipe.learning_rate * (min(1, step / recipe.warmup_steps) if recipe.warmup_steps else 1)
        decay = min(recipe.ema_decay, (1 + step) / (10 + step))
        for name, grad in grads.items():
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            m, v = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
            params[name] = params[name] - rate * (m / (np.sqrt(v) + 1e-8) + recipe.weight_decay * params[name])
            ema[name] = decay * ema[name] + (1 - decay) * params[name]
    return params, ema, loss, norm


RECIPES = {
    "bare, more than members": Recipe(batch_size=8, warmup_steps=0, clip_norm=0, ema_decay=0),
    "everything": Recipe(batch_size=3, warmup_steps=4, clip_norm=0.05, weight_decay=0.1, ema_decay=0.3),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_steps_are_those_written_out(recipe):
    x = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    network = linear_network()
    loss = example_loss(network, PROCESS, recipe)
    step, state = jax.jit(make_step(loss, recipe)), init_state(KEY, network, recipe)
    for _ in range(6):
        state, info = step(state, Data(jnp.asarray(x), None))
    params, ema, loss, norm = slow_training(recipe, x / 127.5 - 1, 6)
    assert int(state.step) == 6
    for name in params:
        # Adam divides by sqrt(v): a relative error of the gradient is one of the update of size learning_rate.
        np.testing.assert_allclose(state.params[name], params[name], atol=8 * EPS32)
        np.testing.assert_allclose(state.ema[name], ema[name], atol=8 * EPS32)
    np.testing.assert_allclose(info.loss, loss, rtol=32 * EPS32)
    np.testing.assert_allclose(info.grad_norm, norm, rtol=32 * EPS32)


def test_the_first_steps_already_move_without_warm_up():
    grads = {"w": jnp.ones(2)}
    for warmup, rate in ((0, 1e-3), (1, 0.0), (10, 0.0)):
        tx = optimizer(Recipe(warmup_steps=warmup))
        updates, _ = tx.update(grads, tx.init(grads), grads)
        np.testing.assert_allclose(optax.tree.norm(updates), rate * np.sqrt(2), rtol=1e-5)


def test_state_starts_with_the_average_at_the_parameters_in_buffers_of_its_own():
    state = init_state(KEY, linear_network(), Recipe())
    jax.tree.map(np.testing.assert_array_equal, state.ema, state.params)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state.params, state.ema))]
    assert len(set(pointers)) == len(pointers)
    assert int(state.step) == 0


def test_a_batch_holds_no_image_twice_while_there_are_enough():
    seen = []

    def loss(params, key, x, label):
        jax.debug.callback(lambda value: seen.append(int(value)), x[0, 0, 0])
        return (params["offset"] * x.mean()).astype(jnp.float32)

    x = jnp.broadcast_to(jnp.arange(6.0)[:, None, None, None], (6, *SHAPE))
    recipe = Recipe(batch_size=4)
    step, state = jax.jit(make_step(loss, recipe)), init_state(KEY, linear_network(), recipe)
    batches = []
    for _ in range(6):
        seen.clear()
        state, _ = step(state, Data(x, None))
        jax.effects_barrier()
        assert len(set(seen)) == len(seen) == 4
        batches.append(tuple(seen))
    assert len(set(batches)) > 1
    assert {i for batch in batches for i in batch} == set(range(6))


def losses_of(apply, recipe, x, n=400, label=None, null_label=None):
    """The training loss of one image under n keys."""
    loss = example_loss(Network(lambda key: {}, apply), PROCESS, recipe, null_label=null_label)
    one = lambda key: loss({}, key, x, label)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, n)))


def reveal_left_half(params, xt, t, cond=None, *, key=None):
    """A loss of 1e6 if the left column is brighter than the right one, else near 1."""
    return Prediction(jnp.where(xt[:, 0].sum() > xt[:, -1].sum(), 1e3, 0.0) * jnp.ones(SHAPE), xt)


@pytest.mark.parametrize("flip", [False, True])
def test_images_are_mirrored_only_on_request(flip):
    x = jnp.zeros(SHAPE, jnp.uint8).at[:, 0].set(255)
    # A schedule with hardly any noise: what the network sees is the image.
    quiet = ddpm_cosine(2, beta_max=1e-6)
    network = Network(lambda key: {}, reveal_left_half)
    loss = example_loss(network, quiet, Recipe(flip=flip))
    values = np.asarray(jax.jit(jax.vmap(lambda key: loss({}, key, x, None)))(jax.random.split(KEY, 400)))
    mirrored = (values < 1e5).mean()
    assert Recipe().flip is False
    assert mirrored == 0 if not flip else abs(mirrored - 0.5) < 4 * np.sqrt(0.25 / 400)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_label_dropout_shows_the_null_class(dropout):
    def apply(params, xt, t, cond=None, *, key=None):
        assert cond is not None
        return Prediction(jnp.full(SHAPE, 1e3 * cond), xt)

    values = losses_of(apply, Recipe(label_dropout=dropout), jnp.zeros(SHAPE, jnp.uint8), 400, jnp.int32(1), 3)
    shown = np.round(np.sqrt(values) / 1e3)
    assert set(shown) <= {1, 3}
    assert abs((shown == 3).mean() - dropout) <= 4 * np.sqrt(dropout * (1 - dropout) / 400)


def test_times_are_uniform_over_the_steps():
    def apply(params, xt, t, cond=None, *, key=None):
        return Prediction(jnp.full(SHAPE, 1e4 * t), xt)

    times = np.round(np.sqrt(losses_of(apply, Recipe(), jnp.zeros(SHAPE, jnp.uint8), 2000)) / 1e3).astype(int)
    counts = np.bincount(times, minlength=11)
    assert counts[0] == 0
    assert len(counts) == 11
    assert (np.abs(counts[1:] / 2000 - 0.1) < 4 * np.sqrt(0.09 / 2000)).all()


@pytest.mark.parametrize("learn_sigma", [False, True])
def test_the_loss_is_simple_or_hybrid_as_the_network_asks(learn_sigma):
    network, recipe = linear_network(), Recipe(vlb_weight=0.7)
    params, x = network.init(KEY), np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    got = example_loss(network, PROCESS, recipe, learn_sigma=learn_sigma)(params, KEY, jnp.asarray(x), None)
    key_time, key_noise, *_ = jax.random.split(KEY, 5)
    t, eps = jax.random.randint(key_time, (), 1, 11) / 10, jax.random.normal(key_noise, SHAPE)
    x0 = to_signed(jnp.asarray(x))
    pred = network.apply(params, PROCESS.corrupt(x0, t, eps), t, key=KEY)
    want = hybrid_loss(PROCESS, pred, x0, t, eps, weight=0.7) if learn_sigma else simple_loss(pred, eps)
    np.testing.assert_allclose(got, want, rtol=4 * EPS32)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("num_steps", -1, "num_steps must be .* got -1"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("learning_rate", -1e-3, "learning_rate must be 0 or more and finite, got -0.001"),
        ("learning_rate", float("nan"), "learning_rate must be 0 or more and finite, got nan"),
        ("learning_rate", float("inf"), "learning_rate must be 0 or more and finite, got inf"),
        ("warmup_steps", -1, "warmup_steps must be 0 or more"),
        ("weight_decay", -1, "weight_decay must be 0 or more"),
        ("clip_norm", -1, "clip_norm must be 0 or more"),
        ("vlb_weight", -1, "vlb_weight must be 0 or more"),
        ("ema_decay", 1.0, r"ema_decay must be in \[0, 1\), got 1.0"),
        ("label_dropout", -0.1, r"label_dropout must be in \[0, 1\), got -0.1"),
    ],
)
def test_bad_recipes_are_refused(field, value, says):
    with pytest.raises(InputError, match=says):
        Recipe(**{field: value})
