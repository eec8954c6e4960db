"""Generated images as a target: every sample is one of them, drawn evenly, and nothing else is offered."""

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.stats import chi2

from diffaudit_jax.access import gray_box, white_box
from diffaudit_jax.auditing import fingerprints
from diffaudit_jax.bank import draw_bank, samples
from diffaudit_jax.importers.images import from_images
from diffaudit_jax.types import InputError
from tests.oracles import SHAPE, images, pool

KEY = jax.random.key(2)
BANK = images(5)


def test_samples_are_the_bank_s_images_drawn_evenly_with_replacement():
    drawn = draw_bank(KEY, from_images(BANK), 2000, block=2000)
    index = [int(np.flatnonzero((image == BANK).all((1, 2, 3)))[0]) for image in drawn]
    counts = np.bincount(index, minlength=5)
    # P(a fair draw's statistic exceeds this) = 1e-6
    assert ((counts - 400) ** 2 / 400).sum() < chi2.isf(1e-6, 4)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_a_folder_an_npz_and_an_array_are_the_same_target(tmp_path):
    rgb = images(3, shape=(4, 4, 3))
    for i, image in enumerate(rgb):
        write(tmp_path / "folder" / f"{i}.png", image)
    np.savez(tmp_path / "bank.npz", images=rgb)
    banks = [from_images(source) for source in (tmp_path / "folder", str(tmp_path / "bank.npz"), rgb)]
    for bank in banks:
        assert bank.shape == (4, 4, 3)
        np.testing.assert_array_equal(bank.params, rgb)


def test_floats_and_grey_images_are_converted_as_data_is():
    np.testing.assert_array_equal(from_images(BANK / 127.5 - 1).params, BANK)
    assert from_images(BANK[..., 0]).shape == (4, 4, 1)


def test_the_bank_does_not_follow_the_caller_s_array():
    mine = BANK.copy()
    target = from_images(mine)
    mine[:] = 0
    np.testing.assert_array_equal(target.params, BANK)


def test_it_offers_samples_only():
    target = from_images(BANK)
    for grant in (gray_box, white_box):
        with pytest.raises(InputError, match="offers samples only"):
            grant(target)
    with pytest.raises(InputError, match="faces has images of no class in particular"):
        draw_bank(KEY, from_images(BANK, name="faces"), 2, labels=np.zeros(2, int))


def test_another_bank_is_another_target():
    hashes = {
        fingerprints(samples(), target, pool(2), KEY)["target"]
        for target in (from_images(BANK), from_images(BANK.copy()), from_images(BANK[:4]), from_images(BANK[::-1]))
    }
    assert len(hashes) == 3
    assert from_images(BANK).shape == SHAPE


def empty(folder):
    (folder / "readme.md").write_text("no image")


def mixed(folder):
    write(folder / "a.png", np.zeros((4, 4), np.uint8))
    write(folder / "b.png", np.zeros((4, 6), np.uint8))


def table(folder):
    (folder / "t.csv").write_text("a,b\n1,2\n3,4\n")


@pytest.mark.parametrize(
    ("made", "name", "says"),
    [
        (empty, ".", "has no image in it or below it"),
        (mixed, ".", r"mixes 4x4 L \(a\.png\) with 6x4 L \(b\.png\)"),
        (table, "t.csv", "is a table: name a folder or an npz of images"),
        (empty, "none", "there is no"),
    ],
)
def test_folders_that_are_no_bank_are_refused(tmp_path, made, name, says):
    made(tmp_path)
    with pytest.raises(InputError, match=says):
        from_images(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((0, 4, 4, 1), np.uint8), "holds no image"),
        (np.zeros((4, 4), np.uint8), r"images must be \[n, H, W\]"),
        (np.full((2, 4, 4, 1), np.nan), "generated"),
        (np.zeros((2, 3, 4, 5), np.uint8), "put the channels last"),
    ],
)
def test_arrays_that_are_no_bank_are_refused(array, says):
    with pytest.raises(InputError, match=says):
        from_images(array, name="generated")
