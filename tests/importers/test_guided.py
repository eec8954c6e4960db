"""State dicts that are no U-Net of improved- or guided-diffusion, or not all of one, are refused by what is wrong."""

import functools

import jax
import numpy as np
import pytest

from diffaudit_jax.importers.arrange import nearest
from diffaudit_jax.importers.guided import load
from diffaudit_jax.importers.guided_layout import structure
from diffaudit_jax.importers.safetensors import read_safetensors
from diffaudit_jax.types import InputError
from tests.parity.guided_cases import CASES, SIDE, fixture, state, write_safetensors

FLAGS = {"image_size": SIDE, "num_heads": 1}


@functools.cache
def weights():
    return state(fixture("plain")[0])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_safetensors(tmp_path_factory.mktemp("guided") / "plain.safetensors", weights())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"image_size": None}, "does not tell the side of its images: say image_size"),
        ({"image_size": 10}, "images of 10x10 do not divide"),
        ({"image_size": 0}, "sizes must be positive"),
        ({"num_heads": None}, "does not tell its heads, got num_heads=None and num_head_channels=None: say one"),
        ({"num_head_channels": 8}, "got num_heads=1 and num_head_channels=8: say one of them"),
        ({"num_heads": 5}, "num_heads=5 must divide"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"num_heads": None, "num_head_channels": 24}, "must divide"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
        ({"num_steps": 4000}, "a model of 4000 steps is told step i as i or as i x 1000/4000: say rescale_timesteps"),
        ({"num_steps": 10, "rescale_timesteps": True}, "use more steps than 20"),
        ({"num_steps": 1, "schedule": "cosine", "rescale_timesteps": True}, "at least 2 steps, got num_steps=1"),
    ],
)
def test_flags_that_cannot_be_are_refused(file, flags, says):
    with pytest.raises(InputError, match=says):
        load(file, **{**FLAGS, **flags})


@pytest.mark.parametrize(("rescale", "told"), [(None, "step"), (False, "step"), (True, "step-of-1000")])
def test_a_model_of_1000_steps_need_not_say_how_it_is_told_them(file, rescale, told):
    assert load(file, **FLAGS, rescale_timesteps=rescale).model.told == told


@pytest.mark.parametrize(
    ("flags", "variance"), [({}, "fixed_large"), ({"sigma_small": True}, "fixed_small"), ({"predict_xstart": True}, "")]
)
def test_the_reverse_variance_and_the_prediction_are_as_flagged(file, flags, variance):
    imported = load(file, **FLAGS, **flags)
    assert imported.variance == (variance or "fixed_large")
    assert imported.model.predicts == ("x0" if flags.get("predict_xstart") else "eps")
    assert imported.clip


def without(*starts):
    return lambda w: {name: weight for name, weight in w.items() if not name.startswith(starts)}


def reshaped(name, shape):
    return lambda w: {**w, name: np.zeros(shape, np.float32)}


def renamed(old, new):
    return lambda w: {name.replace(old, new, 1): weight for name, weight in w.items()}


