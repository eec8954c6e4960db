"""diffaudit train: sources, going on, and every kind of model through to its report."""

import gzip
import json
import shutil
import types

import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from diffaudit_jax import data

from .conftest import NET, TRAIN, contents


def log(run):
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_same_command_again_changes_nothing(diffaudit, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    before = contents(run)
    assert diffaudit("train", *TRAIN, "--out", run).code == 0
    assert contents(run) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lr", "0.01"), "recipe.learning_rate: 0.05 -> 0.01"),
        (("--diffusion-steps", "25"), "process.num_steps: 24 -> 25"),
        (("--members", "13"), "holds another run"),
        (("--seed", "1"), "holds another run"),
        (("--steps", "3"), "has been trained 4 steps already: ask for at least as many."),
    ],
)
def test_another_run_in_the_same_directory_is_refused(refused, trained, words, message):
    before = contents(trained)
    assert message in refused("train", *TRAIN, *words, "--out", trained)
    assert contents(trained) == before


def test_every_choice_of_model_reaches_the_report(audited):
    report = json.loads((audited / "report.json").read_text())
    assert report["provenance"]["process"]["name"] == "ddpm-cosine"
    assert report["provenance"]["model"]["num_classes"] == 10
    assert report["provenance"]["model"]["predicts"] == "v"
    assert {attack["spec"]["config"]["variance"] for attack in report["attacks"]} == {"learned"}


def full(manager, step, **_):
    raise ValueError("RESOURCE_EXHAUSTED: Error writing local file: No space left on device [os_error_code='28']")


DISKS = {
    "found before saving": (shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10**6)),
    "found while saving": (ocp.CheckpointManager, "save", full),
}


def test_a_full_disk_loses_nothing_and_more_steps_go_on_from_where_the_run_stands(
    diffaudit, refused, monkeypatch, trained, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ("train", *TRAIN, "--steps", 6, "--out", run)
    for disk in DISKS.values():
        with monkeypatch.context() as patch:
            patch.setattr(*disk)
            message = refused(*words)
        assert message.startswith(f"the disk is full, {run / 'checkpoints'} was not written: free some space and give ")
        assert contents(run / "checkpoints") == contents(trained / "checkpoints")
    ended = diffaudit(*words)
    assert (ended.code, ended.out) == (0, f"trained 6 steps into {run}; next: diffaudit audit {run} --out DIR\n")
    assert log(run) == [2, 4, 6, 6, 6]  # the two that could not be saved were done again
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["4", "6"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same forty images in every form that a path may lead to."""
    folder, pool = tmp_path_factory.mktemp("sources"), data.load("fashion-mnist-2k").take(np.arange(40))
    np.savez(folder / "set.npz", images=pool.x)
    head = bytes((0, 0, 8, 3)) + np.array((40, 28, 28), ">u4").tobytes()
    (folder / "set-idx3-ubyte.gz").write_bytes(gzip.compress(head + pool.x.tobytes()))
    (folder / "set").mkdir()
    for i, image in enumerate(pool.x):
        Image.fromarray(image[..., 0]).save(folder / "set" / f"{i:02d}.png")
    return folder


def test_every_source_of_the_same_images_gives_the_same_run(diffaudit, sources, tmp_path):
    records = []
    for source in ("set.npz", "set-idx3-ubyte.gz", "set"):
        run = tmp_path / source
        ended = diffaudit("train", "--data", sources / source, "--members", 12, *NET, "--steps", 0, "--out", run)
        assert ended.code == 0
        records.append(json.loads((run / "run.json").read_text()))
    for record in records:
        # All that are left are held out when the set has fewer than --nonmembers.
        assert [len(record["split"][side]["rows"]) for side in ("members", "nonmembers")] == [12, 28]
        assert record["split"]["members"] == records[0]["split"]["members"]
        assert record["members"] == records[0]["members"]


def test_duplicates_are_dropped_before_counting(diffaudit, sources, tmp_path):
    x = np.concatenate([np.load(sources / "set.npz")["images"]] * 2)
    np.savez(tmp_path / "twice.npz", images=x)
    words = ("--members", 12, *NET, "--steps", 0, "--duplicates", "drop")
    assert diffaudit("train", "--data", tmp_path / "twice.npz", *words, "--out", tmp_path / "run").code == 0
    split = json.loads((tmp_path / "run" / "run.json").read_text())["split"]
    assert [len(split[side]["rows"]) for side in ("members", "nonmembers")] == [12, 28]
