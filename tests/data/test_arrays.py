"""Arrays become the pool they claim to be, or are refused by value."""

import io
import itertools
import pickle
import zlib
from zipfile import BadZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffaudit_jax.data.arrays import as_codes, as_images, from_arrays, read_npz, with_columns
from diffaudit_jax.types import InputError

GREYS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
IMAGES = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3, st.sampled_from([1, 3, 4])))

# How published code stores images, each in the dtype and order of operations it uses.
STORED = {
    "bytes": lambda x: x,
    "int64": lambda x: x.astype(np.int64),
    "unit float64": lambda x: x / 255,
    "unit float32 (ToTensor)": lambda x: x.astype(np.float32) / np.float32(255),
    "unit float16": lambda x: (x / 255).astype(np.float16),
    "signed float32": lambda x: x.astype(np.float32) / np.float32(127.5) - np.float32(1),
    "signed from unit (Normalize .5 .5)": lambda x: (x.astype(np.float32) / np.float32(255) - 0.5) / np.float32(0.5),
}


@pytest.mark.parametrize("store", STORED.values(), ids=STORED)
def test_every_grey_level_comes_back_silently(store):
    np.testing.assert_array_equal(as_images(store(GREYS), "x")[..., 0], GREYS)


@pytest.mark.parametrize(
    ("x", "level", "off"),
    [(np.full((1, 2, 2), 76.75 / 255, np.float32), 77, "0.25"), (np.array([[[-1.0, 0.0]]]), 128, "0.5"),
     (np.array([[[0.0, 100.125 / 255]]]), 100, "0.12")],
)  # fmt: skip
def test_what_is_between_levels_is_rounded_with_a_warning(x, level, off):
    with pytest.warns(UserWarning, match=f"rounded to 256 grey levels, by up to {off}"):
        assert as_images(x, "x")[0, -1, -1, 0] == level


BAD_IMAGES = {
    "rank": (np.zeros((4, 4)), r"got shape \(4, 4\)"),
    "channels first": (np.zeros((2, 3, 8, 8)), r"\(2, 3, 8, 8\) has 8 channels: put the channels last"),
    "empty": (np.zeros((0, 4, 4)), r"\(0, 4, 4\) holds no image"),
    "nan": (np.array([[[0.5, np.nan]]]), r"NaN or infinity, first at index \(0, 0, 1\)"),
    "infinite": (np.array([[[0.5], [np.inf]]]), r"first at index \(0, 1, 0\)"),
    "byte range in floats": (np.full((1, 2, 2), 255.0), r"\[0, 1\] or \[-1, 1\], got \[255, 255\]"),
    "standardised": (np.array([[[-2.25, 0.5]]]), r"got \[-2.25, 0.5\]"),
    "negative integer": (np.array([[[-1, 3]]]), r"\[0, 255\], got \[-1, 3\]"),
    "16 bit": (np.array([[[65535]]], np.uint16), r"got \[65535, 65535\]"),
    "bool": (np.ones((1, 2, 2), bool), "dtype bool"),
    "text": (np.array([[["a"]]]), "dtype <U1"),
}


