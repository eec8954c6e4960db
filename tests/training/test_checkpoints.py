"""Run directories: damaged, half-written, foreign and unfinished ones are told apart, each in one sentence."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from diffaudit_jax.models import from_linen, unet
from diffaudit_jax.training import Recipe, load_run
from diffaudit_jax.training.checkpoints import Checkpoints, claim, differences, read_config, write_config
from diffaudit_jax.training.state import init_state
from diffaudit_jax.types import InputError
from tests.training.runs import MODEL, PROCESS, RECIPE, SHAPE, train

NEWEST = RECIPE.num_steps


@pytest.fixture
def copy(stored, tmp_path):
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    return tmp_path


def newest(directory: Path) -> Path:
    return directory / "checkpoints" / str(NEWEST)


def flipped(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


DAMAGE = {
    "deleted": Path.unlink,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_any_damaged_file_is_one_clear_error(copy, unbroken, damage, capfd):
    checkpoints = Checkpoints(copy)
    files = sorted(path for path in newest(copy).rglob("*") if path.is_file() and path.name != "checksums.json")
    assert len(files) > 5
    for path in files:
        whole = path.read_bytes()
        DAMAGE[damage](path)
        with pytest.raises(InputError, match=rf"{NEWEST} is damaged \(.*{path.name} .*remove that folder and resume"):
            checkpoints.restore(unbroken.state)
        path.write_bytes(whole)
    # Nor does anything else reach the user: Orbax's threads would print a traceback for every array.
    assert "Traceback" not in "".join(capfd.readouterr())
    checkpoints.restore(unbroken.state)
    checkpoints.close()


@pytest.mark.parametrize("damage", ["truncated", "emptied"])
def test_damaged_checksums_are_damage_too(copy, damage):
    DAMAGE[damage](newest(copy) / "checksums.json")
    with pytest.raises(InputError, match="is damaged"):
        load_run(copy)


def test_a_checkpoint_whose_checksums_were_not_yet_written_is_whole(copy, unbroken):
    (newest(copy) / "checksums.json").unlink()
    jax.tree.map(np.testing.assert_array_equal, load_run(copy).state.params, unbroken.state.params)


def test_without_checksums_orbax_still_refuses_in_one_sentence(copy, caplog):
    caplog.set_level(logging.CRITICAL)
    (newest(copy) / "checksums.json").unlink()
    (newest(copy) / "default" / "_METADATA").unlink()
    with pytest.raises(InputError, match=r"is damaged \(its metadata is missing\)"):
        load_run(copy)


def test_removing_the_damaged_folder_resumes_from_the_one_before(copy, unbroken):
    shutil.rmtree(newest(copy))
    steps = []
    resumed = train(copy, progress=lambda step, num_steps, info: steps.append(step))
    assert steps == [40, 45]
    jax.tree.map(np.testing.assert_array_equal, resumed.state.params, unbroken.state.params)


def test_an_unfinished_checkpoint_is_ignored(copy):
    half = copy / "checkpoints" / "75.orbax-checkpoint-tmp"
    shutil.copytree(newest(copy), half)
    (half / "commit_success.txt").unlink()
    assert int(load_run(copy).state.step) == NEWEST


def test_the_newest_two_are_kept(stored):
    assert sorted(path.name for path in (stored / "checkpoints").iterdir()) == ["30", "45"]


def restore_into(model, directory, recipe=RECIPE):
    like = jax.eval_shape(lambda: init_state(jax.random.key(0), from_linen(model, PROCESS), recipe))
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.restore(like)
    finally:
        checkpoints.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"channels": 8},
            r"parameter down0_0/conv1/conv/bias has shape \(4,\) there and \(8,\) in the model asked for",
        ),
        ({"middle_attention": True}, r"parameter middle_attend/norm/bias has shape None there and \(4,\)"),
        ({"num_blocks": 2}, "parameter down0_1/conv1/conv/bias has shape None there"),
        ({"learn_sigma": True}, r"parameter head/conv/bias has shape \(1,\) there and \(2,\)"),
    ],
)
def test_another_architecture_is_refused_by_its_first_other_parameter(stored, options, says):
    plain = {"channels": 4, "mults": (1,), "num_blocks": 1, "middle_attention": False}
    with pytest.raises(InputError, match=f"is of another architecture: {says}"):
        restore_into(unet(SHAPE, **{**plain, **options}), stored)


def test_the_same_architecture_is_restored_whole(stored, unbroken):
    state = restore_into(MODEL, stored)
    assert jax.tree.structure(state) == jax.tree.structure(unbroken.state)
    np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(unbroken.state.key))
    for got, want in zip(state[:4], unbroken.state[:4], strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, want)
        assert [leaf.dtype for leaf in jax.tree.leaves(got)] == [leaf.dtype for leaf in jax.tree.leaves(want)]


def test_a_full_disk_is_said_before_it_is_met(copy, monkeypatch, unbroken):
    usage = shutil.disk_usage(copy)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    checkpoints = Checkpoints(copy)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(unbroken.state._replace(step=jax.numpy.int32(75)))
    checkpoints.close()
    monkeypatch.undo()
    assert int(load_run(copy).state.step) == NEWEST


def damaged_config(change):
    def write(directory):
        path = directory / "run.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return write


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda directory: (directory / "run.json").unlink(), r"is no run directory \(it has no run.json\)"),
        (lambda directory: (directory / "run.json").write_text("{"), r"run.json cannot be read"),
        (lambda directory: (directory / "run.json").write_text("[1]"), "is not a diffaudit.run record"),
        (lambda directory: (directory / "run.json").write_text('{"schema": "other"}'), "is not a diffaudit.run record"),
        (damaged_config(lambda config: config.pop("model")), "is of another version or damaged"),
        (damaged_config(lambda config: config["recipe"].update(momentum=0.9)), "is of another version or damaged"),
        (damaged_config(lambda config: config["model"].update(name="unit")), "unknown model 'unit'"),
        (lambda directory: shutil.rmtree(directory / "checkpoints"), "has no finished checkpoint"),
    ],
)
def test_a_spoilt_directory_is_refused(copy, spoil, says):
    spoil(copy)
    with pytest.raises(InputError, match=says):
        load_run(copy)


def test_a_directory_is_claimed_once(tmp_path):
    config = {"model": {"channels": 4}, "recipe": {"num_steps": 10, "batch_size": 2}}
    claim(tmp_path / "deep" / "run", config)
    assert read_config(tmp_path / "deep" / "run") == {"schema": "diffaudit.run", **config}
    claim(tmp_path / "deep" / "run", config)
    claim(tmp_path / "deep" / "run", {**config, "recipe": {"num_steps": 99, "batch_size": 2}})
    with pytest.raises(InputError, match=r"holds another run \(model.channels: 4 -> 5\)"):
        claim(tmp_path / "deep" / "run", {**config, "model": {"channels": 5}})


def test_a_directory_that_only_holds_a_killed_writers_part_is_new(tmp_path):
    (tmp_path / "run.json.123.part").write_text("{")
    claim(tmp_path, {})
    assert read_config(tmp_path) == {"schema": "diffaudit.run"}


def test_differences_name_each_place_but_the_steps():
    old = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "recipe": {"num_steps": 1, "flip": False}}
    new = {"a": 2, "b": {"c": [1, 3], "e": "y" * 50}, "recipe": {"num_steps": 2, "flip": False}}
    assert differences(old, new) == [
        "a: 1 -> 2",
        "b.c: [1, 2] -> [1, 3]",
        'b.d: "x" -> null',
        f'b.e: null -> "{"y" * 36}...',
    ]
    assert differences(old, old) == []


def test_writing_a_config_replaces_it(tmp_path):
    for num_steps in (1, 2):
        write_config(tmp_path, {"recipe": {"num_steps": num_steps}})
        assert read_config(tmp_path)["recipe"]["num_steps"] == num_steps
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert replace(Recipe(), num_steps=2).num_steps == 2
