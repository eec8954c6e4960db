"""Python functions as targets: audited as the same model in JAX is, asked in whole blocks, and never trusted."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import black_box, gray_box, white_box
from diffaudit_jax.attacks import loss_trajectory, x0_trajectory
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.importers.callables import from_callable, from_sampler
from diffaudit_jax.stream import Stream, stream
from diffaudit_jax.types import InputError
from tests.oracles import ATTACKS, EPS32, PROCESSES, SHAPE, conv, pool

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(5)
MODEL = conv(PROCESS)
TIMES = (0.1, 0.5)
ATTACK = x0_trajectory(TIMES, num_noises=2)


@jax.jit
def answer(xt, t):
    """The compiled answers of a batch: the user's function may be a JAX program itself."""
    assert MODEL.network is not None
    return jax.vmap(MODEL.network.apply, (None, 0, 0))(MODEL.params, xt, t).x0


def denoise(xt, t, cond):
    return answer(xt, t)


class Recorder:
    """The model, keeping what it was asked; `wrong` answers in its place at the call of that number."""

    def __init__(self, at=None, wrong=None):
        self.calls, self.at, self.wrong = [], at, wrong

    def __call__(self, xt, t, cond):
        self.calls.append((xt, t, cond))
        return self.wrong(xt, t) if len(self.calls) - 1 == self.at else np.asarray(answer(xt, t))


def target(function=denoise, **options):
    return from_callable(function, PROCESS, SHAPE, **{"name": "a service", **options})


