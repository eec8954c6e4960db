"""Private steps against the same steps written out, the law of their noise, and what a resumed run repeats."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import chi2, kstest

from diffaudit_jax.stream import local_mesh
from diffaudit_jax.training.batches import Poisson, step_keys
from diffaudit_jax.training.checkpoints import Checkpoints
from diffaudit_jax.training.dpsgd import Privacy, make_private_step
from diffaudit_jax.training.state import Data, Recipe, example_loss, init_state, make_step
from diffaudit_jax.types import InputError, Network
from tests.oracles import EPS32, PROCESSES, conv, images

KEY = jax.random.key(2)
N = 12
RECIPE = Recipe(batch_size=5, learning_rate=1e-2, warmup_steps=0, weight_decay=0.1, ema_decay=0.5)
LAYOUTS = [(1, True, 4), (8, False, 8), (8, True, 3)]  # devices, looped, microbatch


def members(n=N):
    rng = np.random.default_rng(0)
    return Data(jnp.asarray(rng.normal(size=(n, 3)), jnp.float32), jnp.asarray(rng.integers(1, 4, n)))


def linear():
    """A network of two tensors, new buffers at each call."""
    return Network(lambda key: {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.float32(0.3)}, lambda *_: None)  # pyright: ignore


def squares(params, key, x, label):
    """|| w x + b label - eps ||^2/3: a loss whose gradient is written in one line."""
    return ((params["w"] * x + params["b"] * label - jax.random.normal(key, x.shape)) ** 2).mean()


def flat(params, key, x, label):
    """A loss without gradient: what moves the weights is noise."""
    return 0.0 * sum(leaf.sum() for leaf in jax.tree.leaves(params))


@functools.cache
def compiled_step(privacy, loss=squares, recipe=RECIPE, devices=1, looped=False):
    """One step for all tests that ask for it, so that its programs are compiled once."""
    return make_private_step(loss, recipe, privacy, mesh=local_mesh(devices), looped=looped)


def train(privacy, steps=1, loss=squares, *, network=None, data=None, recipe=RECIPE, devices=1, looped=False):
    """The state after the first steps, and what they showed."""
    step = compiled_step(privacy, loss, recipe, devices, looped)
    state, infos = init_state(KEY, network or linear(), recipe), []
    for _ in range(steps):
        state, info = step(state, members() if data is None else data)
        infos.append(info)
    return state, infos


def moment(state):
    """AdamW's first moment; after one step a tenth of the gradient that it saw."""
    return jax.tree.map(np.asarray, optax.tree.get(state.opt_state, "mu"))


def drawn(step, n=N, recipe=RECIPE):
    """The examples in the batch of a step of `train`, and the key of their draws."""
    key_batch, key_examples, _ = step_keys(init_state(KEY, linear(), recipe).key, jnp.int32(step))
    batch = Poisson(n, recipe.batch_size).draw(key_batch)
    return np.asarray(batch.index[batch.mask]), key_examples


def slow_gradients(params, num_noises):
    """Gradients [examples, 3 + 1] and losses of the first batch, in float64: the mean over each example's draws."""
    rows, key = drawn(0)
    data, gradients, losses = members(), [], []
    for row in rows:
        own = jax.random.fold_in(key, row)
        keys = [own] if num_noises == 1 else jax.random.split(own, num_noises)
        x, label = np.float64(data.x[row]), float(data.labels[row])
        draws = np.stack([np.float64(jax.random.normal(k, (3,))) for k in keys])
        residual = params["w"] * x + params["b"] * label - draws
        losses.append((residual**2).mean())
        gradients.append(np.append((2 * residual * x / 3).mean(0), (2 * residual * label / 3).sum(1).mean()))
    return np.stack(gradients), np.array(losses)


@pytest.mark.parametrize(("num_noises", "clip", "per_layer"), [(1, 1.5, False), (3, 1.5, True), (3, np.inf, False)])
def test_the_gradient_is_that_written_out(num_noises, clip, per_layer):
    state, (info,) = train(Privacy(0, clip, num_noises=num_noises, per_layer=per_layer, microbatch=2))
    gradients, losses = slow_gradients(jax.tree.map(np.float64, linear().init(KEY)), num_noises)
    norms = np.linalg.norm(gradients, axis=1)
    parts = [slice(0, 3), slice(3, 4)] if per_layer else [slice(0, 4)]
    scaled = gradients.copy()
    for part in parts:
        norm = np.linalg.norm(gradients[:, part], axis=1, keepdims=True)
        scaled[:, part] *= np.minimum(1, clip / np.sqrt(len(parts)) / norm)
    want, got = scaled.sum(0) / RECIPE.batch_size, moment(state)
    # Ten operations on numbers of size 10 for each of five examples.
    np.testing.assert_allclose(np.append(got["w"], got["b"]) / 0.1, want, rtol=0, atol=64 * 10 * EPS32)
    np.testing.assert_allclose([info.loss, info.grad_norm], [losses.mean(), norms.mean()], rtol=64 * EPS32)
    changed = (np.abs(scaled - gradients) > 0).any(1)
    np.testing.assert_allclose(info.clipped, changed.mean(), rtol=EPS32)
    assert (int(info.batch_size), int(info.overflow)) == (len(norms), 0)
    assert changed.any() == (clip < np.inf)
    assert not changed.all() or per_layer


