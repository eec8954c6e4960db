"""The machine that reads pickles: what Python writes it reads, what would run it refuses, and no repetition costs it.

Pickles are written opcode by opcode (torchfiles.py), inside whole files of both formats.
"""

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.importers.pickles import read_torch
from diffaudit_jax.importers.unpickle import MAX_OPCODES, MAX_PICKLE, unpickle
from diffaudit_jax.types import InputError
from tests.importers import torchfiles as tf

FILES = {"zip": tf.zip_file, "legacy": tf.legacy_file}
TENSOR = tf.tensor(tf.storage())
ORDERED, REBUILD = tf.name("collections OrderedDict"), tf.name(tf.TENSOR)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(max_size=3) | st.integers(-9, 9), inner) | st.tuples(inner, inner)
    ),
)


def read(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    read_torch(path)


@given(value=PLAIN, protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=100, deadline=None)
def test_plain_pickles_are_read_as_python_wrote_them(value, protocol):
    raw = pickle.dumps([value, value], protocol)
    got, _, length = unpickle(memoryview(raw + b"more"), "x")
    assert got == [value, value]
    assert length == len(raw)


def outside(*described: bytes) -> bytes:
    return tf.row(*described) + pickle.BINPERSID


RAN = "asks to run {}: refused, nothing was run; save its state_dict alone"
ARGUMENTS = "calls {} with arguments it cannot have: refused, nothing was run"
OUTSIDE = "keeps something outside its pickle that is no run of numbers"
KEYS = "has a dict whose keys are not short text or integers"
SHELL = tf.call("posix system", tf.text("touch ran"))
X, Y = tf.text("x"), tf.text("y")
HOSTILE = {
    "system": (SHELL, RAN.format("posix.system")),
    "system, in a dict": (tf.mapping({"x": TENSOR, "y": SHELL}), RAN.format("posix.system")),
    "eval": (tf.stack_name("builtins eval") + tf.row(tf.text("open('ran', 'w')")) + b"R", RAN.format("builtins.eval")),
    "in a tensor": (tf.call(tf.TENSOR, SHELL, tf.integer(0), tf.row(), tf.row()), RAN.format("posix.system")),
    "in a storage": (outside(tf.text("storage"), SHELL, X, X, tf.integer(6)), RAN.format("posix.system")),
    "named only": (tf.mapping({"x": TENSOR}) + tf.name("os system") + b"0", RAN.format("os.system")),
    "by a dotted name": (tf.stack_name("torch _utils.os.system"), RAN.format("torch._utils.os.system")),
    "by an attribute": (tf.stack_name("torch Size.__new__"), RAN.format("torch.Size.__new__")),
    "copyreg": (tf.call("copyreg _reconstructor", tf.row()), RAN.format("copyreg._reconstructor")),
    "load again": (tf.call("torch.storage _load_from_bytes", X), RAN.format("torch.storage._load_from_bytes")),
    "a name that steers": (tf.stack_name("a \x1b[2J"), r"asks to run 'a.\\x1b\[2J': refused"),
    "a long name": (tf.stack_name("a " + "b" * 10**5), r"asks to run a\.b{98}\.\.\.: refused"),
    "a name of numbers": (tf.integer(1) * 2 + b"\x93", "has a int where a str belongs"),
    "NEWOBJ": (ORDERED + b")" + pickle.NEWOBJ, "uses pickle opcode NEWOBJ, which no tensor"),
    "NEWOBJ_EX": (ORDERED + b")}" + pickle.NEWOBJ_EX, "uses pickle opcode NEWOBJ_EX"),
    "INST": (b"(iposix\nsystem\n", "uses pickle opcode INST"),
    "OBJ": (b"(" + ORDERED + pickle.OBJ, "uses pickle opcode OBJ"),
    "EXT1": (pickle.EXT1 + b"\1", "uses pickle opcode EXT1, which no tensor needs: refused, nothing was run"),
    "EXT4": (pickle.EXT4 + b"\1\0\0\0", "uses pickle opcode EXT4"),
    "PERSID": (b"Pstorage\n", "uses pickle opcode PERSID"),
    "no opcode": (b"\xff", "has byte ff where an opcode of its pickle belongs"),
    "call a storage": (tf.call(tf.F32, tf.integer(9)), ARGUMENTS.format("torch.FloatStorage")),
    "call a dtype": (tf.call("torch float32"), ARGUMENTS.format("torch.float32")),
    "call a tensor": (TENSOR + b")R", "has a Strided where a Name belongs"),
    "arguments no tuple": (ORDERED + tf.integer(1) + b"R", "has a int where a tuple belongs"),
    "dict of a number": (ORDERED + tf.row(tf.integer(1)) + b"R", ARGUMENTS.format("collections.OrderedDict")),
    "dict of triples": (ORDERED + tf.row(tf.sequence(tf.sequence(X, X, X))) + b"R", "calls collections.OrderedDict"),
    "dict by lists": (ORDERED + tf.row(tf.sequence(tf.sequence(b"]", X))) + b"R", KEYS),
    "size of nothing": (tf.call("torch Size"), ARGUMENTS.format("torch.Size")),
    "no storage": (tf.tensor(tf.text("0")), ARGUMENTS.format("torch._utils._rebuild_tensor_v2")),
    "few arguments": (tf.call(tf.TENSOR), "calls torch._utils._rebuild_tensor_v2 with arguments"),
    "shape of text": (
        REBUILD + tf.row(tf.storage(), tf.integer(0), tf.row(X), tf.row(X)) + b"R",
        "calls torch._utils._re",
    ),
    "offset of truth": (
        REBUILD + tf.row(tf.storage(), b"\x88", b")", b")") + b"R",
        "calls torch._utils._rebuild_tensor",
    ),
    "no parameter": (
        tf.call("torch._utils _rebuild_parameter", X),
        ARGUMENTS.format("torch._utils._rebuild_parameter"),
    ),
    "BUILD on a class": (ORDERED + tf.mapping({"x": X}) + b"b", "has a Name where a dict belongs"),
    "BUILD on a tensor": (TENSOR + b"}b", "has a Strided where a dict belongs"),
    "BUILD with a tuple": (b"}" + tf.row(b"}", b"}") + b"b", "has a tuple where a dict"),
    "append to a class": (tf.name("torch Size") + X + b"a", "has a Name where a list belongs"),
    "item of a tensor": (TENSOR + X + Y + b"s", "has a Strided where a dict belongs"),
    "key is a tuple": (b"})" + Y + b"s", KEYS),
    "key is a tensor": (b"}" + TENSOR + Y + b"s", KEYS),
    "key is long": (tf.mapping({"x" * 1001: TENSOR}), KEYS),
    "key is big": (b"}" + tf.integer(2**63) + Y + b"s", KEYS),
    "odd items": (b"}(" + X + b"u", KEYS),
    "a module outside": (outside(tf.text("module"), tf.name(tf.F32), X, X, tf.integer(6)), OUTSIDE),
    "a view outside": (outside(tf.text("storage"), tf.name(tf.F32), X, X, tf.integer(6), b")"), OUTSIDE),
    "no kind of storage": (tf.storage(kind="torch float32"), OUTSIDE),
    "negative storage": (tf.storage(length=-6), OUTSIDE),
    "one storage, two kinds": (
        tf.storage() + tf.storage(kind="torch HalfStorage"),
        "describes storage 0 in two ways: copy it",
    ),
    "a long key outside": (tf.storage("x" * 1001), OUTSIDE),
    "empty stack": (b"R", r"is damaged before byte \d+ of its pickle \(IndexError\): copy it again"),
    "no mark": (X + b"t", r"is damaged .* \(IndexError\)"),
    "below the mark": (X + b"(s", r"is damaged .* \(IndexError\)"),
    "no memo": (b"h\x07", r"is damaged .* \(KeyError\)"),
    "no UTF-8": (b"U\x01\xff", r"is damaged .* \(UnicodeDecodeError\)"),
    "unending line": (b"c" + b"x" * 2000, r"is damaged .* \(ValueError\)"),
    "2**64 bytes": (pickle.BINUNICODE8 + b"\xff" * 8, "is cut short: copy it again"),
    "4 GB of text": (pickle.BINSTRING + b"\xff" * 4, "is cut short: copy it again"),
    "empty lists": (
        b"](" + b"]" * MAX_OPCODES + b"e",
        f"has a pickle of over {MAX_OPCODES} opcodes: save its state_dict",
    ),
    "over the limit": (tf.text("x" * MAX_PICKLE), f"has a pickle of over {MAX_PICKLE} bytes: save its state_dict"),
}


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize(("value", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, monkeypatch, form, value, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.pt", FILES[form](value, {"0": bytes(24)}))
    assert os.listdir() == ["x.pt"]


@pytest.mark.skipif(os.name != "posix", reason="the pickle is written for posix")
def test_the_hostile_pickle_would_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"asks to run posix\.system"):
        read(tmp_path / "x.pt", tf.whole(SHELL))  # bare, in neither format
    assert os.listdir() == ["x.pt"]
    pickle.loads(tf.whole(SHELL))
    assert sorted(os.listdir()) == ["ran", "x.pt"]


MANY = 30_000
ONES, NONES = b"(" + b"K\1" * MANY + b"t", tf.sequence(*[b"N"] * MANY)
REPEATS = {
    # Name i is put away by "q i" and named by "h i": here arguments whose shape and strides are MANY long.
    "one shape": b"](" + ONES + b"q\0" + REBUILD + b"q\1(" + tf.storage() + b"K\0h\0h\0tq\2" + b"h\1h\2R" * MANY + b"e",
    "one list of items": b"](" + ORDERED + b"q\1" + tf.row(tf.sequence(*[tf.sequence(X, b"N")] * MANY)) + b"q\0"
    + b"h\1h\0R" * MANY + b"e",
    "one list": b"](" + NONES + b"q\0" + b"h\0" * MANY + b"e",
    "one list in itself": b"]q\0(" + b"h\0" * MANY + b"e",
    "one key": b"}" + tf.text("x" * 1000) + b"NsX\xe8\3\0\0" + b"x" * 1000 + b"q\0Ns" + b"h\0Ns" * MANY,
    "deep lists": b"]" * MANY + b"a" * (MANY - 1),
    "deep tuples": b"]" + pickle.TUPLE1 * MANY,
    "marks": b"(" * MANY,
}  # fmt: skip


@pytest.mark.parametrize("value", REPEATS.values(), ids=REPEATS)
def test_what_is_named_again_and_again_costs_nothing_again(tmp_path, value):
    # Were each naming paid for, the first three would take 10**9 steps, or a deep one the interpreter's stack.
    with pytest.raises(InputError):
        read(tmp_path / "x.pt", tf.zip_file(value, {"0": bytes(24)}))
