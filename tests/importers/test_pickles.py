"""PyTorch checkpoints: both formats as PyTorch wrote them, tensors that leave their storage, and damage.

The fixtures are PyTorch's own (make_fixtures.py); everything else is written opcode by opcode (torchfiles.py).
"""

import pickle
import struct
import zipfile
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.importers.allowed import STORAGES
from diffaudit_jax.importers.pickles import read_torch
from diffaudit_jax.types import InputError
from tests.importers import torchfiles as tf

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = ("zip", "legacy")
FILES = {"zip": tf.zip_file, "legacy": tf.legacy_file}
X = np.arange(6, dtype=np.float32)
TENSOR = tf.tensor(tf.storage())


def values(*shape: int) -> np.ndarray:
    """Returns what make_fixtures.py fills its tensors with."""
    return (np.arange(np.prod(shape)) / 2).reshape(shape)


def read(path: Path, raw: bytes, key: str | None = None) -> dict[str, np.ndarray]:
    path.write_bytes(raw)
    return {name: tensor.read() for name, tensor in read_torch(path, key).items()}


BASE = values(4, 6)
STATE = {
    "base": BASE,
    "shared": BASE,
    "part": BASE[1:3, 2:],
    "turned": BASE.T,
    "every other": BASE[::2, ::3],
    "parameter": values(3),
    "scalar": np.array(0.5),
    "empty": np.zeros((0, 3)),
}
NETWORK = {
    "0.weight": values(3, 2, 3, 3),
    "0.bias": values(3),
    "1.weight": values(3),
    "1.bias": values(3),
    "1.running_mean": values(3),
    "1.running_var": values(3),
    "1.num_batches_tracked": np.array(0),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("kind", "dtype"), [("fp32", np.float32), ("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_pytorchs_tensors_are_read_in_place(form, kind, dtype):
    tensors = read_torch(str(FIXTURES / f"{form}_{kind}.pt"))
    assert list(tensors) == list(STATE)
    for name, expected in STATE.items():
        tensor, got = tensors[name], tensors[name].read()
        assert (tensor.name, tensor.shape, tensor.dtype) == (name, expected.shape, dtype)
        assert (got.shape, got.dtype) == (expected.shape, dtype)
        np.testing.assert_array_equal(got, expected.astype(dtype))
        np.testing.assert_array_equal(np.asarray(jnp.asarray(got)), got)
    for name in ("shared", "part", "turned", "every other"):
        assert np.shares_memory(tensors["base"].read(), tensors[name].read())
    with pytest.raises(ValueError, match="read-only"):
        tensors["base"].read()[0, 0] = 1


@pytest.mark.parametrize("form", [*FORMATS, "zip_protocol4", "legacy_protocol4"])
def test_a_state_dict_and_every_dtype(form):
    network = {name: tensor.read() for name, tensor in read_torch(FIXTURES / f"{form}_network.pt").items()}
    assert list(network) == list(NETWORK)
    for name, expected in NETWORK.items():
        np.testing.assert_array_equal(network[name], expected)
    for name, tensor in read_torch(FIXTURES / f"{form}_dtypes.pt").items():
        assert str(tensor.dtype) == name
        np.testing.assert_array_equal(tensor.read(), (2 * values(2, 2)).astype(name))


@pytest.mark.parametrize(
    ("key", "expected"),
    [("model", NETWORK), ("ema/shadow_params", {"0": values(2, 2), "1": values(3)})],
)
def test_a_key_picks_one_network_of_a_training(key, expected):
    tensors = read_torch(FIXTURES / "zip_training.pt", key)
    assert list(tensors) == list(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(tensors[name].read(), x)


WHERE = "pass one of 'model', 'ema/shadow_params' as key"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, f"has tensors in more than one place: {WHERE}"),
        ("", f"has no tensors right under '': {WHERE}"),
        ("modle", f"has no tensors right under 'modle': {WHERE}"),
        ("ema", f"has no tensors right under 'ema': {WHERE}"),
        ("ema/decay/x", f"has no tensors right under 'ema/decay/x': {WHERE}"),
    ],
)
def test_where_the_tensors_are_is_listed(key, message):
    with pytest.raises(InputError, match=message):
        read_torch(FIXTURES / "zip_training.pt", key)


def test_the_top_can_be_picked_beside_other_places(tmp_path):
    raw = tf.zip_file(tf.mapping({"x": TENSOR, "ema": tf.mapping({"y": TENSOR})}), {"0": X.tobytes()})
    with pytest.raises(InputError, match=r"more than one place: pass one of '' \(the top\), 'ema' as key"):
        read(tmp_path / "x.pt", raw)
    assert list(read(tmp_path / "x.pt", raw, "")) == ["x"]
    assert list(read(tmp_path / "x.pt", raw, "ema")) == ["y"]


def test_a_long_list_of_places_is_cut(tmp_path):
    value = tf.sequence(*[tf.mapping({"x": TENSOR})] * 14)
    with pytest.raises(InputError, match=r"pass one of '0', .*, '11', \.\.\. as key \(--key\)\."):
        read(tmp_path / "x.pt", tf.zip_file(value, {"0": X.tobytes()}))


def test_a_saved_module_is_refused_by_its_class():
    with pytest.raises(
        InputError, match=r"asks to run torch.nn.modules.container.Sequential: refused, nothing was run"
    ):
        read_torch(FIXTURES / "zip_module.pt")


@pytest.mark.parametrize("form", FORMATS)
def test_the_hand_written_formats_are_read(tmp_path, form):
    strided = tf.tensor(tf.storage(), (3, 2), (1, 3))
    old = tf.call("collections OrderedDict", tf.sequence(tf.sequence(tf.text("x"), strided)))  # as Python 2 wrote it
    got = read(tmp_path / "x.pt", FILES[form](old, {"0": X.tobytes()}))
    np.testing.assert_array_equal(got["x"], X.reshape(2, 3).T)


ELSEWHERE = "reaches element 6 of a storage of 6"
BAD_TENSORS = {
    "huge shape": (
        ((10**12, 10**12), (10**12, 1)),
        r"x of shape \(1000000000000, .* has more elements than the file's",
    ),
    "repeated": (((10**6,), (0,)), r"x of shape \(1000000,\) has more elements than the file's \d+ bytes hold"),
    "one too many": (((7,), (1,)), f"x of shape .7,. {ELSEWHERE}"),
    "one too far": (((2, 3), (3, 1), 1), f"x of shape .2, 3. {ELSEWHERE}"),
    "offset beyond": (((), (), 6), f"x of shape .. {ELSEWHERE}"),
    "wide stride": (((2,), (2**70,)), "reaches element 1180591620717411303424 of a storage"),
    "negative stride": (((2, 3), (3, -1), 2), r"cannot have strides \(3, -1\) and offset 2"),
    "negative offset": (((2,), (1,), -1), r"cannot have strides \(1,\) and offset -1"),
    "negative axis": (((-2, -3), (3, 1)), r"x of shape \(-2, -3\) cannot have"),
    "few strides": (((2, 3), (1,)), r"cannot have strides \(1,\) and offset 0"),
    "too big to be empty": (((0, 2**40), (1, 1)), "has more elements than the file's"),
    "rank 33": (((1,) * 33, (1,) * 33), "calls torch._utils._rebuild_tensor_v2 with arguments"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("tensor", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, form, tensor, message):
    # The second storage lies right behind the first: an element too many would be inside the file.
    value = tf.mapping({"x": tf.tensor(tf.storage(), *tensor), "y": tf.tensor(tf.storage("2"))})
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.pt", FILES[form](value, {"0": X.tobytes(), "2": X.tobytes()}))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (tf.tensor(tf.storage(), (2, 1, 3), (3, 2**70, 1)), X.reshape(2, 1, 3)),
        (tf.tensor(tf.storage(), (0, 5), (2**70, 1), 10**9), np.zeros((0, 5))),
        (tf.tensor(tf.storage(), (2, 2), (0, 5)), X[np.array([[0, 5], [0, 5]])]),
        (tf.tensor(tf.storage(), (), (), 5), X[5]),
        (tf.call("torch._utils _rebuild_parameter", TENSOR, pickle.NEWTRUE), X.reshape(2, 3)),
    ],
    ids=["idle stride", "empty", "repeated a little", "last element", "parameter"],
)
def test_odd_but_valid_tensors_are_read(tmp_path, form, tensor, expected):
    got = read(tmp_path / "x.pt", FILES[form](tf.mapping({"x": tensor}), {"0": X.tobytes()}))
    np.testing.assert_array_equal(got["x"], expected)


@pytest.mark.parametrize("kind", STORAGES)
def test_every_kind_of_storage(tmp_path, kind):
    dtype = STORAGES[kind]
    x = (np.arange(6) % 2).astype(dtype)
    value = tf.mapping({"x": tf.tensor(tf.storage(kind=kind.replace(".", " ")))})
    for raw in (tf.zip_file(value, {"0": x.tobytes()}), tf.legacy_file(value, {"0": x.tobytes()}, dtype.itemsize)):
        got = read(tmp_path / "x.pt", raw)["x"]
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, x.reshape(2, 3))