def test_without_clipping_and_noise_whole_batches_train_as_plain_steps_do():
    still = lambda params, key, x, label: squares(params, jax.random.key(0), x, label)  # noqa: E731
    recipe = Recipe(N, N, learning_rate=1e-2, warmup_steps=2, weight_decay=0.1, ema_decay=0.5, clip_norm=0)
    plain, state = jax.jit(make_step(still, recipe)), init_state(KEY, linear(), recipe)
    for _ in range(4):
        state, _ = plain(state, members())
    ours, _ = train(Privacy(0, np.inf), 4, still, recipe=recipe)
    assert jax.tree.structure(ours) == jax.tree.structure(state)
    assert int(ours.step) == 4
    np.testing.assert_array_equal(jax.random.key_data(ours.key), jax.random.key_data(state.key))
    for got, want in zip(jax.tree.leaves(ours[:3]), jax.tree.leaves(state[:3]), strict=True):
        # Sums of 12 rows of numbers of size 10, in another order.
        np.testing.assert_allclose(got, want, rtol=0, atol=12 * 10 * EPS32)


def test_the_recipes_own_clipping_is_left_out():
    moved = [moment(train(Privacy(1.0), recipe=replace(RECIPE, clip_norm=clip))[0]) for clip in (0.0, 1e-6)]
    jax.tree.map(np.testing.assert_array_equal, *moved)


WIDE = Network(lambda key: {"w": jnp.zeros((100, 200)), "b": jnp.zeros(5000)}, lambda *_: None)  # pyright: ignore
NOISY = Privacy(1.3, 0.7)


def test_noise_is_normal_of_clip_times_multiplier_over_batch_and_new_for_each_tensor_and_step():
    first, second = (moment(train(NOISY, steps, flat, network=WIDE)[0]) for steps in (1, 2))
    parts = [leaf.ravel() / 0.1 for leaf in first.values()]
    parts += [(second[name] - 0.9 * first[name]).ravel() / 0.1 for name in first]
    std = 0.7 * 1.3 / RECIPE.batch_size
    for i, leaf in enumerate(parts):
        assert chi2.isf(1 - 1e-4, leaf.size) < ((leaf / std) ** 2).sum() < chi2.isf(1e-4, leaf.size)
        assert kstest(leaf / std, "norm").pvalue > 1e-4
        for other in parts[:i]:
            size = min(len(leaf), len(other))
            assert abs(leaf[:size] @ other[:size]) < 4 * std**2 * np.sqrt(size)


@pytest.mark.parametrize(("devices", "looped", "microbatch"), LAYOUTS[1:])
def test_noise_is_added_once_and_is_the_same_on_any_devices(devices, looped, microbatch):
    layout = {"devices": devices, "looped": looped}
    got = train(replace(NOISY, microbatch=microbatch), 1, flat, network=WIDE, **layout)[0]
    want = train(NOISY, 1, flat, network=WIDE)[0]
    jax.tree.map(np.testing.assert_array_equal, moment(got), moment(want))


@pytest.mark.parametrize(("devices", "looped", "microbatch"), LAYOUTS)
def test_a_denoiser_that_does_nothing_changes_nothing(devices, looped, microbatch):
    privacy = replace(NOISY, microbatch=microbatch)
    same = lambda params, grads, stddev: grads  # noqa: E731
    step = make_private_step(squares, RECIPE, privacy, mesh=local_mesh(devices), looped=looped, denoise=same)
    state, info = init_state(KEY, linear(), RECIPE), None
    for _ in range(3):
        state, info = step(state, members())
    want, infos = train(privacy, 3, devices=devices, looped=looped)
    for got, wanted in zip(jax.tree.leaves((state[:4], info)), jax.tree.leaves((want[:4], infos[-1])), strict=True):
        # To the bit within one program; cut in two, it rounds each of the ten operations of a step where one may fuse.
        np.testing.assert_allclose(got, wanted, rtol=0 if looped else 3 * 10 * EPS32)


