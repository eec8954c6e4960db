"""Imported U-Nets of improved- and guided-diffusion answer as an independent PyTorch network of equal weights does."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.importers.guided import load
from diffaudit_jax.models import from_linen
from diffaudit_jax.models.precondition import told
from tests.parity.guided_cases import CASES, FIXTURES, SIDE, Case, fixture, images, labels, state, write_safetensors

every_case = pytest.mark.parametrize("name", CASES)
TOLERANCE = 1e-4  # of the answers' scale, both float32


@functools.cache
def program(module):
    """One compiled module for several images at several times; weights, flags and files may differ."""

    def one(params, x, time, label):
        return module.apply({"params": params}, x, time, label)

    return jax.jit(jax.vmap(jax.vmap(one, (None, 0, None, 0)), (None, None, 0, None)))


def answers(imported, name):
    """What the importer's module says [steps, n, h, w, out] when it is told the time as the importer says."""
    model, process = imported.model, imported.process
    times = [jnp.float32((step + 1) / process.steps) for step in CASES[name].steps]
    told_times = jnp.stack([told(model.told, process, t) for t in times])
    with jax.default_matmul_precision("highest"):
        return np.asarray(program(model.module)(imported.params, images(name), told_times, labels(name)))


@functools.cache
def imported_case(name, file):
    return load(file, image_size=SIDE, **CASES[name].flags)


def error(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every case's weights as a safetensors file."""
    folder = tmp_path_factory.mktemp("guided")
    return {
        name: write_safetensors(folder / f"{i}.safetensors", state(fixture(name)[0])) for i, name in enumerate(CASES)
    }


@every_case
def test_answers_agree_with_the_reference(files, name):
    imported = imported_case(name, files[name])
    assert error(answers(imported, name), fixture(name)[1]) < TOLERANCE


@every_case
def test_the_file_tells_the_structure(files, name):
    network, flags = CASES[name].network, CASES[name].flags
    imported = imported_case(name, files[name])
    config, levels = imported.model.config, range(len(network["channel_mult"]))
    assert config["channels"] == network.get("width", 32)
    assert config["stem"] == {"narrow": 32}.get(name)
    assert config["mults"] == network["channel_mult"]
    assert config["num_blocks"] == network.get("num_res_blocks", 1)
    assert config["attention"] == tuple(SIDE // 2**i for i in levels if 2**i in network.get("attention", ()))
    assert config["num_classes"] == imported.model.num_classes == network.get("num_classes")
    assert config["scale_shift"] == network.get("use_scale_shift_norm", False)
    # A network of one level resamples nowhere, in no way.
    assert config["resblock_updown"] == (network.get("resblock_updown", False) and len(levels) > 1)
    assert config["learn_sigma"] == network.get("learn_sigma", False)
    assert not config["null_class"]
    assert imported.model.predicts == ("x0" if flags.get("predict_xstart") else "eps")
    assert imported.variance == ("learned" if network.get("learn_sigma") else "fixed_large")
    assert imported.process.num_steps == flags.get("num_steps", 1000)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(imported.params))


def test_the_network_of_a_checkpoint_that_pytorch_saved_agrees_with_the_reference():
    imported, name = load(FIXTURES / "guided.pt", image_size=SIDE, **CASES["new order"].flags), "new order"
    network = from_linen(imported.model, imported.process)
    asked = jax.jit(jax.vmap(lambda x, label: network.apply(imported.params, x, jnp.float32(0.334), label).eps))
    assert CASES[name].steps[1] == 333
    assert error(np.asarray(asked(images(name), labels(name))), np.load(FIXTURES / "guided.npy")[1]) < TOLERANCE


WRONG = {
    "heads": ("improved", {"num_heads": 2}),
    "order of q, k and v": ("improved", {"new_attention_order": True}),
    "the other order": ("new order", {"new_attention_order": False}),
    "rescaled times": ("improved", {"rescale_timesteps": False}),
    "times of the wrong scale": ("guided", {"rescale_timesteps": True}),
}


@pytest.mark.parametrize("flag", WRONG)
def test_every_flag_that_the_file_does_not_tell_matters(files, flag):
    name, wrong = WRONG[flag]
    imported = load(files[name], image_size=SIDE, **{**CASES[name].flags, **wrong})
    assert error(answers(imported, name), fixture(name)[1]) > 30 * TOLERANCE


def test_weights_of_half_precision_and_dense_attention_are_read(tmp_path):
    weights = state(fixture("new order")[0])
    dense = {name: weight[..., 0] if "qkv.weight" in name else weight for name, weight in weights.items()}
    half = {name: weight.astype(np.float16) for name, weight in dense.items()}
    flags = {"image_size": SIDE, **CASES["new order"].flags}
    got = answers(load(write_safetensors(tmp_path / "dense.safetensors", dense), **flags), "new order")
    assert error(got, fixture("new order")[1]) < TOLERANCE
    got = answers(load(write_safetensors(tmp_path / "half.safetensors", half), **flags), "new order")
    # 11 bits of mantissa in every weight, through some ten layers one after the other.
    assert TOLERANCE < error(got, fixture("new order")[1]) < 10 * 2**-11


LIVE = {
    "every option": Case(
        {
            "channel_mult": (1, 2, 2),
            "attention": (2, 4),
            "num_head_channels": 16,
            "num_classes": 5,
            "use_scale_shift_norm": True,
            "resblock_updown": True,
            "learn_sigma": True,
        },
        {"num_head_channels": 16, "num_steps": 100, "rescale_timesteps": False, "schedule": "cosine"},
        (0, 40, 99),
    ),
    "plain": CASES["plain"],
}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is only a reference")
@pytest.mark.parametrize("name", LIVE)
def test_answers_agree_with_pytorch_itself(tmp_path, monkeypatch, name):
    import torch

    from tests.parity.make_guided_fixtures import answers as reference
    from tests.parity.reference_unet import UNet

    monkeypatch.setitem(CASES, name, LIVE[name])
    torch.manual_seed(0)
    model = UNet(**LIVE[name].network).eval()
    torch.save({"ema": model.state_dict(), "step": 3}, tmp_path / "model.pt")
    imported = load(tmp_path / "model.pt", image_size=SIDE, key="ema", **LIVE[name].flags)
    assert error(answers(imported, name), reference(model, name)) < TOLERANCE