def directory(raw: bytes, at: int, byte: int) -> bytes:
    """Returns the archive with a byte of each entry of its directory changed; `at` counts behind the signature."""
    parts = raw.split(b"PK\1\2")
    return b"PK\1\2".join([parts[0], *(part[:at] + bytes([byte]) + part[at + 1 :] for part in parts[1:])])


def shifted(raw: bytes, by: int = 100) -> bytes:
    """Returns the archive whose last entry is said to lie `by` bytes before its beginning, the others as they do."""

    def later(number: bytes) -> bytes:
        return struct.pack("<I", struct.unpack("<I", number)[0] + by)

    first, *entries = raw.split(b"PK\1\2")
    entries = [entry[:38] + later(entry[38:42]) + entry[42:] for entry in entries]
    entries[-1] = entries[-1][:38] + bytes(4) + entries[-1][42:-6] + later(entries[-1][-6:-2]) + bytes(2)
    return b"PK\1\2".join([first, *entries])


ONE, DATA = tf.mapping({"x": TENSOR}), {"0": X.tobytes()}
GOOD, OLD = tf.zip_file(ONE, DATA), tf.legacy_file(ONE, DATA)
MOVED = GOOD[:4] + GOOD[4:].replace(b"PK\3\4", b"PK\3\5")
BIG = "was saved on a big-endian machine"
BAD = {
    "empty": (b"", "x.pt is empty: copy it again"),
    "text": (b"hello", "begins with bytes 68656c6c, as no file of torch.save does: name a checkpoint"),
    "another pickle": (pickle.dumps({"a": 1}), "is a pickle but no checkpoint that torch.save wrote"),
    "another archive": (GOOD.replace(b"data.pkl", b"nada.pkl"), "is a zip archive without one NAME/data.pkl"),
    "cut archive": (GOOD[:-1], "is a zip archive cut short or damaged"),
    "big-endian": (tf.zip_file(ONE, DATA, byteorder=b"big"), BIG),
    "big-endian, old": (tf.legacy_file(ONE, DATA, little_endian=False), BIG),
    "compressed": (tf.zip_file(ONE, DATA, zipfile.ZIP_DEFLATED), "entry archive/.* is compressed or encrypted"),
    "said to be compressed": (directory(GOOD, 6, 8), "entry archive/.* is compressed or encrypted"),
    "said to be encrypted": (directory(GOOD, 4, 1), "entry archive/.* is compressed or encrypted"),
    "entries beyond the end": (directory(directory(GOOD, 19, 1), 23, 1), "should have 24 bytes but has 16777240"),
    "an unknown version": (directory(GOOD, 2, 99), "is a zip archive cut short or damaged"),
    "moved entry": (MOVED, "entry archive/data/0 is not where the archive says"),
    "an entry before the beginning": (shifted(GOOD), "entry archive/data/0 is not where the archive says"),
    "short storage": (tf.zip_file(ONE, {"0": bytes(20)}), "storage 0 should have 24 bytes but has 20: copy it again"),
    "long storage": (tf.zip_file(ONE, {"0": bytes(28)}), "storage 0 should have 24 bytes but has 28"),
    "short storage, old": (tf.legacy_file(ONE, {"0": bytes(20)}), r"the storage at byte \d+ is not the one its pickle"),
    "no storage": (tf.zip_file(ONE, {}), "storage 0 should have 24 bytes but nothing is there"),
    "no storage, old": (tf.legacy_file(ONE, {}), "storage 0 should have 24 bytes but nothing is there"),
    "unknown storage, old": (tf.legacy_file(ONE, {"1": X.tobytes()}), "is not the one its pickle tells of"),
    "cut storage, old": (
        OLD[:-1],
        r"tensor x of shape .2, 3. ends at byte \d+ but the file has",
    ),
    "no tensors": (tf.zip_file(tf.mapping({"x": tf.text("y")}), {}), "has no tensors at the top: save a state_dict"),
    "one tensor": (tf.zip_file(TENSOR, DATA), "has no tensors at the top: save a state_dict"),
}


@pytest.mark.parametrize(("raw", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_refused_by_value(tmp_path, raw, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.pt", raw)


@pytest.mark.parametrize("raw", [GOOD, OLD, (FIXTURES / "legacy_bf16.pt").read_bytes()], ids=["zip", "old", "fixture"])
def test_cut_anywhere_a_file_is_refused_or_read_as_it_was(tmp_path, raw):
    expected = {name: x.tobytes() for name, x in read(tmp_path / "x.pt", raw).items()}
    for end in range(len(raw)):
        try:
            got = read(tmp_path / "x.pt", raw[:end])
        except InputError:
            continue
        assert {name: x.tobytes() for name, x in got.items()} == expected


@pytest.mark.parametrize("file", ["zip_fp32", "legacy_fp32", "zip_protocol4_network"])
@given(flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_damage_is_refused_or_read_within_bounds(tmp_path_factory, file, flips):
    raw = bytearray((FIXTURES / f"{file}.pt").read_bytes())
    for at, byte in flips:
        raw[at % len(raw)] = byte
    try:
        got = read(tmp_path_factory.mktemp("t") / "x.pt", bytes(raw))
    except InputError:
        return
    for x in got.values():
        assert len(x.tobytes()) == x.nbytes <= len(raw)
