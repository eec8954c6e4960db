"""Types of columns: what is shown of them, and how they are changed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffaudit_jax.data import Table, load
from diffaudit_jax.data.columns import as_types, described, texts
from diffaudit_jax.types import InputError

TABLE = Table(
    {
        "age": np.array([39.0, np.nan, 0.5, 39.0]),
        "job": np.array(["Clerk", "?", "Nun", ""]),
        "code": np.array(["7", "?", "-2.5", ""]),
        "none": np.full(4, np.nan),
        "blank": np.full(4, ""),
    },
    np.arange(10, 14),
    "t",
)


def test_columns_are_described():
    assert [tuple(row) for row in described(TABLE)] == [
        ("age", "numeric", 2, 1, "0.5 .. 39"),
        ("job", "categorical", 2, 2, "Clerk (25%)"),
        ("code", "categorical", 2, 2, "-2.5 (25%)"),
        ("none", "numeric", 0, 4, ""),
        ("blank", "categorical", 0, 4, ""),
    ]


def test_real_columns_are_described():
    rows = {row.name: row for row in described(load("adult-3k"))}
    assert rows["education_num"][1:] == ("numeric", 16, 0, "1 .. 16")
    assert rows["workclass"][1:] == ("categorical", 7, 163, "Private (70%)")


def test_types_are_changed_and_the_rest_is_left():
    got = as_types(TABLE, {"age": "categorical", "code": "numeric", "job": "categorical", "none": "numeric"})
    assert got.columns["age"].tolist() == ["39", "", "0.5", "39"]
    np.testing.assert_array_equal(got.columns["code"], [7, np.nan, -2.5, np.nan])
    assert list(got.columns) == list(TABLE.columns)
    assert all(got.columns[key] is TABLE.columns[key] for key in ("job", "none", "blank"))
    np.testing.assert_array_equal(as_types(TABLE, {"blank": "numeric"}).columns["blank"], np.full(4, np.nan))


@given(st.lists(st.floats(allow_infinity=False)))
def test_texts_are_shortest_and_read_as_their_number(values):
    numbers = np.array(values, np.float64)
    got = texts(numbers)
    np.testing.assert_array_equal([float(text or "nan") for text in got.tolist()], numbers)
    assert all(len(text) <= len(repr(float(v))) for text, v in zip(got.tolist(), values, strict=True) if text)


@pytest.mark.parametrize(
    ("number", "text"), [(5.0, "5"), (-0.0, "0"), (0.1, "0.1"), (1e16, "1e+16"), (-3.0, "-3"), (np.nan, "")]
)
def test_texts(number, text):
    assert texts(np.array([number])).tolist() == [text]


BAD = {
    "unknown column": ({"jobs": "numeric"}, "unknown column 'jobs': did you mean 'job'"),
    "unknown type": ({"job": "text"}, "unknown type of column 'job' 'text'"),
    "words": ({"job": "numeric"}, "t: column 'job' has 'Clerk' in row 10 but numbers in 0 of 2 values"),
}


@pytest.mark.parametrize(("types", "message"), BAD.values(), ids=BAD)
def test_types_that_cannot_be_are_refused(types, message):
    with pytest.raises(InputError, match=message):
        as_types(TABLE, types)