@pytest.mark.parametrize(("x", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_images_are_refused_by_value(x, message):
    with pytest.raises(InputError, match=message):
        as_images(x, "x")


@pytest.mark.parametrize(
    ("values", "codes", "names"),
    [([2, 0, 1], [2, 0, 1], None), ([[2], [0]], [2, 0], None), ([True, False], [1, 0], None),
     (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog"))],
)  # fmt: skip
def test_codes(values, codes, names):
    got, got_names = as_codes(values, "labels")
    np.testing.assert_array_equal(got, codes)
    assert got.dtype == np.int32
    assert got_names == names


@pytest.mark.parametrize(
    ("given_", "message"),
    [({"labels": [0.5, 1.0]}, "labels must be integers, bools or strings, got float64"),
     ({"labels": [[1, 0], [0, 1]]}, r"labels must be one value an image, got shape \(2, 2\)"),
     ({"labels": [-1, 0]}, "labels count from 0, got -1"),
     ({"labels": [0, 2], "label_names": ("a", "b")}, "label 2 has no name among the 2"),
     ({"labels": [0]}, "1 labels for 2 images"),
     ({"groups": [0, 2**40]}, "reach 0..1099511627776, beyond int32"),
     ({"attributes": {"hat": np.zeros(3)}}, "3 hat for 2 images")],
)  # fmt: skip
def test_bad_columns_are_refused_by_value(given_, message):
    with pytest.raises(InputError, match=message):
        from_arrays(np.zeros((2, 4, 4), np.uint8), **given_)


def test_a_part_still_counts_the_classes_of_the_whole():
    pool = from_arrays(np.zeros((3, 1, 1), np.uint8), labels=[0, 7, 1])
    assert pool.num_classes == pool.take(np.array([0])).num_classes == 8


@settings(max_examples=25, deadline=None)
@given(x=IMAGES, data=st.data())
def test_npz_round_trip(tmp_path_factory, x, data):
    labels = data.draw(hnp.arrays(np.int32, len(x), elements=st.integers(0, 5)))
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    np.savez(path, x=x, labels=labels, groups=labels[::-1], hat=labels > 2, unrelated=np.zeros(99))
    pool = read_npz(path, "x.npz")
    np.testing.assert_array_equal(pool.x, x)
    np.testing.assert_array_equal(pool.labels, labels)
    np.testing.assert_array_equal(pool.groups, labels[::-1])
    np.testing.assert_array_equal(pool.rows, np.arange(len(x)))
    assert set(pool.attributes) == {"hat"}


def test_first_image_key_wins(tmp_path):
    np.savez(tmp_path / "x.npz", arr_0=np.zeros((1, 2, 2), np.uint8), images=np.ones((1, 2, 2), np.uint8))
    assert read_npz(tmp_path / "x.npz", "x.npz").x.min() == 1


def npz(save=np.savez, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


BAD_FILES = {
    "no image key": (npz(pictures=GREYS), r"arrays \['pictures'\]: name the images one of images, x, arr_0"),
    "objects": (npz(x=np.array([{}, {}], dtype=object)), "cannot be read as an npz of plain arrays"),
    "truncated": (npz(x=GREYS)[:100], "cannot be read as an npz of plain arrays"),
    "empty": (b"", "cannot be read as an npz of plain arrays"),
    "text": (b"hello", "cannot be read as an npz of plain arrays"),
    "pickle": (pickle.dumps([1]), "cannot be read as an npz of plain arrays"),
    "a single npy": ((lambda f: (np.save(f, GREYS), f.getvalue())[1])(io.BytesIO()), "it is a single array"),
}


@pytest.mark.parametrize(("raw", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_damaged_npz_is_refused(tmp_path, raw, message):
    (tmp_path / "x.npz").write_bytes(raw)
    with pytest.raises(InputError, match=f"x.npz.*{message}|x.npz has {message}"):
        read_npz(tmp_path / "x.npz", "x.npz")


def test_two_flipped_bytes_anywhere_are_read_around_or_refused(tmp_path):
    """The checksum covers the data; a flip in the file's directory may hit a time stamp, or look like encryption."""
    whole = npz(np.savez_compressed, x=GREYS, labels=np.arange(1))
    refused = []
    for place, mask in itertools.product(range(len(whole) - 1), (1, 255)):
        flipped = bytearray(whole)
        flipped[place] ^= mask
        flipped[place + 1] ^= mask
        (tmp_path / "x.npz").write_bytes(flipped)
        try:
            np.testing.assert_array_equal(read_npz(tmp_path / "x.npz", "x.npz").x[..., 0], GREYS)
        except InputError as error:
            refused.append(type(error.__cause__))
    assert {zlib.error, NotImplementedError, RuntimeError, BadZipFile} <= set(refused)
    assert len(refused) > len(whole)  # of twice as many


def test_columns_by_name():
    pool = from_arrays(
        np.zeros((3, 1, 1), np.uint8),
        attributes={"hat": np.array([True, False, True]), "who": np.array(["b", "a", "b"])},
    )
    pool = with_columns(pool, labels="who", groups="hat")
    np.testing.assert_array_equal(pool.labels, [1, 0, 1])
    np.testing.assert_array_equal(pool.groups, [1, 0, 1])
    assert pool.label_names == ("a", "b")
    with pytest.raises(InputError, match="unknown attribute 'hats': did you mean 'hat'"):
        with_columns(pool, groups="hats")


def test_no_attribute_to_name():
    with pytest.raises(InputError, match="arrays has no attributes, so 'sex' cannot be one"):
        with_columns(from_arrays(np.zeros((3, 1, 1), np.uint8)), groups="sex")
