"""Imported models answer as they do in PyTorch: on committed answers, and live where diffusers is installed."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.importers.diffusers import load, tensor_shapes
from diffaudit_jax.importers.schedulers import schedule
from diffaudit_jax.importers.unet2d import unet2d
from diffaudit_jax.models import from_config, from_linen
from diffaudit_jax.sampler import ddim_step
from diffaudit_jax.types import Prediction
from tests.parity.cases import CASES, DDPM, PARAMETERS, PUBLISHED, SCHEDULES, narrowed

FIXTURES = Path(__file__).parent / "fixtures" / "diffusers"
COMMITTED = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
UNIT = float(np.finfo(np.float32).eps) / 2
PARITY = 1e-4  # of the answer's scale: what an import may cost in float32
live = pytest.mark.filterwarnings("ignore")  # PyTorch's own


@pytest.fixture
def reference():
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from tests.parity import reference

    return reference


def committed(name):
    with np.load(FIXTURES / f"{name}.npz") as file:
        return dict(file)


@functools.cache
def asked(folder):
    """An imported model, and its compiled network over five images, times and labels."""
    imported = load(folder)
    network = from_linen(imported.model, imported.process)
    classes = imported.model.num_classes is not None

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
    def answer(params, xt, t, label):
        return network.apply(params, xt, t, label if classes else None)

    return imported, lambda xt, t, label: answer(imported.params, jnp.float32(xt), jnp.float32(t), jnp.int32(label))


def check_answers(folder, want):
    imported, answer = asked(folder)
    got = answer(want["xt"], want["t"], want["label"])
    found = {"eps": got.eps, "x0": got.x0, "v": None if got.var_fraction is None else 2 * got.var_fraction - 1}
    for name in {"eps", "x0", "v"} & set(want):
        largest = np.abs(want[name]).max((1, 2, 3), keepdims=True)
        np.testing.assert_array_less(np.abs(np.asarray(found[name]) - want[name]) / largest, PARITY)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(imported.params))
    return imported


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_model_answers_as_in_pytorch(name):
    imported = check_answers(FIXTURES / name, committed(f"{name}/answers"))
    # The configuration makes the same module again; only tuples may have become lists and back.
    assert from_config(imported.model.config).module == imported.model.module


@live
@pytest.mark.parametrize("name", CASES)
def test_every_case_answers_as_in_pytorch(name, reference, tmp_path):
    case = CASES[name]
    model = reference.save(reference.build(case.config), case, tmp_path)
    check_answers(tmp_path, reference.answers(model, case))


@live
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_architecture_answers_as_in_pytorch(name, reference, tmp_path):
    case = narrowed(name)
    model = reference.save(reference.build(case.config), case, tmp_path)
    check_answers(tmp_path, reference.answers(model, case))


@functools.cache
def published_shapes(name):
    config, scheduler, _ = PUBLISHED[name]
    return tensor_shapes(unet2d(config, schedule(scheduler)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_architecture_has_its_number_of_parameters(name):
    assert sum(int(np.prod(shape)) for shape in published_shapes(name).values()) == PARAMETERS[name]


@live
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_architecture_has_the_tensors_that_pytorch_has(name, reference):
    theirs = reference.shapes(PUBLISHED[name].config)
    # A 1x1 convolution of theirs is a dense layer of ours.
    assert published_shapes(name) == {key: shape[:2] if shape[2:] == (1, 1) else shape for key, shape in theirs.items()}


def check_table(name, abar):
    process = schedule({**DDPM, **SCHEDULES[name]}).process
    assert process.num_steps == len(abar)
    times = jnp.asarray(process.times())
    alpha, sigma = (np.float64(jax.vmap(f)(times)) for f in (process.alpha, process.sigma))
    # Theirs is a float32 product: each factor 1 - beta carries the roundings of beta and of itself, each product one.
    beta = 1 - np.exp(np.diff(np.log(np.append(1.0, alpha**2))))
    bound = UNIT * np.cumsum(2 + beta / (1 - beta)) + 8 * UNIT
    np.testing.assert_array_less(np.abs(abar / alpha**2 - 1), bound)
    np.testing.assert_array_less(np.abs(1 - abar - sigma**2), bound * abar + 4 * UNIT)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_the_committed_table(name):
    check_table(name, committed("abar")[name])


@live
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_the_table_that_diffusers_has(name, reference):
    check_table(name, reference.abar(SCHEDULES[name]))


def ddim_errors(want: dict[str, Any], clip: bool, eps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of DDIM from each of their examples: the largest error of each, and what it may be.

    x_s = a_s/a_t (x_t - s_t eps) + s_s eps, where a is the scale of the signal and s that of the noise. Each product is
    rounded a few times in each library; to that comes what the two tables differ by, which `check_table` has bounded.
    """
    process = schedule(DDPM).process
    at = np.append(want["step"] + 1, 0)  # counted from 1; 0 is clean data
    t = jnp.asarray(np.append(np.float32(0), process.times())[at])

    @jax.jit
    @jax.vmap
    def ours(xt, eps, t, s):
        pred = Prediction(eps, (xt - process.sigma(t) * eps) / process.alpha(t))
        return ddim_step(process, pred, xt, t, s, jnp.zeros_like(xt), eta=0.0, clip=clip)

    xt, xs = want["xt"][:-1], want["xt"][1:]
    got = np.asarray(ours(xt, eps, t[:-1], t[1:]))
    alpha, sigma = (np.float64(jax.vmap(f)(t)) for f in (process.alpha, process.sigma))
    abar = np.append(1.0, np.float64(want["abar"]))[at]
    off = np.abs(np.sqrt(abar) - alpha) / alpha + np.abs(np.sqrt(1 - abar) - sigma) / np.where(at > 0, sigma, 1)
    size = lambda rows: np.abs(rows).max((1, 2, 3))  # noqa: E731
    moved = alpha[1:] / alpha[:-1] * (size(xt) + sigma[:-1] * size(eps)) + sigma[1:] * size(eps)
    return size(got - xs), (2 * (off[1:] + off[:-1]) + 16 * UNIT) * moved