SKIP = "output_blocks.0.0.skip_connection.weight"
CHANGES = {
    "nothing": (lambda w: {}, "lacks tensor 'time_embed.0.weight', which every U-Net .* has: name the file"),
    "another project": (
        lambda w: {"time_embedding.linear_1.weight": w["time_embed.0.weight"]},
        r"lacks tensor 'time_embed.0.weight', .* has \(nearest to it: 'time_embedding.linear_1.weight'\)",
    ),
    "wrapped": (
        lambda w: {f"module.{name}": weight for name, weight in w.items()},
        r"lacks tensor 'time_embed.0.weight', .* \(nearest to it: 'module.time_embed.0.weight'\)",
    ),
    "diffusers": (
        lambda w: {"conv_in.weight": w["input_blocks.0.0.weight"]},
        "is of a diffusers model: give its folder, with the config.json in it",
    ),
    "a classifier": (
        without("output_blocks"),
        "lacks tensor 'output_blocks.0.0.in_layers.0.weight', which every U-Net .* has",
    ),
    "a tensor less": (
        without("middle_block.1.qkv.bias"),
        r"lacks 1 of 148 tensors, first 'middle_block.1.qkv.bias': the file is incomplete",
    ),
    "a misspelt one": (
        renamed("middle_block.1.qkv.bias", "middle_block.1.qkb.bias"),
        r"first 'middle_block.1.qkv.bias' \(nearest to it: 'middle_block.1.qkb.bias'\)",
    ),
    "a block less": (without("output_blocks.5"), r"lacks 12 of 148 tensors, first 'output_blocks\.5\.0\.\S+'"),
    "a stem less": (without("input_blocks.0"), "lacks tensor 'input_blocks.0.0.weight'"),
    "a level less": (without("input_blocks.3"), "lacks tensor 'input_blocks.3.0.out_layers.3.weight'"),
    "one too many": (
        lambda w: {**w, "out.3.weight": w["out.2.weight"]},
        r"has 1 tensors too many, first 'out.3.weight' \(nearest to it: 'out.2.weight'\)",
    ),
    "an optimizer beside it": (
        lambda w: {**w, "exp_avg": w["out.2.weight"]},
        "has 1 tensors too many, first 'exp_avg'",
    ),
    "another shape": (
        reshaped(SKIP, (64, 129, 1, 1)),
        rf"'{SKIP}' has shape \(64, 129, 1, 1\) and this model needs \(64, 128\)",
    ),
    "too many axes": (reshaped(SKIP, (64, 128, 3, 3)), rf"'{SKIP}' has shape \(64, 128, 3, 3\) and"),
    "an axis less": (reshaped("time_embed.0.weight", (128,)), r"has shape \(128,\) where 2 axes belong"),
    "an empty one": (reshaped("time_embed.0.weight", (128, 0)), r"has shape \(128, 0\) where 2 axes belong"),
    "super-resolution": (
        reshaped("input_blocks.0.0.weight", (32, 6, 3, 3)),
        "takes 6 channels and gives 3: super-resolution",
    ),
    "learned super-resolution": (
        lambda w: reshaped("out.2.weight", (6, 32, 3, 3))(reshaped("input_blocks.0.0.weight", (32, 6, 3, 3))(w)),
        "takes 6 channels and gives 6: super-resolution",
    ),
    "a narrow stem": (
        reshaped("input_blocks.0.0.weight", (16, 3, 3, 3)),
        r"groups=32 must divide every width \[16, 32, 64\]",
    ),
    "a fraction of the width": (
        reshaped("input_blocks.3.0.out_layers.3.weight", (48, 48, 3, 3)),
        r"groups=32 must divide every width \[32, 48, 64\]",
    ),
    "not a number": (
        lambda w: {**w, "out.2.bias": np.full(3, np.nan, np.float32)},
        "out.2.bias has values that are not finite",
    ),
    "blocks without end": (
        lambda w: {**w, "output_blocks.99999999999.0.in_layers.0.weight": np.zeros(1, np.float32)},
        "has 1 tensors too many, first 'output_blocks.99999999999.0.in_layers.0.weight'",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_files_are_refused(tmp_path, change):
    changed, says = CHANGES[change]
    file = write_safetensors(tmp_path / "model.safetensors", changed(weights()))
    with pytest.raises(InputError, match=says) as caught:
        load(file, **FLAGS)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt is not there"):
        load(tmp_path / "none.pt", **FLAGS)


def test_one_tensor_more_than_the_parameters_is_in_memory_at_a_time(file):
    """Every parameter is its tensor's values once; none shares the file's memory."""
    imported = load(file, **FLAGS)
    tensors = read_safetensors(file)
    assert sum(leaf.size for leaf in jax.tree.leaves(imported.params)) == sum(t.read().size for t in tensors.values())
    kernel = np.asarray(imported.params["stem"]["conv"]["kernel"])
    np.testing.assert_array_equal(kernel, tensors["input_blocks.0.0.weight"].read().transpose(2, 3, 1, 0))
    assert not np.shares_memory(kernel, tensors["input_blocks.0.0.weight"].mapped)


@pytest.mark.parametrize("name", CASES)
def test_structure_needs_names_and_shapes_alone(tmp_path, name):
    zeros = {key: np.zeros(shape, np.float16) for key, shape in fixture(name)[0].items()}
    found = structure(read_safetensors(write_safetensors(tmp_path / "zeros.safetensors", zeros)), tmp_path)
    assert found.mults == CASES[name].network["channel_mult"]
    assert found.num_blocks == CASES[name].network.get("num_res_blocks", 1)


def test_nearest_is_silent_where_nothing_is_near():
    assert nearest("out.2.weight", ["out.2.bias"]) == " (nearest to it: 'out.2.bias')"
    assert nearest("out.2.weight", ["xyz"]) == nearest("out.2.weight", []) == ""
