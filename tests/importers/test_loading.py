"""A path becomes a target by what it holds, in the library and on the command line; what it cannot be is said."""

import inspect
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from diffaudit_jax import audit, importers
from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.cli import main
from diffaudit_jax.cli.subject import Weights, load_subject
from diffaudit_jax.importers.safetensors import read_safetensors, write_safetensors
from diffaudit_jax.importers.weights import read_weights
from diffaudit_jax.types import InputError, Query
from tests.importers import torchfiles
from tests.oracles import images
from tests.parity.guided_cases import CASES, FIXTURES, SIDE, fixture, state

DIFFUSERS, GUIDED = FIXTURES / "diffusers" / "ddpm", FIXTURES / "guided.pt"
FLAGS = {"image_size": SIDE, **CASES["new order"].flags}


@pytest.mark.parametrize(
    ("path", "options", "kind", "process"),
    [(DIFFUSERS, {}, "diffusers", "ddpm-linear"), (GUIDED, FLAGS, "guided-diffusion", "ddpm-linear")],
)
def test_checkpoints_become_targets_that_can_be_audited(path, options, kind, process):
    assert importers.recognise(path) == kind
    target = importers.load(path, **options)
    assert (target.shape, target.config["source"]) == ((SIDE, SIDE, 3), kind)
    assert target.process is not None
    assert target.process.config["name"] in (process, "betas")
    cond = None if target.num_classes is None else np.zeros(4, np.int32)
    queries = Query(images(4, shape=target.shape), cond, np.arange(4))
    seen = audit(loss_trajectory([0.1, 0.3]), target, queries, key=jax.random.key(0), block=4)
    assert np.isfinite(seen.scores).all()
    assert len(set(seen.scores)) == 4


@pytest.mark.parametrize("clip", [True, False])
def test_samples_are_clipped_as_the_scheduler_says(tmp_path, clip):
    folder = Path(shutil.copytree(DIFFUSERS, tmp_path / "model"))
    file = folder / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "clip_sample": clip}))
    assert importers.load(folder).config["clip"] == clip


def test_a_checkpoint_is_audited_from_the_command_line(tmp_path, capsys):
    for name, seed in (("in", 0), ("out", 1)):
        np.savez(tmp_path / f"{name}.npz", images=images(12, seed, (SIDE, SIDE, 3)))
    sides = ("--members", str(tmp_path / "in.npz"), "--nonmembers", str(tmp_path / "out.npz"))
    main(["audit", str(DIFFUSERS), *sides, "--times", "4", "--truncate", "0.5", "--out", str(tmp_path / "audit")])
    assert "report: " in capsys.readouterr().out
    provenance = json.loads((tmp_path / "audit" / "report.json").read_text())["provenance"]
    assert provenance["source"] == "diffusers"
    assert provenance["model"]["shape"] == [SIDE, SIDE, 3]
    assert provenance["data"]["members"] == str(tmp_path / "in.npz")


def test_a_checkpoint_is_sampled_from_the_command_line(tmp_path):
    main(["sample", str(DIFFUSERS), "--num", "3", "--steps", "2", "--out", str(tmp_path)])
    with np.load(tmp_path / "samples.npz") as arrays:
        assert arrays["images"].shape == (3, SIDE, SIDE, 3)
        assert len(np.unique(arrays["images"])) > 1


def test_the_command_line_says_all_that_weights_do_not_tell():
    asked = {name for name in inspect.signature(importers.guided.load).parameters if name != "path"}
    assert {field.name for field in fields(Weights)} == asked


def test_weights_further_down_in_a_file_are_read_as_flagged(tmp_path):
    weights = {name: np.float32(array) for name, array in state(fixture("plain")[0]).items()}
    strides = lambda a: tuple(n // 4 for n in a.strides)  # noqa: E731
    entries = {
        name: torchfiles.tensor(torchfiles.storage(name, array.size), array.shape, strides(array))
        for name, array in weights.items()
    }
    value = torchfiles.mapping({"ema": torchfiles.mapping(entries), "raw": torchfiles.mapping(entries)})
    path = tmp_path / "training.pt"
    path.write_bytes(torchfiles.zip_file(value, {name: array.tobytes() for name, array in weights.items()}))
    said = Weights(SIDE, num_heads=1)
    with pytest.raises(InputError, match=r"pass one of 'ema', 'raw' as key \(--key\)"):
        load_subject(path, said)
    target = load_subject(path, replace(said, key="ema", predict_xstart=True, sigma_small=True)).target
    assert target.variance == "fixed_small"
    assert target.config["network"]["predicts"] == "x0"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "legacy of protocol 4"])