@pytest.mark.parametrize("name", ["free", "clipped"])
def test_fifty_steps_of_ddim_are_those_of_diffusers(name):
    want = committed(f"ddim-{name}")
    errors, allowed = ddim_errors(want, name == "clipped", want["eps"])
    assert len(errors) == 50
    np.testing.assert_array_less(errors, allowed)


def test_fifty_steps_of_ddim_with_an_imported_model_are_those_of_diffusers():
    want = committed("ddim-model")
    imported, answer = asked(FIXTURES / "ddpm")
    t = np.float32(want["step"] + 1) / np.float32(1000)
    fives = zip(np.split(want["xt"][:-1], 10), np.split(t, 10), strict=True)
    eps = np.concatenate([answer(xt, times, np.zeros(5)).eps for xt, times in fives])
    errors, allowed = ddim_errors(want, True, eps)
    # Beside the sampler's own roundings, what the network may be off by moves x0, or the noise where x0 is clipped.
    alpha = np.float64(jax.vmap(imported.process.alpha)(t))
    network_error = PARITY * np.abs(want["eps"]).max() * np.append(alpha[1:], 1.0) / alpha
    np.testing.assert_array_less(np.abs(eps - want["eps"]).max(), PARITY * np.abs(want["eps"]).max())
    np.testing.assert_array_less(errors, allowed + network_error)


@live
@pytest.mark.parametrize("clip", [False, True])
def test_fifty_live_steps_of_ddim_are_those_of_diffusers(clip, reference):
    want = reference.ddim(None, clip, seed=1)
    errors, allowed = ddim_errors(want, clip, want["eps"])
    np.testing.assert_array_less(errors, allowed)
