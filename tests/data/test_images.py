"""Folders of images: every format, classes, order, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from diffaudit_jax.data import load
from diffaudit_jax.types import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def write(path, pixels=RGB, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    write(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(load(tmp_path).x, RGB[None])


def test_jpeg_is_what_pillow_decodes(tmp_path):
    write(tmp_path / "a.jpg")
    np.testing.assert_array_equal(load(tmp_path).x[0], np.asarray(Image.open(tmp_path / "a.jpg")))


@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 4]))
    )
)
@settings(max_examples=20, deadline=None)
def test_png_round_trip(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(images):
        write(folder / f"{i}.png", image[..., 0] if image.shape[-1] == 1 else image)
    np.testing.assert_array_equal(load(folder).x, images)


MODES = {
    "1": (Image.fromarray(RGB[..., 0] > 127), (RGB[..., 0] > 127)[..., None] * np.uint8(255)),
    "L": (Image.fromarray(RGB[..., 0]), RGB[..., :1]),
    "P": (Image.fromarray(RGB).quantize(24), RGB),  # 24 pixels, 24 colours
    "RGBA": (Image.fromarray(RGB).convert("RGBA"), np.dstack([RGB, np.full((4, 6), 255, np.uint8)])),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes(tmp_path, mode):
    image, pixels = MODES[mode]
    assert image.mode == mode
    write(tmp_path / "a.png", image)
    np.testing.assert_array_equal(load(tmp_path).x[0], pixels)


def test_a_palette_with_transparency_keeps_it(tmp_path):
    write(tmp_path / "a.png", Image.fromarray(RGB).quantize(8), transparency=bytes([0] * 4 + [255] * 4))
    assert set(load(tmp_path).x[..., 3].ravel().tolist()) == {0, 255}


def test_sub_folders_are_classes_sorted_by_path(tmp_path):
    for i, name in enumerate(["dog/ann/2.png", "cat/bob/1.png", "dog/ann/10.png", "cat/ann/3.png"]):
        write(tmp_path / name, np.full((2, 2), i, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    write(tmp_path / ".thumbnails" / "a.png", np.zeros((9, 9), np.uint8))
    pool = load(tmp_path, groups="folder2")
    assert pool.attributes["file"].tolist() == ["cat/ann/3.png", "cat/bob/1.png", "dog/ann/10.png", "dog/ann/2.png"]
    assert pool.x[:, 0, 0, 0].tolist() == [3, 1, 2, 0]
    assert pool.labels.tolist() == [0, 0, 1, 1]
    assert pool.label_names == ("cat", "dog")
    assert pool.groups.tolist() == [0, 1, 0, 0]
    assert pool.name == tmp_path.name


def test_a_flat_folder_has_no_labels(tmp_path):
    write(tmp_path / "a.png")
    assert load(tmp_path).labels is None


def test_sub_folders_of_different_depth_share_the_levels_all_have(tmp_path):
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "dog" / "puppy" / "1.png")
    assert set(load(tmp_path).attributes) == {"file", "folder1"}


def nothing(folder):
    (folder / "readme.md").write_text("no image")


def sizes(folder):
    write(folder / "a.png")
    write(folder / "b.png", RGB[:3])


def modes(folder):
    write(folder / "a.png")
    write(folder / "b.png", RGB[..., 0])


def damaged(folder):
    write(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])


def renamed(folder):
    (folder / "b.jpg").write_text("hello")


def deep(folder):
    write(folder / "b.png", Image.fromarray(RGB[..., 0].astype(np.uint16) * 256))


def beside(folder):
    write(folder / "stray.png")
    write(folder / "cat" / "1.png")


BAD = {
    nothing: "has no image in it or below it: looked for .png",
    sizes: r"mixes 6x4 RGB \(a.png\) with 6x3 RGB \(b.png\): convert them to one size",
    modes: r"mixes 6x4 RGB \(a.png\) with 6x4 L \(b.png\)",
    damaged: "b.png cannot be read as an image",
    renamed: "b.jpg cannot be read as an image",
    deep: "b.png has mode I;16: convert it to L, RGB or RGBA",
    beside: "has stray.png beside the class folder of cat/1.png",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_folders_are_refused_by_file(tmp_path, make):
    make(tmp_path)
    with pytest.raises(InputError, match=BAD[make]):
        load(tmp_path)
