"""IDX files: what MNIST and its successors come as."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffaudit_jax.data import load
from diffaudit_jax.data.idx import read_idx
from diffaudit_jax.types import InputError

X = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(x: np.ndarray, code: int = 8) -> bytes:
    return struct.pack(f">BBBB{x.ndim}I", 0, 0, code, x.ndim, *x.shape) + x.tobytes()


@pytest.mark.parametrize(
    "image_name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "fashion-train-images-idx3-ubyte"]
)
@pytest.mark.parametrize("zipped", ["", "i", "l", "il"])
def test_images_find_their_labels(tmp_path, image_name, zipped):
    for kind, name, x in [
        ("i", image_name, X),
        ("l", image_name.replace("images", "labels").replace("idx3", "idx1"), LABELS),
    ]:
        path = tmp_path / (name + ".gz" * (kind in zipped))
        path.write_bytes(gzip.compress(idx(x)) if kind in zipped else idx(x))
    pool = load(tmp_path / (image_name + ".gz" * ("i" in zipped)))
    np.testing.assert_array_equal(pool.x[..., 0], X)
    np.testing.assert_array_equal(pool.labels, LABELS)
    assert pool.num_classes == 6


@given(x=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)), zipped=st.booleans())
@settings(max_examples=25, deadline=None)
def test_round_trip(tmp_path_factory, x, zipped):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(idx(x)) if zipped else idx(x))
    np.testing.assert_array_equal(read_idx(path), x)


def test_no_labels_beside(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(X))
    (tmp_path / "other").write_bytes(idx(X))
    assert load(tmp_path / "train-images-idx3-ubyte").labels is None
    assert load(tmp_path / "other").labels is None


BAD = {
    "short": (idx(X)[:-1], "should hold 76 bytes for .5, 3, 4. but has 75: copy it again"),
    "long": (idx(X) + b"x", "should hold 76 bytes .* but has 77"),
    "header cut": (idx(X)[:10], "but has 10"),
    "labels": (idx(LABELS), r"holds shape \(5,\), not images: name the \*-images-idx3-ubyte file"),
    "floats": (idx(X.astype(">f4"), 13), "no npz, IDX, CSV or Parquet file"),
    "gzip cut": (gzip.compress(idx(X))[:-6], "x cannot be unzipped .*: copy it again"),
    "gzip of text": (gzip.compress(b"hello"), "no npz, IDX, CSV or Parquet file and no folder of images"),
    "gzip head only": (b"\x1f\x8b", "no npz, IDX, CSV or Parquet file"),
    "empty": (b"", "no npz, IDX, CSV or Parquet file"),
}


@pytest.mark.parametrize(("raw", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_by_value(tmp_path, raw, message):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "x")


@pytest.mark.parametrize(
    ("labels", "message"),
    [(idx(LABELS[:3]), "3 labels for 5 images"), (b"hello", "begins with bytes 68656c6c, not 000008"),
     (idx(X), r"labels must be one value an image, got shape \(5, 3, 4\)")],
)  # fmt: skip
def test_bad_labels_are_refused_by_value(tmp_path, labels, message):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(X))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a-images-idx3-ubyte")
