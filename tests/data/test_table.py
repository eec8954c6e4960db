"""Tables: types, hashes, groups, and CSV files that are not."""

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.data import Table, load
from diffaudit_jax.data.table import read_csv
from diffaudit_jax.types import InputError

CSV = "age,job,hours\n39, Clerk,40\n50,?,\n38,Clerk,12.5\n39,Clerk,40\n"


def table(tmp_path, text: str = CSV, **options):
    (tmp_path / "t.csv").write_text(text)
    return load(tmp_path / "t.csv", **options)


def test_columns_are_typed(tmp_path):
    got = table(tmp_path)
    assert (len(got), got.numeric, got.categorical, got.name) == (4, ("age", "hours"), ("job",), "t.csv")
    np.testing.assert_array_equal(got.columns["hours"], [40, np.nan, 12.5, 40])
    assert got.columns["job"].tolist() == ["Clerk", "?", "Clerk", "Clerk"]


@pytest.mark.parametrize(
    ("values", "numeric"),
    [("1 2 3", True), ("1 2.5 -3e2", True), ("1 ? 3", True), ("1 x 3", False), ("? ? ?", False), ("1 inf 3", False)],
)
def test_what_makes_a_column_numeric(tmp_path, values, numeric):
    assert bool(table(tmp_path, "\n".join(["c", *values.split()])).numeric) == numeric


def test_gzip_and_a_byte_order_mark(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV.encode("utf-8-sig")))
    assert load(tmp_path / "t.csv.gz").fingerprint() == table(tmp_path).fingerprint()


@given(
    records=st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1)),
        min_size=1,
        max_size=6,
    ).filter(lambda records: all(text.strip() == text for _, text in records))
)
@settings(max_examples=40, deadline=None)
def test_csv_round_trip(tmp_path_factory, records):
    file = io.StringIO()
    csv.writer(file).writerows([("number", "text"), *((repr(number), f"t{text}") for number, text in records)])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(file.getvalue().encode())
    got = read_csv(path, "t")
    np.testing.assert_array_equal(got.columns["number"], [number for number, _ in records])
    assert got.columns["text"].tolist() == [f"t{text}" for _, text in records]


def test_hashes_are_of_a_record_alone(tmp_path):
    got = table(tmp_path)
    hashes = got.hashes()
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3
    # The string array is wider, and the missing value is gone, in the part; the record is the same.
    part = table(tmp_path, "age,job,hours\n39,Clerk,40\n1,A very long trade indeed,3\n")
    assert part.hashes()[0] == hashes[0]
    np.testing.assert_array_equal(got.take(np.array([2, 0])).hashes(), hashes[[2, 0]])


@pytest.mark.parametrize("other", ["a,b\nxy,z\n", "a,c\nx,yz\n", "b,a\nx,yz\n", "a,b\nx,yz \n"])
def test_hashes_tell_cells_and_names_apart(tmp_path, other):
    assert table(tmp_path, other).hashes()[0] != table(tmp_path, "a,b\nx,yz\n").hashes()[0]


def test_hashes_tell_where_a_cell_ends(tmp_path):
    # Names and values joined without lengths would spell the same text twice.
    a, b = table(tmp_path, "a,b\nx1:bUy,z\nx,y1:bUz\n").hashes()
    assert a != b


def test_hashes_know_one_zero_and_one_missing_number(tmp_path):
    assert len(set(table(tmp_path, 'a\n0\n-0.0\n?\n""\n1\n').hashes())) == 3


def test_take_keeps_rows_and_groups(tmp_path):
    part = table(tmp_path, groups="job").take(np.array([3, 1]))
    assert part.rows.tolist() == [3, 1]
    assert part.groups.tolist() == [1, 0]
    assert part.fingerprint() != table(tmp_path).take(np.array([3, 1])).fingerprint()
    assert table(tmp_path, groups="age").groups.tolist() == [39, 50, 38, 39]


BAD = {
    "no record": ("a,b\n", {}, "t.csv has no record below its header"),
    "nothing": ("", {}, "t.csv has no record below its header"),
    "short line": ("a,b\n1,2\n\n3\n", {}, "t.csv line 4 has 1 values for 2 columns"),
    "doubled name": ("a,b,a\n1,2,3\n", {}, "two columns named 'a'"),
    "unknown group": (CSV, {"groups": "jobs"}, "unknown column 'jobs': did you mean 'job'"),
    "fractional group": (CSV, {"groups": "hours"}, "groups='hours' has values that are not whole: bin it first"),
    "labels": (CSV, {"labels": "job"}, "labels='job' is for images, but t.csv is a table"),
}


@pytest.mark.parametrize(("text", "options", "message"), BAD.values(), ids=BAD)
def test_bad_tables_are_refused_by_value(tmp_path, text, options, message):
    with pytest.raises(InputError, match=message):
        table(tmp_path, text, **options)


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00", gzip.compress(b"a\n1\n")[:-4]], ids=["utf-16", "half a gzip"])
def test_what_is_not_text_is_refused(tmp_path, raw):
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(InputError, match=r"t.csv cannot be read as UTF-8 text"):
        load(tmp_path / "t.csv")


def test_two_flipped_bytes_in_a_gzip_are_refused(tmp_path):
    whole = gzip.compress(CSV.encode(), mtime=0)
    for place in range(10, len(whole) - 1):  # past the header, whose time stamp matters to nobody
        (tmp_path / "t.csv.gz").write_bytes(
            whole[:place] + bytes(byte ^ 255 for byte in whole[place : place + 2]) + whole[place + 2 :]
        )
        with pytest.raises(InputError, match=r"t.csv.gz cannot be read as UTF-8 text \("):
            load(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros(2), r"column 'a' has shape \(2,\), not \(3,\)"),
        (np.zeros(3, np.int64), "column 'a' is int64: make it"),
    ],
)
def test_a_table_checks_its_columns(column, message):
    with pytest.raises(InputError, match=message):
        Table({"a": column}, np.arange(3), "t")