def test_a_denoiser_sees_weights_and_noise_of_the_deviation_it_is_told_and_the_optimiser_what_it_makes():
    seen = []

    def denoise(params, grads, stddev):
        seen.append(jax.tree.map(np.asarray, (params, grads, stddev)))
        return jax.tree.map(lambda leaf: leaf * 0 + 3, grads)

    step = make_private_step(flat, RECIPE, NOISY, mesh=local_mesh(1), looped=False, denoise=denoise)
    state, _ = step(init_state(KEY, WIDE, RECIPE), members())
    ((params, grads, stddev),) = seen
    jax.tree.map(np.testing.assert_array_equal, params, WIDE.init(KEY))
    assert stddev == np.float32(0.7 * 1.3 / RECIPE.batch_size)
    values = np.concatenate([leaf.ravel() for leaf in grads.values()]) / stddev
    assert chi2.isf(1 - 1e-4, values.size) < (values**2).sum() < chi2.isf(1e-4, values.size)
    for leaf in jax.tree.leaves(moment(state)):
        np.testing.assert_allclose(leaf, 0.3, rtol=EPS32)


PROCESS = PROCESSES["cosine-20"]
TARGET = conv(PROCESS)
NETWORK = Network(lambda key: jax.tree.map(jnp.copy, TARGET.params), TARGET.network.apply)
convolved = example_loss(NETWORK, PROCESS, RECIPE)


@pytest.mark.parametrize(("devices", "looped", "microbatch"), LAYOUTS)
def test_a_network_of_convolutions_and_group_norm_trains_alike_on_any_devices(devices, looped, microbatch):
    privacy, data = Privacy(0.2, 6.0, num_noises=2, microbatch=N), Data(jnp.asarray(images(N)), None)
    seen = functools.partial(train, steps=1, loss=convolved, network=NETWORK, data=data)
    got, (info,) = seen(replace(privacy, microbatch=microbatch), devices=devices, looped=looped)
    want, (alike,) = seen(privacy)
    for leaf, wanted in zip(jax.tree.leaves(moment(got)), jax.tree.leaves(moment(want)), strict=True):
        # Sums over at most 4 x 4 positions x 8 channels x 9 taps, in another order.
        np.testing.assert_allclose(leaf, wanted, rtol=0, atol=np.sqrt(1152) * EPS32 * np.abs(wanted).max())
    np.testing.assert_allclose(info, alike, rtol=np.sqrt(1152) * EPS32)
    assert 0 < float(info.clipped) < 1


@pytest.mark.parametrize("per_layer", [False, True])
def test_one_example_moves_a_step_by_no_more_than_the_clip_and_one_left_out_by_nothing(per_layer):
    privacy, data = Privacy(2.0, 0.5, num_noises=2, per_layer=per_layer, microbatch=2), members()
    whole, inside = moment(train(privacy)[0]), drawn(0)[0]
    assert 0 < len(inside) < N
    for row in range(N):
        # Without a finite gradient, an example counts for nothing.
        without = moment(train(privacy, data=data._replace(x=data.x.at[row].set(np.nan)))[0])
        moved = np.linalg.norm([np.linalg.norm(whole[name] - without[name]) for name in whole]) / 0.1
        if row in inside:
            # A norm of four numbers; the moments are of the size of the noise, and their difference is rounded.
            assert 0 < moved <= 0.5 / RECIPE.batch_size + 16 * EPS32
        else:
            assert moved == 0


def test_an_empty_batch_moves_the_weights_by_noise_alone():
    recipe = replace(RECIPE, batch_size=1)
    steps = [step for step in range(12) if not len(drawn(step, recipe=recipe)[0])]
    state = init_state(KEY, linear(), recipe)._replace(step=jnp.int32(steps[0]))
    step, silent = (compiled_step(Privacy(1.0), loss, recipe) for loss in (squares, flat))
    (got, info), (want, _) = step(jax.tree.map(jnp.copy, state), members()), silent(state, members())
    jax.tree.map(np.testing.assert_array_equal, moment(got), moment(want))
    assert [float(value) for value in info] == [0, 0, 0, 0, 0]


def test_truncation_is_counted():
    truncated = Privacy(0, truncated_batch_size=5)
    infos = train(truncated, 8)[1]
    sizes = np.array([len(drawn(step)[0]) for step in range(8)])
    assert [int(info.batch_size) for info in infos] == np.minimum(sizes, 5).tolist()
    assert [int(info.overflow) for info in infos] == np.maximum(sizes - 5, 0).tolist()
    assert max(sizes) > 5


def test_steps_lost_and_repeated_have_the_batch_and_the_noise_they_had(tmp_path):
    step = compiled_step(Privacy(1.0, microbatch=2))
    state = init_state(KEY, linear(), RECIPE)
    checkpoints = Checkpoints(tmp_path)
    lost = []
    for i in range(5):
        if i == 2:
            checkpoints.save(state)
        state, info = step(state, members())
        lost.append(jax.tree.map(np.asarray, (moment(state), state.params, state.ema, info)))
    again = checkpoints.restore(jax.eval_shape(lambda: init_state(KEY, linear(), RECIPE)))
    checkpoints.close()
    for i in range(2, 5):
        again, info = step(again, members())
        jax.tree.map(np.testing.assert_array_equal, lost[i], (moment(again), again.params, again.ema, info))


