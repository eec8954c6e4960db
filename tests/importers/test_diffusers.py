"""Folders of diffusers: every layout that is read, and one sentence for everything that is not."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from diffaudit_jax import process
from diffaudit_jax.importers.diffusers import load, tensor_shapes
from diffaudit_jax.importers.safetensors import read_safetensors
from diffaudit_jax.importers.schedulers import schedule
from diffaudit_jax.importers.unet2d import unet2d
from diffaudit_jax.types import InputError
from tests.parity.cases import CASES, DDPM, PUBLISHED, RESIDUAL, SKIP, SMALL, VE

FIXTURES = Path(__file__).parent.parent / "parity" / "fixtures" / "diffusers"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NAMES = {"float32": "F32", "int64": "I64", "float16": "F16"}


@pytest.fixture
def folder(tmp_path):
    """A model that can be read, to be spoilt."""
    return Path(shutil.copytree(FIXTURES / "v-prediction", tmp_path / "model"))


def tensors(folder):
    return {name: np.array(tensor.read()) for name, tensor in read_safetensors(folder / WEIGHTS).items()}


def write(folder, arrays):
    """Writes a safetensors file, whose format is four lines."""
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    raw = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in arrays.values())
    (folder / WEIGHTS).write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def edit(path, **changes):
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "REMOVED"}))


def same(left, right):
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), left, right))


def test_weights_saved_as_a_variant_are_found(folder):
    whole = load(folder)
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    assert same(load(folder).params, whole.params)


def test_a_pipeline_and_its_parts_are_the_same_model(folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    shutil.copytree(folder, pipeline / "unet")
    (pipeline / "scheduler").mkdir()
    (pipeline / "unet" / "scheduler_config.json").rename(pipeline / "scheduler" / "scheduler_config.json")
    index = {
        "_class_name": "DDIMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (pipeline / "model_index.json").write_text(json.dumps(index))
    (folder / "model_index.json").write_text(json.dumps(index))  # the oldest have all in one folder
    whole, part, alone = load(pipeline), load(pipeline / "unet"), load(folder)
    for other in (part, alone):
        assert other.model == whole.model
        assert other.process.config == whole.process.config
        assert same(other.params, whole.params)


def test_values_are_transposed_and_merged_as_the_layouts_say(folder):
    theirs, ours = tensors(folder), load(folder).params
    np.testing.assert_array_equal(ours["stem"]["conv"]["kernel"], theirs["conv_in.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(ours["time1"]["kernel"], theirs["time_embedding.linear_1.weight"].T)
    attention = "down_blocks.1.attentions.0"
    merged = np.concatenate([theirs[f"{attention}.to_{part}.weight"] for part in "qkv"]).T
    np.testing.assert_array_equal(ours["down1_0_attention"]["qkv"]["kernel"], merged)
    # The first block on the way up there is the coarsest level here.
    np.testing.assert_array_equal(ours["up1_0"]["norm1"]["scale"], theirs["up_blocks.0.resnets.0.norm1.weight"])


def test_half_precision_becomes_float32(folder):
    arrays = tensors(folder)
    write(folder, {name: array.astype(np.float16) for name, array in arrays.items()})
    got = load(folder).params["head"]["conv"]["bias"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, arrays["conv_out.bias"].astype(np.float16))


def test_a_process_and_a_size_may_be_given(folder):
    (folder / "scheduler_config.json").unlink()
    edit(folder / "config.json", sample_size=None)
    given = load(folder, process=process.ddpm_linear(50), size=(16, 24))
    assert given.model.shape == (16, 24, 1)
    assert given.process.num_steps == 50
    assert (given.model.predicts, given.model.told, given.model.signed) == ("eps", "step", True)


def test_an_old_checkpoint_may_hold_its_frequencies_twice(tmp_path):
    folder = Path(shutil.copytree(FIXTURES / "ncsnpp", tmp_path / "ncsnpp"))
    arrays = {name: array.astype(np.float32) for name, array in tensors(folder).items()}
    twice = {**arrays, "time_proj.W": arrays["time_proj.weight"]}
    write(folder, twice)
    np.testing.assert_array_equal(load(folder).params["fourier"]["frequencies"], arrays["time_proj.weight"])
    write(folder, {**twice, "time_proj.W": 1 + arrays["time_proj.weight"]})
    with pytest.raises(InputError, match=r"'time_proj.W' and 'time_proj.weight' differ"):
        load(folder)


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


SPOILT_WEIGHTS = {
    "missing": (lambda a: without(a, "conv_in.bias"), "lacks 1 of 144 tensors, first 'conv_in.bias'"),
    "misnamed": (
        lambda a: {**without(a, "conv_in.bias"), "conv_im.bias": a["conv_in.bias"]},
        r"first 'conv_in.bias' \(nearest to it: 'conv_im.bias'\)",
    ),
    "extra": (
        lambda a: {**a, "conv_in.bias2": a["conv_in.bias"]},
        r"has 1 tensors too many, first 'conv_in.bias2' \(nearest to it: 'conv_in.bias'\)",
    ),
    "old and new": (
        lambda a: {**a, "mid_block.attentions.0.query.bias": a["mid_block.attentions.0.to_q.bias"]},
        "'mid_block.attentions.0.query.bias' is an old name, and the new one is there as well",
    ),
    "shape": (
        lambda a: {**a, "conv_in.weight": a["conv_in.weight"][:, :, :2]},
        r"'conv_in.weight' has shape \(8, 1, 2, 3\) and this model needs \(8, 1, 3, 3\)",
    ),
    "rank": (
        lambda a: {**a, "conv_in.bias": a["conv_in.bias"][None]},
        r"'conv_in.bias' has shape \(1, 8\) and this model needs \(8,\)",
    ),
    "integers": (
        lambda a: {**a, "conv_in.bias": a["conv_in.bias"].astype(np.int64)},
        "'conv_in.bias' is of int64, not of floating numbers",
    ),
    "infinite": (
        lambda a: {**a, "conv_in.bias": np.full(8, np.inf, np.float32)},
        "conv_in.bias has values that are not finite",
    ),
}


@pytest.mark.parametrize("name", SPOILT_WEIGHTS)
def test_weights_of_another_model_are_refused(name, folder):
    spoil, says = SPOILT_WEIGHTS[name]
    write(folder, spoil(tensors(folder)))
    with pytest.raises(InputError, match=says):
        load(folder)


SPOILT_FOLDERS = {
    "no folder": (lambda f: shutil.rmtree(f), "config.json is not there: name the folder of a diffusers model"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no weights: none of diffusion_pytorch_model.safetensors"),
    "no scheduler": (lambda f: (f / "scheduler_config.json").unlink(), "has no scheduler_config.json.*give a process"),
    "text": (
        lambda f: (f / "config.json").write_text("{sample_size: 8}"),
        r"config.json is not JSON \(JSONDecodeError\)",
    ),
    "binary": (
        lambda f: (f / "config.json").write_bytes(b"{\x80}"),
        r"config.json is not JSON \(UnicodeDecodeError\)",
    ),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "config.json is not a JSON object"),
    "latent": (
        lambda f: (f / "model_index.json").write_text('{"unet": [], "vqvae": [], "scheduler": []}'),
        "is a pipeline with vqvae beside unet and scheduler",
    ),
    "unknown scheduler": (
        lambda f: edit(f / "scheduler_config.json", _class_name="DDPMSchedular"),
        "scheduler_config.json: unknown scheduler 'DDPMSchedular': did you mean 'DDPMScheduler'",
    ),
    "other blocks": (
        lambda f: edit(f / "config.json", up_block_types=["UpBlock2D", "UpBlock3D"]),
        "config.json: unknown up block type 'UpBlock3D': did you mean 'UpBlock2D'",
    ),
    "another width": (
        lambda f: edit(f / "config.json", block_out_channels=[12, 16]),
        r"has shape .* and this model needs",
    ),
}


@pytest.mark.parametrize("name", SPOILT_FOLDERS)
def test_spoilt_folders_are_refused(name, folder):
    spoil, says = SPOILT_FOLDERS[name]
    spoil(folder)
    with pytest.raises(InputError, match=says):
        load(folder)


BAD_CONFIGS = {
    "class": (
        {"_class_name": "UNet2DConditionModel"},
        "unknown model class 'UNet2DConditionModel'.*There are UNet2DModel",
    ),
    "option": ({"norm_groups": 8}, "unknown option of UNet2DModel 'norm_groups': did you mean 'norm_num_groups'"),
    "block": ({"down_block_types": ["KDownBlock2D"] * 2}, "unknown down block type 'KDownBlock2D'"),
    "levels": ({"up_block_types": ["UpBlock2D"]}, "have 2, 1 and 2 entries"),
    "activation": ({"act_fn": "gelu"}, "act_fn is 'gelu', and only 'silu' or 'swish' is read"),
    "class embedding": ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep', and only None is read"),
    "time": ({"time_embedding_type": "learned"}, "time_embedding_type is 'learned'"),
    "time width": ({"time_embedding_dim": 64}, "time_embedding_dim is 64, and only 32 is read"),
    "no middle": ({"mid_block_type": None}, "mid_block_type is None"),
    "text for a number": ({"layers_per_block": "2"}, "layers_per_block is '2', which a UNet2DModel cannot have"),
    "no blocks": ({"layers_per_block": 0}, "layers_per_block is 0, which a UNet2DModel cannot have"),
    "blocks without end": ({"layers_per_block": 500}, "layers_per_block is 500, and 100 are read at most"),
    "beyond floats": ({"norm_eps": 10**400}, "norm_eps is 1000+"),
    "side": ({"sample_size": 2**20}, "sample_size is 1048576, not a size up to 16384"),
    "size": ({"sample_size": None}, "sample_size is None.* give the images' height and width as `size`"),
    "odd size": ({"sample_size": 9}, "images of 9x9 do not divide"),
    "channels": ({"out_channels": 4}, r"out_channels is 4, and only 3 \(in_channels\) or 6"),
    "mixed": ({"up_block_types": ["SkipUpBlock2D"] * 2}, "Skip blocks go with each other only"),
    "groups": ({"norm_num_groups": None}, "norm_num_groups null"),
    "indivisible": ({"norm_num_groups": 3}, r"groups=3 must divide every width \[8, 16\]"),
    "resampling": ({"down_block_types": ["ResnetDownsampleBlock2D", "DownBlock2D"]}, "some levels resample"),
    "frequencies": ({"time_embedding_type": "fourier"}, "'fourier' does not go with this process"),
    "skip variance": ({**SKIP, "time_embedding_type": "positional", "out_channels": 6}, "do not learn a variance"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_configurations_that_are_not_read_are_refused(name):
    changes, says = BAD_CONFIGS[name]
    with pytest.raises(InputError, match=says):
        unet2d({**SMALL, **changes}, schedule(DDPM))


def test_shapes_cost_no_memory():
    model = unet2d({**SMALL, "in_channels": 2**30, "out_channels": 2**30, "sample_size": 1024}, schedule(DDPM))
    assert tensor_shapes(model)["conv_in.weight"][1] == 2**30


BAD_SCHEDULERS = {
    "nameless": ({"_class_name": None}, "names no scheduler"),
    "schedule": ({"beta_schedule": "quadratic"}, "unknown beta_schedule 'quadratic'"),
    "prediction": ({"prediction_type": "eps"}, "unknown prediction_type 'eps'"),
    "variance": ({"variance_type": "learned"}, "unknown variance_type 'learned': did you mean 'learned_range'"),
    "falling": ({"beta_start": 0.02, "beta_end": 0.001}, "betas of 0.02 to 0.001 in 1000 steps are no schedule"),
    "fraction": ({"num_train_timesteps": 10.5}, "in 10.5 steps are no schedule"),
    "text": ({"beta_end": "0.02"}, "beta_end is '0.02', not a number"),
    "beyond floats": ({"beta_start": 10**400}, "beta_start is 1000+"),
    "infinite": ({"beta_end": float("inf")}, "beta_end is inf, not a number"),
    "trained beyond floats": ({"trained_betas": [10**400]}, "trained_betas are not a list of numbers"),
    "trained": ({"trained_betas": "linear"}, "trained_betas are not a list of numbers"),
    "beyond": ({"trained_betas": [0.1, 1.5]}, r"betas inside \(0, 1\), got 0.1 to 1.5"),
    "zero terminal": ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True, and only false is read"),
    "thresholding": ({"thresholding": True}, "thresholding is True, and only false is read"),
    "clip": ({"clip_sample_range": 2.0}, "clip_sample_range is 2.0, and only 1 is read"),
}


@pytest.mark.parametrize("name", BAD_SCHEDULERS)
def test_schedulers_that_are_not_read_are_refused(name):
    changes, says = BAD_SCHEDULERS[name]
    with pytest.raises(InputError, match=says):
        schedule({**DDPM, **changes})


def test_a_learned_variance_needs_a_model_that_learns_it():
    with pytest.raises(InputError, match="reads a learned variance, and the model has none: out_channels is 3"):
        unet2d(SMALL, schedule({**DDPM, "variance_type": "learned_range"}))


@pytest.mark.parametrize(
    ("scheduler", "predicts", "told", "signed", "variance", "clip"),
    [
        ({}, "eps", "step", True, "fixed_small", True),
        ({"predict_epsilon": False}, "x0", "step", True, "fixed_small", True),
        ({"prediction_type": "v_prediction", "clip_sample": False}, "v", "step", True, "fixed_small", False),
        ({"variance_type": "fixed_large"}, "eps", "step", True, "fixed_large", True),
        ({"variance_type": "learned_range"}, "eps", "step", True, "learned", True),
        ({"_class_name": "PNDMScheduler"}, "eps", "step", True, "fixed_small", False),
        ({"_class_name": "ScoreSdeVpScheduler"}, "eps", "time", True, "fixed_small", False),
        ({"_class_name": "ScoreSdeVeScheduler"}, "score", "log-noise", False, "fixed_small", False),
    ],
)
def test_schedulers_say_how_a_network_is_fed_and_read(scheduler, predicts, told, signed, variance, clip):
    found = schedule({**DDPM, **scheduler})
    assert found[1:] == (predicts, told, signed, variance, clip)


def test_noise_levels_of_images_in_0_to_1_are_doubled():
    config = schedule(VE).process.config
    assert config == {"name": "ve-sde", "sigma_min": 0.02, "sigma_max": 2696.0}


def test_names_of_the_oldest_block_types_are_read():
    config = CASES["v-prediction"].config
    old = {kind: [f"UNetRes{name}" for name in config[kind]] for kind in ("down_block_types", "up_block_types")}
    assert unet2d({**config, **old}, schedule(DDPM)) == unet2d(config, schedule(DDPM))


def test_what_a_configuration_leaves_out_is_as_in_diffusers():
    given = {"_class_name": "UNet2DModel", "sample_size": 32}
    model = unet2d(given, schedule(DDPM))
    assert model.config["mults"] == (1, 2, 3, 4)
    assert {key: model.config[key] for key in ("channels", "num_blocks", "head_channels", "groups", "epsilon")} == {
        "channels": 224,
        "num_blocks": 2,
        "head_channels": 8,
        "groups": 32,
        "epsilon": 1e-5,
    }
    assert sorted(model.config["attention"]) == [4, 8, 16]
    assert model.config["embedding"] == "guided"
    # An option that another version adds changes nothing while it is off.
    assert unet2d({**given, "new_option": None}, schedule(DDPM)) == model


def test_residual_blocks_that_resample_are_those_of_guided_diffusion():
    model = unet2d({**SMALL, **RESIDUAL}, schedule(DDPM))
    assert (model.config["resblock_updown"], model.config["scale_shift"], model.config["middle_groups"]) == (
        True,
        True,
        0,
    )
    published = PUBLISHED["google/ddpm-cifar10-32"]
    assert unet2d(published.config, schedule(DDPM)).config["asymmetric"]