def close(got, want):
    """Predictions sum 9 taps x 8 channels in another order; a loss near 0 is a mean of squares of size 1."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=72 * EPS32, atol=72 * EPS32), got, want)


@pytest.mark.parametrize("name", [name for name, make in ATTACKS.items() if make(PROCESS).spec.access != "white"])
def test_every_attack_sees_what_it_sees_of_the_same_model_compiled(name):
    attack = ATTACKS[name](PROCESS)
    got, want = (audit(attack, model, pool(4), key=KEY, block=4) for model in (target(), MODEL))
    close(got.features, want.features)
    close(got.scores, want.scores)


def test_the_function_is_asked_in_order_in_whole_blocks_once():
    function = Recorder()
    queries = pool(6)._replace(cond=np.array([3, 1, 4, 1, 5, 2]))
    audit(ATTACK, target(function, num_classes=6), queries, key=KEY, block=4)
    assert [xt.shape for xt, _, _ in function.calls] == [(8, *SHAPE), (8, *SHAPE), (4, *SHAPE), (4, *SHAPE)]
    assert sum(len(xt) for xt, _, _ in function.calls) == ATTACK.spec.calls * 6
    for (xt, t, cond), time in zip(function.calls, TIMES * 2, strict=True):
        assert (xt.dtype, t.dtype, cond.dtype) == (np.float32, np.float32, np.int32)
        assert t.tolist() == [np.float32(time)] * len(xt)
        assert xt.flags.writeable
    assert [cond.tolist() for _, _, cond in function.calls[::2]] == [[3, 3, 1, 1, 4, 4, 1, 1], [5, 5, 2, 2]]


def test_no_more_rows_are_asked_at_once_than_allowed():
    whole, parts = Recorder(), Recorder()
    want = audit(ATTACK, target(whole), pool(4), key=KEY, block=4)
    close(audit(ATTACK, target(parts, batch=3), pool(4), key=KEY, block=4).features, want.features)
    assert [len(xt) for xt, _, _ in parts.calls] == [3, 3, 2] * 2
    np.testing.assert_array_equal(np.concatenate([xt for xt, _, _ in parts.calls[:3]]), whole.calls[0][0])


def test_a_function_may_write_into_what_it_is_given():
    def careless(xt, t, cond):
        out = np.asarray(answer(xt.copy(), t))
        xt[:], t[:] = 0, 1
        return out

    got, want = (audit(ATTACK, model, pool(4), key=KEY, block=4) for model in (target(careless), MODEL))
    close(got.features, want.features)


def test_the_function_is_called_as_itself():
    """Outside every trace and with compilation on, on the thread that audits, so that it may use JAX."""
    seen = []

    def look(xt, t, cond):
        seen.append((jax.config.jax_disable_jit, isinstance(jnp.asarray(xt) + 1, jax.core.Tracer)))
        return xt

    audit(ATTACK, target(look), pool(4), key=KEY, block=4)
    assert seen == [(False, False)] * 2
    assert not jax.config.jax_disable_jit


def test_images_that_hang_a_callback_on_eight_devices_pass():
    """A callback of these from `shard_map` over eight devices waits for itself without end."""
    shape, program = (128, 128, 3), jax.jit(jnp.tanh)
    model = from_callable(lambda xt, t, cond: program(xt), PROCESS, shape, name="large")
    assert jax.local_device_count() == 8

    def observe(shared, key, query):
        return jax.lax.map(lambda t: gray_box(model).denoise(key, query.x, t, None).mean(), jnp.float32(TIMES))

    queries = pool(64, shape=shape)
    got = stream(observe, (), KEY, queries._replace(x=queries.x / np.float32(255)), block=64, host=True)
    assert got.shape == (64, len(TIMES))
    np.testing.assert_array_equal(got[:, 0], got[:, 1])


WRONG = {
    "a row less": (lambda xt, t: xt[1:], r"returned shape \(7, 4, 4, 2\) for \(8, 4, 4, 2\): return one example a row"),
    "channels first": (lambda xt, t: xt.transpose(0, 3, 1, 2), r"returned shape \(8, 2, 4, 4\)"),
    "one number": (lambda xt, t: 0.5, r"returned shape \(\) for"),
    "nothing": (lambda xt, t: None, r"returned shape \(\) for"),
    "ragged rows": (lambda xt, t: [[1.0], [2.0, 3.0]], "raised ValueError: "),
    "integers": (lambda xt, t: xt.astype(int), "returned int64: return floats, estimates of x0"),
    "text": (lambda xt, t: xt.astype(str), "returned <U32: return floats"),
    "NaN": (lambda xt, t: np.append(xt[1:], [np.nan + xt[0]], 0), "NaN or infinity for 1 of 8 rows, first at t = 0.5"),
    "infinity": (lambda xt, t: xt + np.inf, "returned NaN or infinity for 8 of 8 rows"),
    "more than float32 holds": (lambda xt, t: 1e200 * np.ones(xt.shape), "returned NaN or infinity for 8 of 8 rows"),
    "an exception": (lambda xt, t: {}["weights"], "raised KeyError: 'weights' for a batch of 8: mend it"),
    "an exception of two lines": (lambda xt, t: exec("raise OSError('no\\nroute')"), "raised OSError: no route for"),
    "an exception without words": (lambda xt, t: exec("raise TimeoutError"), "raised TimeoutError: for"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_answers_are_one_sentence(kind):
    wrong, says = WRONG[kind]
    with pytest.raises(InputError, match=f"^denoise of 'a service' .*({says})") as caught:
        audit(ATTACK, target(Recorder(1, wrong)), pool(4), key=KEY, block=4)
    assert "\n" not in str(caught.value)


def test_an_interrupt_is_not_an_answer():
    def stop(xt, t):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(ATTACK, target(Recorder(1, stop)), pool(4), key=KEY, block=4)


def test_an_audit_resumes_where_the_service_failed(tmp_path):
    function = Recorder(3, lambda xt, t: 1 / 0)
    with pytest.raises(InputError, match="ZeroDivisionError"):
        audit(ATTACK, target(function), pool(6), key=KEY, block=4, out=tmp_path)
    assert [len(xt) for xt, _, _ in function.calls] == [8, 8, 4, 4]
    back = Recorder()
    resumed = audit(ATTACK, target(back), pool(6), key=KEY, block=4, out=tmp_path)
    assert [len(xt) for xt, _, _ in back.calls] == [4, 4]
    close(resumed.features, audit(ATTACK, MODEL, pool(6), key=KEY, block=4).features)


def test_white_box_access_is_refused_with_its_reason():
    says = "white-box access needs gradients and this target is a Python function: audit it gray-box"
    with pytest.raises(InputError, match=says):
        white_box(target())
    with pytest.raises(InputError, match=says):
        audit(loss_trajectory(TIMES), target(), pool(4), key=KEY)


def test_no_gradient_passes_and_no_compiled_program_asks():
    api = gray_box(target())
    one = lambda xt: api.denoise(KEY, xt, jnp.float32(0.5), None)  # noqa: E731
    xt = jnp.ones(SHAPE)
    np.testing.assert_array_equal(jax.grad(lambda xt: one(xt).sum())(xt), 0)
    assert jax.eval_shape(one, xt).shape == SHAPE
    with pytest.raises(InputError, match="denoise of 'a service' cannot be called from a compiled program: stream it"):
        jax.jit(one)(xt)


def test_one_example_and_any_nesting_of_batches_agree():
    network = target().network
    assert network is not None
    assert MODEL.network is not None
    # Axis 1 counts three examples; both are asked at two times.
    xt, t = jax.random.normal(KEY, (SHAPE[0], 3, *SHAPE[1:])), jnp.float32([0.2, 0.7])
    want = jax.vmap(jax.vmap(MODEL.network.apply, (None, 1, None)), (None, None, 0))(MODEL.params, xt, t)
    got = jax.vmap(jax.vmap(network.apply, (None, 1, None)), (None, None, 0))({}, xt, t)
    assert got.x0.shape == (2, 3, *SHAPE)
    close((got.eps, got.x0), (want.eps, want.x0))
    close(network.apply({}, xt[:, 1], t[0]).x0, want.x0[0, 1])


def test_samples_are_drawn_by_ddim_if_nothing_else_is_given():
    function = Recorder()
    got = draw_bank(KEY, target(function, sample_steps=4), 4, block=4)
    assert [len(xt) for xt, _, _ in function.calls] == [4] * 4
    # Rounded to grey levels, a sum in another order may fall on the other side of a half.
    assert np.abs(got.astype(int) - draw_bank(KEY, MODEL, 4, block=4)).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sampler", "callable"])
def test_samples_of_a_function_are_taken_in_whole_blocks(kind, dtype):
    grey = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones(SHAPE, np.uint8)
    asked = []

    def sample(num, cond):
        asked.append((num, None if cond is None else cond.tolist()))
        images = grey[sum(n for n, _ in asked[:-1]) :][:num]
        return images if dtype == np.uint8 else (images / 127.5 - 1).astype(dtype)

    options = {"name": "a generator", "num_classes": 9}
    model = (
        from_sampler(sample, SHAPE, **options)
        if kind == "sampler"
        else from_callable(denoise, PROCESS, SHAPE, sample=sample, **options)
    )
    np.testing.assert_array_equal(draw_bank(KEY, model, 5, labels=np.array([7, 5, 3, 1, 0]), block=3), grey)
    assert asked == [(3, [7, 5, 3]), (2, [1, 0])]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda num, cond: np.zeros((num, 3)), r"returned shape \(2, 3\) for \(2, 4, 4, 2\)"),
        (lambda num, cond: np.zeros((num, *SHAPE), int), "returned int64: return images as uint8 or as floats"),
        (lambda num, cond: np.full((num, *SHAPE), 200.0), "values from 200 to 200: clip or rescale"),
        (lambda num, cond: np.full((num, *SHAPE), np.nan), "values from nan to nan"),
        (lambda num, cond: 1 / 0, "raised ZeroDivisionError: division by zero for a batch of 2"),
    ],
)
def test_wrong_samples_are_one_sentence(answer, says):
    with pytest.raises(InputError, match=f"^sample of 'a generator' .*{says}"):
        draw_bank(KEY, from_sampler(answer, SHAPE, name="a generator"), 2)


def test_a_sampler_offers_samples_only():
    model = from_sampler(lambda num, cond: np.zeros((num, *SHAPE)), SHAPE, name="a generator", batch=1)
    np.testing.assert_array_equal(black_box(model).sample(KEY, None), np.zeros(SHAPE))
    for grant in (gray_box, white_box):
        with pytest.raises(InputError, match="offers samples only"):
            grant(model)


def test_name_and_version_stand_for_the_function():
    hashes = {
        fingerprints(ATTACK, model, pool(2), KEY)["target"]
        for model in (target(), target(Recorder()), target(name="another"), target(version="2"), target(version="3"))
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"function": None}, "a function of NumPy batches is needed, got None"),
        ({"sample": 3}, "a function of NumPy batches is needed, got 3"),
        ({"name": ""}, "needs a name, which stands for it in fingerprints, got ''"),
        ({"batch": 0}, "at least 1 row, got batch=0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        target(**options)


@pytest.mark.parametrize("shape", [(), (0, 4, 1), (-1, 4, 4)])
def test_shapes_that_cannot_be_are_refused(shape):
    with pytest.raises(InputError, match="the shape of one example has positive sides and no batch axis, got"):
        from_sampler(lambda num, cond: None, shape, name="a generator")


def scanned(shared, key, query):
    """A loop and a branch, as attacks have them, over integers and single roundings: nothing to reorder."""
    add = lambda total, i: (total + jax.random.bits(jax.random.fold_in(key, i)) % 7, total)  # noqa: E731
    total, before = jax.lax.scan(add, jax.random.bits(key), jnp.arange(3))
    even = jax.lax.cond(total % 2 == 0, lambda x: x, lambda x: -x, query.x.astype(jnp.float32) * shared)
    return {"total": total, "before": before, "even": even, "row": query.row}


def test_rows_of_the_host_path_are_those_of_the_compiled_one():
    shared = jnp.float32(0.3)
    run = Stream(scanned, block=4, host=True)
    parts = list(run(shared, KEY, pool(6)))
    got = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(features for _, _, features in parts))
    jax.tree.map(np.testing.assert_array_equal, got, stream(scanned, shared, KEY, pool(6), block=8))
    assert [stop - start for start, stop, _ in parts] == [4, 2]
    assert (run.block, run.num_compiles) == (4, 0)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is only an example")
def test_a_pytorch_model_is_audited_gray_box():
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 2, 3, padding=1)

    def model(xt, t, cond):
        with torch.no_grad():
            return layer(torch.from_numpy(xt).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    seen = audit(ATTACK, target(model), pool(4), key=KEY, block=4)
    assert np.isfinite(seen.scores).all()
    tracked = target(lambda xt, t, cond: layer(torch.from_numpy(xt).permute(0, 3, 1, 2)))
    with pytest.raises(InputError, match="raised RuntimeError: Can't call numpy"):
        audit(ATTACK, tracked, pool(4), key=KEY, block=4)