def test_batch_and_noise_depend_on_key_and_step_alone():
    """So that no noise is ever added to two batches of one run, whatever became of its weights."""
    seen = lambda params, key, x, label: flat(params, key, x, label) + x[0]  # noqa: E731

    def after(key, step, shift):
        state = init_state(KEY, WIDE, RECIPE)
        params = jax.tree.map(lambda leaf: leaf + shift, state.params)
        opt_state = optax.tree.set(state.opt_state, mu=jax.tree.map(jnp.zeros_like, params))
        state = state._replace(params=params, opt_state=opt_state, step=jnp.int32(step), key=jax.random.key(key))
        state, info = compiled_step(Privacy(1.0), seen)(state, members())
        return moment(state)["b"], float(info.loss)

    table = {(key, step): after(key, step, 0.0) for key, step in ((1, 0), (1, 1), (2, 0))}
    for address, (noise, batch) in table.items():
        other_noise, other_batch = after(*address, 3.0)
        np.testing.assert_array_equal(noise, other_noise)
        assert batch == other_batch
    assert len({noise.tobytes() for noise, _ in table.values()}) == len({batch for _, batch in table.values()}) == 3


def test_memory_grows_with_the_microbatch_and_not_with_the_batch():
    broad = Network(lambda key: {"w": jnp.ones(1000), "b": jnp.float32(0)}, lambda *_: None)  # pyright: ignore
    data = Data(jnp.ones((64, 1000)), jnp.ones(64, jnp.int32))

    def scratch(batch_size, microbatch):
        recipe = replace(RECIPE, batch_size=batch_size)
        step = compiled_step(Privacy(1.0, microbatch=microbatch), squares, recipe, looped=True)
        program = jax.jit(step).lower(jax.eval_shape(lambda: init_state(KEY, broad, recipe)), data).compile()
        return program.memory_analysis().temp_size_in_bytes  # pyright: ignore

    assert scratch(8, 8) == scratch(64, 8) < scratch(8, 32)


def test_one_program_serves_batches_of_any_size():
    traces = []

    def loss(params, key, x, label):
        traces.append(x.shape)
        return squares(params, key, x, label)

    infos = train(Privacy(1.0, microbatch=2), 8, loss)[1]
    assert len({int(info.batch_size) for info in infos}) > 2
    assert traces == [(3,)]


@pytest.mark.parametrize("devices", [1, 8])
def test_a_looped_step_may_be_traced(devices):
    privacy = Privacy(1.0, microbatch=2)
    step = compiled_step(privacy, devices=devices, looped=True)
    three = jax.jit(lambda state, data: jax.lax.scan(lambda carry, _: step(carry, data), state, length=3))
    got, infos = three(init_state(KEY, linear(), RECIPE), members())
    want, one_by_one = train(privacy, 3)
    np.testing.assert_array_equal(infos.batch_size, [info.batch_size for info in one_by_one])
    for leaf, wanted in zip(jax.tree.leaves(moment(got)), jax.tree.leaves(moment(want)), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=0, atol=64 * 10 * EPS32)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"noise_multiplier": -1}, "noise_multiplier must be 0 or more and finite, got -1"),
        ({"noise_multiplier": float("nan")}, "noise_multiplier must be 0 or more and finite, got nan"),
        ({"noise_multiplier": float("inf")}, "noise_multiplier must be 0 or more and finite, got inf"),
        ({"noise_multiplier": 0, "l2_clip_norm": 0}, "l2_clip_norm must be positive, .* got 0"),
        ({"noise_multiplier": 0, "l2_clip_norm": float("nan")}, "l2_clip_norm must be positive, .* got nan"),
        (
            {"noise_multiplier": 1, "l2_clip_norm": 1e-24},
            "must be positive, and 1e-12 or more, got 1e-24",
        ),  # its square is 0 in float32
        ({"noise_multiplier": 1, "l2_clip_norm": 1e39}, "must be at most 1e.12 where there is noise, got 1e.39"),
        ({"noise_multiplier": 1, "l2_clip_norm": float("inf")}, "must be at most 1e.12 where there is noise, got inf"),
        ({"noise_multiplier": 1, "num_noises": 0}, "num_noises must be at least 1, got 0"),
        ({"noise_multiplier": 1, "microbatch": 0}, "microbatch must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        Privacy(**arguments)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match="an expected batch of 5 cannot be sampled from 4 examples"):
        train(Privacy(1.0), data=members(4))