def test_weights_are_told_by_their_first_bytes(tmp_path, form, suffix):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    value, path = torchfiles.mapping({"x": torchfiles.tensor(torchfiles.storage())}), tmp_path / f"weights{suffix}"
    match form:
        case "safetensors":
            write_safetensors(path, {"x": x})
        case "zip":
            path.write_bytes(torchfiles.zip_file(value, {"0": x.tobytes()}))
        case "legacy":
            path.write_bytes(torchfiles.legacy_file(value, {"0": x.tobytes()}))
        case _:
            path.write_bytes((Path(__file__).parent / "fixtures" / "legacy_protocol4_network.pt").read_bytes())
    assert importers.recognise(path) == "guided-diffusion"
    tensors = read_weights(path)
    assert "4" in form or np.array_equal(tensors["x"].read(), x)
    with pytest.raises(InputError, match=r"lacks tensor 'time_embed\.0\.weight'"):
        importers.load(path, image_size=SIDE, num_heads=1)


def test_a_folder_of_images_is_a_black_box(tmp_path, capsys):
    for i, image in enumerate(images(3, shape=(8, 8, 1))):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
    assert importers.recognise(tmp_path) == "images"
    assert importers.load(tmp_path).process is None
    np.savez(tmp_path / "in.npz", images=images(12, 0, (8, 8, 1)))
    np.savez(tmp_path / "out.npz", images=images(12, 1, (8, 8, 1)))
    sides = ("--members", str(tmp_path / "in.npz"), "--nonmembers", str(tmp_path / "out.npz"))
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(tmp_path), *sides, "--out", str(tmp_path / "audit")])
    assert ended.value.code == 2
    assert "there are generated images only, and no model to ask: give --access black." in capsys.readouterr().err


@pytest.mark.parametrize("place", ["0.png", "0.bmp", "0.WEBP", "cats/0.jpeg", "a/b/0.png", "all.npz"])
def test_generated_images_are_recognised_as_they_are_read(tmp_path, place):
    image, path = images(1, shape=(8, 8, 3)), tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, images=image, labels=np.zeros(1, int))
    else:
        Image.fromarray(image[0]).save(path)
    given = path if path.suffix == ".npz" else tmp_path
    assert importers.recognise(given) == "images"
    assert importers.load(given).shape == (8, 8, 3)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not weights, but long enough to look at")
    for path, says in {
        "nowhere": "there is no ",
        "empty": "holds no model: a run has a run.json",
        "notes.txt": "is neither a torch checkpoint nor safetensors",
    }.items():
        with pytest.raises(InputError, match=says):
            importers.load(tmp_path / path)
    with pytest.raises(InputError, match="is read as diffusers, which takes no such option"):
        importers.load(DIFFUSERS, image_size=32)


@pytest.mark.parametrize("name", ["ddpm", "ncsnpp"])
def test_what_is_saved_for_diffusers_is_what_was_loaded(tmp_path, name):
    home = FIXTURES / "diffusers" / name
    config, scheduler = (json.loads((home / file).read_text()) for file in ("config.json", "scheduler_config.json"))
    loaded = importers.diffusers.load(home)
    model, process = importers.diffusers.architecture(config, scheduler)
    assert (model, process.config) == (loaded.model, loaded.process.config)
    folder = importers.diffusers.save(tmp_path / "saved", config, scheduler, loaded.params)
    again = importers.diffusers.load(folder)
    assert again.model == loaded.model
    jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)
    tensors = read_safetensors(folder / "diffusion_pytorch_model.safetensors")
    assert {key: tensor.shape for key, tensor in tensors.items()} == importers.diffusers.tensor_shapes(model)
