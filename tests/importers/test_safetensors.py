"""Safetensors files: what the package writes, what it cannot (bfloat16), checkpoints in several files, and damage."""

import json
import struct
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffaudit_jax.importers.safetensors import DTYPES, read_safetensors
from diffaudit_jax.types import InputError

BF16 = np.dtype(ml_dtypes.bfloat16)
NAMES = {dtype: name for name, dtype in DTYPES.items()}
X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = np.array([True, False])


def raw_file(header: object, data: bytes = b"", pad: int = 0) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def written(**arrays: np.ndarray) -> bytes:
    """Returns a file by hand: the same that the package writes, and bfloat16 too."""
    header, at = {}, 0
    for name, x in arrays.items():
        header[name] = entry(NAMES[x.dtype], x.shape, (at, at + x.nbytes))
        at += x.nbytes
    return raw_file(header, b"".join(x.tobytes() for x in arrays.values()))


def read(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(raw)
    return {name: tensor.read() for name, tensor in read_safetensors(path).items()}


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for name, x in expected.items():
        assert (got[name].dtype, got[name].shape, got[name].tobytes()) == (x.dtype, x.shape, x.tobytes())


ARRAYS = st.sampled_from([dtype for dtype in NAMES if dtype != BF16]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@given(arrays=st.dictionaries(st.text(max_size=8).filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4))
@settings(max_examples=50, deadline=None)
def test_what_the_package_writes_is_read(tmp_path_factory, arrays):
    raw = safetensors.numpy.save(arrays, metadata={"format": "np"})
    same(read(tmp_path_factory.mktemp("s") / "x.safetensors", raw), arrays)


@pytest.mark.parametrize("dtype", NAMES, ids=DTYPES)
@pytest.mark.parametrize("pad", range(4))
def test_every_dtype_at_every_alignment(tmp_path, dtype, pad):
    x = (np.arange(6) % 2 if dtype == np.bool_ else np.arange(6)).astype(dtype).reshape(2, 3)
    header = {"__metadata__": {"a": "b"}, "x": entry(NAMES[dtype], [2, 3], [0, x.nbytes])}
    got = read(tmp_path / "x.safetensors", raw_file(header, x.tobytes(), pad))
    same(got, {"x": x})
    np.testing.assert_array_equal(np.asarray(jnp.asarray(got["x"], jnp.float32)), x.astype(np.float32))


def test_tensors_are_described_before_they_are_read_and_cannot_be_written(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(written(b=X.astype(BF16), a=Y))
    tensors = read_safetensors(str(tmp_path / "x.safetensors"))
    assert [(t.name, t.shape, t.dtype) for t in tensors.values()] == [("b", (2, 3), BF16), ("a", (2,), np.dtype("?"))]
    with pytest.raises(ValueError, match="read-only"):
        tensors["b"].read()[0, 0] = 1


def entries(**described: dict) -> bytes:
    """Returns a file of entries that need not fit, and as many bytes as their largest offset says."""
    return raw_file(described, bytes(max(max(each["data_offsets"]) for each in described.values())))


LACKS = "tensor x lacks a dtype, a shape or two data_offsets that can be read: copy it again"
BAD = {
    "empty": (b"", "x.safetensors is empty: copy it again"),
    "no length": (b"\1\0", "has 2 bytes, a header of 1 and at most 100000000 allowed: it is cut short"),
    "header cut": (written(x=X)[:20], "has 20 bytes, a header of 65 and"),
    "header of 2**63": (b"\0" * 7 + b"\x80" + b"{}" * 50, "a header of 9223372036854775808 "),
    "text": (b"hello, this is no file of tensors", "has 33 bytes, a header of 8367736964726416744 and"),
    "not JSON": (raw_file("{'x': 1}"), r"the header is not JSON \(JSONDecodeError\): copy the file again"),
    "not UTF-8": (struct.pack("<Q", 3) + b'"\xff"', r"the header is not JSON \(UnicodeDecodeError\)"),
    "UTF-16": (struct.pack("<Q", 4) + "{}".encode("utf-16-le"), r"the header is not JSON \(JSONDecodeError\)"),
    "deep": (raw_file("[" * 200_000), r"the header is not JSON \(RecursionError\)"),
    "long number": (raw_file("9" * 5000), r"the header is not JSON \(ValueError\)"),
    "a list": (raw_file([1]), "the header is not a JSON object"),
    "twice": (raw_file('{"x": {}, "x": {}}'), "the header names x more than once"),
    "data cut": (written(x=X)[:-1], "tensor x of shape .2, 3. ends at byte 97 but the file has 96: copy it again"),
    "data left": (written(x=X) + b"\0", "has 98 bytes but its header tells of 97"),
    "dtype": (entries(x=entry("F8_E4M3", [2, 3], [0, 6])), "tensor x is F8_E4M3, which is not read: .*BF16"),
    "dtype 32": (entries(x=entry(32)), LACKS),
    "no entry": (raw_file({"x": 3}), LACKS),
    "three offsets": (entries(x=entry(offsets=[0, 24, 24])), LACKS),
    "negative axis": (entries(x=entry(shape=[-2, -3])), LACKS),
    "axis 2.0": (entries(x=entry(shape=[2.0, 3])), LACKS),
    "axis true": (entries(x=entry("U8", [True], [0, 1])), LACKS),
    "axis 2**64": (entries(x=entry(shape=[0, 2**64], offsets=[0, 0])), LACKS),
    "array too big": (entries(x=entry(shape=[0, 2**60], offsets=[0, 0])), "tensor x .* has more elements than"),
    "rank 33": (entries(x=entry(shape=[1] * 33, offsets=[0, 4])), LACKS),
    "negative offset": (entries(x=entry(offsets=[-24, 0])), LACKS),
    "wrong length": (entries(x=entry(offsets=[0, 20])), r"x of shape .2, 3. F32 cannot lie in bytes 0 to 20"),
    "turned round": (entries(x=entry(offsets=[24, 0])), "cannot lie in bytes 24 to 0"),
    "overlap": (entries(x=entry(), y=entry(offsets=[12, 36])), "tensor y begins at byte 12 but x ends at 24"),
    "gap": (entries(x=entry(), y=entry(offsets=[26, 50])), "tensor y begins at byte 26 but x ends at 24"),
    "late start": (entries(x=entry(offsets=[2, 26])), "tensor x begins at byte 2 but the header ends at 0"),
    "outside": (raw_file({"x": entry(shape=[10], offsets=[0, 40])}, bytes(24)), "ends at byte .* but the file has"),
    "steers a terminal": (raw_file({"\x1b[2J": 3}), r"tensor '\\x1b\[2J' lacks a dtype"),
}


@pytest.mark.parametrize(("raw", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_by_value(tmp_path, raw, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.safetensors", raw)


def test_a_header_over_the_formats_limit_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "x.safetensors", "wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)  # a sparse file: the header would fit
    with pytest.raises(InputError, match="a header of 100000001 and at most 100000000 allowed"):
        read_safetensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(("name", "message"), [("none", "none is not there: name a file"), ("", "is a folder: name a")])
def test_a_path_that_is_no_file_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_safetensors(tmp_path / name)


def test_cut_anywhere_is_refused(tmp_path):
    raw = written(x=X, y=Y, z=X[:0])
    for end in range(len(raw)):
        with pytest.raises(InputError):
            read(tmp_path / "x.safetensors", raw[:end])


@given(flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_damage_is_read_as_the_package_reads_it_or_refused(tmp_path_factory, flips):
    raw = bytearray(written(x=X, y=Y, z=X[:0]))
    for at, byte in flips:
        raw[at % len(raw)] = byte
    try:
        got = read(tmp_path_factory.mktemp("s") / "x.safetensors", bytes(raw))
    except InputError as error:
        if "which is not read" not in str(error):
            with pytest.raises(safetensors.SafetensorError):
                safetensors.numpy.load(bytes(raw))
    else:
        same(got, safetensors.numpy.load(bytes(raw)))


def sharded(folder: Path, weight_map: object, **files: bytes) -> Path:
    for name, raw in files.items():
        (folder / f"{name}.safetensors").write_bytes(raw)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def test_several_files_are_one_checkpoint(tmp_path):
    weight_map = {"y": "b.safetensors", "x": "a.safetensors", "z": "b.safetensors"}
    tensors = read_safetensors(sharded(tmp_path, weight_map, a=written(x=X), b=written(y=Y, z=X.astype(BF16))))
    assert list(tensors) == ["y", "x", "z"]
    same({name: t.read() for name, t in tensors.items()}, {"y": Y, "x": X, "z": X.astype(BF16)})


BAD_INDICES = {
    "no weight_map": ([], "has no weight_map from tensors to files"),
    "a number": ({"x": 3}, "has no weight_map from tensors to files"),
    "missing file": ({"x": "c.safetensors"}, "needs c.safetensors, which is not beside it: copy that file too"),
    "missing tensor": ({"y": "a.safetensors"}, "looks for tensor y in a.safetensors, which lacks it"),
    "another folder": ({"x": "../a.safetensors"}, "names the file ../a.safetensors, not a .safetensors file beside it"),
    "anywhere": ({"x": "/a.safetensors"}, "names the file /a.safetensors, not"),
    "nothing": ({"x": ""}, "names the file , not"),
    "NUL": ({"x": "\0.safetensors"}, r"needs '\\x00.safetensors', which is not"),
    "another kind": ({"x": "a.bin"}, "names the file a.bin, not a .safetensors"),
    "damaged": ({"x": "b.safetensors"}, "b.safetensors: tensor x of shape .2, 3. ends at byte 97 but the file has 96"),
}


@pytest.mark.parametrize(("weight_map", "message"), BAD_INDICES.values(), ids=BAD_INDICES)
def test_bad_indices_are_refused_by_value(tmp_path, weight_map, message):
    with pytest.raises(InputError, match=message):
        read_safetensors(sharded(tmp_path, weight_map, a=written(x=X), b=written(x=X)[:-1]))
