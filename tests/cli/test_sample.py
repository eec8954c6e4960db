"""diffaudit sample: pictures and arrays of any class, going on after a stop, and what cannot be drawn."""

import json

import numpy as np
import pytest
from PIL import Image

DRAW = ("--num", 5, "--block", 4, "--steps", 2, "--sampler", "ddim")


def drawn(out):
    with np.load(out / "samples.npz") as arrays:
        return dict(arrays)


def test_samples_are_saved_as_an_array_and_as_a_picture(diffaudit, trained, tmp_path):
    ended = diffaudit("sample", trained, "--out", tmp_path, *DRAW)
    assert (ended.code, ended.out) == (0, f"samples: {tmp_path / 'grid.png'}\n")
    arrays = drawn(tmp_path)
    assert (arrays["images"].shape, arrays["images"].dtype) == ((5, 28, 28, 1), np.uint8)
    assert arrays["labels"].tolist() == [0, 1, 2, 3, 4]
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (3 * 30 * 2, 2 * 30 * 2)
        cell = np.asarray(picture)[2:58:2, 2:58:2]
    np.testing.assert_array_equal(cell, arrays["images"][0, ..., 0])
    assert json.loads((tmp_path / "samples.json").read_text())["target"]["sampler"] == "ddim"


def test_the_same_command_again_draws_the_same_and_another_is_refused(diffaudit, refused, trained, tmp_path):
    diffaudit("sample", trained, "--out", tmp_path, *DRAW)
    before = drawn(tmp_path)["images"]
    next(tmp_path.glob("blocks/block-*")).unlink()
    assert diffaudit("sample", trained, "--out", tmp_path, *DRAW).code == 0
    np.testing.assert_array_equal(drawn(tmp_path)["images"], before)
    assert "holds another audit (its key differ" in refused("sample", trained, "--out", tmp_path, *DRAW, "--seed", 1)


def test_guidance_and_a_label_change_the_samples(diffaudit, trained, tmp_path):
    for name, words in {"all": (), "shoes": ("--label", 7), "guided": ("--label", 7, "--guidance", 3)}.items():
        assert diffaudit("sample", trained, "--out", tmp_path / name, *DRAW, *words).code == 0
    images = {name: drawn(tmp_path / name) for name in ("all", "shoes", "guided")}
    assert images["shoes"]["labels"].tolist() == [7] * 5
    assert not np.array_equal(images["all"]["images"], images["shoes"]["images"])
    assert not np.array_equal(images["guided"]["images"], images["shoes"]["images"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--num", 0), "a bank holds at least 1 sample, got 0"),
        (("--sampler", "ddmi"), "unknown sampler 'ddmi': did you mean 'ddim'?"),
        (("--sampler", "heun", "--steps", 0), "a sampler takes at least 1 step, got 0"),
        (("--sampler", "euler-maruyama"), "needs a continuous process, and this is ddpm-cosine"),
        (("--sampler", "ancestral", "--steps", 25), "ddpm-cosine has 24 steps, 25 were asked for"),
        (("--label", 10), "--label must be from 0 to 9, got 10"),
    ],
)
def test_what_cannot_be_drawn_is_refused(refused, trained, tmp_path, words, says):
    assert says in refused("sample", trained, "--out", tmp_path, *words)
