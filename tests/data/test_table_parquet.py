"""Parquet: its types are the file's own, and what is no table is refused."""

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from diffaudit_jax.data import load
from diffaudit_jax.types import InputError


def stored(tmp_path, columns):
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    return load(tmp_path / "t.parquet")


TYPES = {
    "int8": (pa.array([1, None, -3], pa.int8()), [1, np.nan, -3]),
    "float32": (pa.array([0.5, None, float("nan")], pa.float32()), [0.5, np.nan, np.nan]),
    "decimal": (pa.array([decimal.Decimal("1.25"), None, None]), [1.25, np.nan, np.nan]),
    "bool": (pa.array([True, None, False]), ["True", "", "False"]),
    "string": (pa.array(["é", None, "1"]), ["é", "", "1"]),
    "large": (pa.array(["é", None, "1"], pa.large_string()), ["é", "", "1"]),
    "dictionary": (pa.array(["b", None, "a"]).dictionary_encode(), ["b", "", "a"]),
    "codes": (pa.array([7, None, 7]).dictionary_encode(), [7, np.nan, 7]),
    "null": (pa.nulls(3), ["", "", ""]),
}


@pytest.mark.parametrize(("column", "values"), TYPES.values(), ids=TYPES)
def test_types_are_the_files(tmp_path, column, values):
    got = stored(tmp_path, {"a": column, "__index_level_0__": [0, 1, 2]})
    assert (list(got.columns), got.name, got.rows.tolist()) == (["a"], "t.parquet", [0, 1, 2])
    np.testing.assert_array_equal(got.columns["a"], np.array(values))


@given(
    records=st.lists(
        st.tuples(
            st.floats(allow_infinity=False) | st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
        ),
        min_size=1,
    )
)
@settings(max_examples=40, deadline=None)
def test_round_trip(tmp_path_factory, records):
    numbers, words = zip(*records, strict=True)
    got = stored(
        tmp_path_factory.mktemp("parquet"), {"number": pa.array(numbers, pa.float64()), "word": pa.array(words)}
    )
    np.testing.assert_array_equal(got.columns["number"], [np.nan if v is None else v for v in numbers])
    assert got.columns["word"].tolist() == list(words)


def test_groups_are_a_column(tmp_path):
    stored(tmp_path, {"sex": ["m", "f"], "age": [1, 2]})
    assert load(tmp_path / "t.parquet", groups="sex").groups.tolist() == [1, 0]


BAD = {
    "date": ({"d": pa.array([0], pa.date32())}, r"t.parquet: column 'd' is date32\[day\]: store it as numbers"),
    "list": ({"d": [[1]]}, r"t.parquet: column 'd' is list<.*>: store it as"),
    "infinity": ({"d": [1.0, float("inf")]}, "t.parquet: column 'd' holds infinity, first in record 1"),
    "long integer": ({"d": [2**53 + 1]}, "t.parquet: column 'd' cannot be float64 .*: store it as strings"),
    "no record": ({"d": pa.array([], pa.int8())}, "t.parquet has no record: give at least one"),
    "no column": ({"__index_level_0__": [1]}, "t.parquet has no record: give at least one"),
}


@pytest.mark.parametrize(("columns", "message"), BAD.values(), ids=BAD)
def test_what_is_no_table_is_refused(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        stored(tmp_path, columns)


def test_a_doubled_name_is_refused(tmp_path):
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t.parquet has two columns named 'a': rename one"):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"a,b\n1,2\n"])
def test_a_damaged_file_is_refused(tmp_path, raw):
    (tmp_path / "t.parquet").write_bytes(raw)
    with pytest.raises(InputError, match=r"t.parquet cannot be read as Parquet \(.*\): save it again"):
        load(tmp_path / "t.parquet")


def test_a_file_cut_short_is_refused(tmp_path):
    stored(tmp_path, {"a": list(range(100))})
    raw = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(raw[: len(raw) // 2] + raw[-8:])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        load(tmp_path / "t.parquet")
