"""Arrays that a pickle holds inside: read as NumPy wrote them, and refused if they are anything but rows of numbers."""

import pickle

import numpy as np
import pytest

from diffaudit_jax.importers.allowed import NUMPY_DTYPES, Inline
from diffaudit_jax.importers.unpickle import MAX_PICKLE, unpickle
from diffaudit_jax.types import InputError
from tests.importers import torchfiles as tf

SHAPES = [(), (1,), (3,), (2, 3), (2, 1, 3, 2), (1,) * 32]
NEW, OLD = b"numpy._core.multiarray", b"numpy.core.multiarray"  # the module's name since NumPy 2, and before


def written(value, protocol: int = 3) -> bytes:
    return pickle.dumps(value, protocol)


def read(raw: bytes, **options):
    return unpickle(memoryview(raw), "x", **options).value


@pytest.mark.parametrize("kind", NUMPY_DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("generation", ["NumPy 1", "NumPy 2", "protocol 4"])
def test_arrays_are_read_as_numpy_wrote_them(kind, shape, generation):
    x = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    raw = written([x, {"again": x}], 4 if generation == "protocol 4" else 3)
    assert NEW in raw or generation == "protocol 4"
    first, again = read(raw.replace(NEW, OLD) if generation == "NumPy 1" else raw)
    assert again == {"again": first}
    assert (first.array.dtype, first.array.shape) == (x.dtype, shape)
    np.testing.assert_array_equal(first.array, x)
    assert not first.array.flags.writeable


def test_a_type_is_told_once_for_many_arrays():
    arrays = [np.full(i + 1, i, np.float32) for i in range(3)]  # one dtype object: described once, then referred to
    raw = written(arrays)
    assert raw.count(b"dtype") == 1
    for got, x in zip(read(raw), arrays, strict=True):
        np.testing.assert_array_equal(got.array, x)


ARRAY = tf.call("numpy.core.multiarray _reconstruct", tf.name("numpy ndarray"), tf.row(tf.integer(0)), b"C\1b")
TYPE = tf.call("numpy dtype", tf.text("f4"), pickle.NEWFALSE, pickle.NEWTRUE)
ORDER = [tf.integer(3), tf.text("<"), b"N", b"N", b"N", tf.integer(-1), tf.integer(-1), tf.integer(0)]
SIX = b"C\x18" + bytes(24)


def built(shape: tuple[bytes, ...], kind: bytes = TYPE, fortran: bytes = pickle.NEWFALSE, data: bytes = SIX) -> bytes:
    return ARRAY + tf.row(tf.integer(1), tf.row(*shape), kind, fortran, data) + pickle.BUILD


def sizes(*shape: int) -> tuple[bytes, ...]:
    return tuple(map(tf.integer, shape))


NO_ROW = r"^x has an array that is no row of little-endian numbers in C order: save its state_dict alone\.$"
CALLS = "^x calls numpy.{} with arguments it cannot have: refused, nothing was run"
HOSTILE = {
    "objects": (written(np.array([None])), CALLS.format("dtype")),
    "text": (written(np.array("a")), CALLS.format("dtype")),
    "dates": (written(np.array(1, "M8[s]")), CALLS.format("dtype")),
    "records": (written(np.zeros(1, [("a", "f4")])), CALLS.format("dtype")),
    "big-endian": (written(np.zeros(3, ">f4")), NO_ROW),
    "in Fortran's order": (written(np.asfortranarray(np.ones((2, 3), np.float32))), NO_ROW),
    "empty": (written(np.zeros((0, 3), np.float32)), NO_ROW),
    "too few bytes": (tf.whole(built(sizes(7))), NO_ROW),
    "too many bytes": (tf.whole(built(sizes(5))), NO_ROW),
    "negative": (tf.whole(built(sizes(-2, -3))), NO_ROW),
    "huge": (tf.whole(built(sizes(2**200, 6))), NO_ROW),
    "huge and empty": (tf.whole(built(sizes(2**200, 0), data=b"C\0")), NO_ROW),
    "33 axes": (tf.whole(built(sizes(6, *[1] * 32))), NO_ROW),
    "an axis of truth": (tf.whole(built((*sizes(6), pickle.NEWTRUE))), NO_ROW),
    "a shape of text": (tf.whole(built((tf.text("6"),))), NO_ROW),
    "numbers as text": (tf.whole(built(sizes(6), data=tf.text("x" * 24))), NO_ROW),
    "order by a number": (tf.whole(built(sizes(6), fortran=tf.integer(0))), NO_ROW),
    "a type by name": (tf.whole(built(sizes(6), kind=tf.name("torch float32"))), NO_ROW),
    "an array from a dict": (tf.whole(ARRAY + b"}b"), NO_ROW),
    "a type from a dict": (tf.whole(TYPE + b"}b"), NO_ROW),
    "a type with fields": (tf.whole(TYPE + tf.row(*ORDER[:2], b"}", *ORDER[3:]) + b"b"), NO_ROW),
    "of another class": (
        tf.whole(ARRAY.replace(b"numpy\nndarray", b"torch\nSize")),
        CALLS.format(r"core\.multiarray\._reconstruct"),
    ),
    "a scalar": (written(np.float32(1)), r"^x asks to run numpy\._core\.multiarray\.scalar: refused, nothing was run"),
    "call the class": (tf.whole(tf.call("numpy ndarray", tf.row(tf.integer(6)))), CALLS.format("ndarray")),
}


def test_the_array_that_the_others_spoil_is_read():
    got = read(tf.whole(built(sizes(2, 3), kind=TYPE + tf.row(*ORDER) + b"b")))
    np.testing.assert_array_equal(got.array, np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(("raw", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_row_of_numbers_is_refused(raw, message):
    with pytest.raises(InputError, match=message):
        read(raw)


def test_an_array_that_was_never_built_has_no_numbers():
    got = read(tf.whole(ARRAY))
    assert isinstance(got, Inline)
    assert got.array is None


def test_a_pickle_with_its_numbers_inside_is_read_up_to_a_limit_of_its_own():
    x = np.arange(MAX_PICKLE // 4, dtype=np.float32)
    raw = written(x)
    with pytest.raises(InputError, match=f"over {MAX_PICKLE} bytes"):
        read(raw)
    np.testing.assert_array_equal(read(raw, limit=len(raw)).array, x)
    with pytest.raises(InputError, match=f"over {len(raw) - 1} bytes"):
        read(raw, limit=len(raw) - 1)
