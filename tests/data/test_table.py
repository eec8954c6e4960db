"""Tables: types, hashes, groups, and CSV files that are not."""

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.data import Table, load
from diffaudit_jax.data import table as tables
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


PINNED = [
    "0d59feef15f72b436fc6ef8db5403e74e6e18216320eef3fb86a01f64483e71c",
    "d0671492aaf142c21e3d9368db747b41e6cfb2c3420c1c3e2a88a905c02ed2d8",
    "857ef874cc0c27ebef97d829f638a4885b82d655452f0cf9a758673bea35f732",
]


@pytest.mark.parametrize("block", [1, 2, 8192])
def test_hashes_stay_what_stored_runs_know(monkeypatch, block):
    columns = {"age": [39.0, np.nan, -0.0], "job": ["Clerk", "?", 'é"日本'], "x y": [1e9, 0.1, 2.0]}
    monkeypatch.setattr(tables, "BLOCK", block)
    got = Table({key: np.array(column) for key, column in columns.items()}, np.arange(3), "t")
    assert got.hashes().tolist() == PINNED


def test_take_keeps_rows_and_groups(tmp_path):
    part = table(tmp_path, groups="job").take(np.array([3, 1]))
    assert part.rows.tolist() == [3, 1]
    assert part.groups.tolist() == [1, 0]
    assert part.fingerprint() != table(tmp_path).take(np.array([3, 1])).fingerprint()
    assert table(tmp_path, groups="age").groups.tolist() == [39, 50, 38, 39]


NUMBERS = "\n".join(["zip,age", *(f"0{i},{i}" for i in range(10, 20))])


@pytest.mark.parametrize(
    "text",
    [
        "a b,c,d\nx y,1,2;3\nu,3,4\n",
        "a b;c;d\nx y;1;2,3\n'u';3;4\n",
        "a b\tc\td\nx y\t1\t2,3\nu,v\t3\t4\n",
        "  a  c d\nx\t1   'y' \nu 3 4\n\n",
        'a c d\n"x, y" 1 2\nu 3 4\n',
    ],
)
def test_separators_are_told_by_the_first_lines(tmp_path, text):
    got = table(tmp_path, text)
    assert [len(got), len(got.columns), got.columns["c"].tolist()] == [2, 3, [1.0, 3.0]]


@pytest.mark.parametrize("text", ["full name\nJohn\nJane\n", "name\nJohn Doe\nJane Roe\n"])
def test_one_column_of_words_is_not_split(tmp_path, text):
    assert len(table(tmp_path, text).columns) == 1


def test_a_separator_that_is_said_is_taken(tmp_path):
    (tmp_path / "t.csv").write_text("full name\nJohn Doe\nJane Roe\n")
    assert read_csv(tmp_path / "t.csv", "t", separator=",").columns["full name"].tolist() == ["John Doe", "Jane Roe"]


def test_without_a_header_columns_are_numbered(tmp_path):
    (tmp_path / "t.data").write_text("A11 6 4 1\nA12 48 2 2\n")
    got = read_csv(tmp_path / "t.data", "t", header=False)
    assert (got.numeric, got.categorical, len(got)) == (("c1", "c2", "c3"), ("c0",), 2)
    with pytest.raises(InputError, match="t line 2 has 1 values for 2 columns"):
        read_csv(_written(tmp_path, "1,2\n3\n"), "t", header=False)
    with pytest.raises(InputError, match="t has no record: give at least one"):
        read_csv(_written(tmp_path, "\n"), "t", header=False)


def test_types_that_are_said_are_taken(tmp_path):
    got = read_csv(_written(tmp_path, NUMBERS), "t", types={"zip": "categorical"})
    assert got.columns["zip"][0] == "010"
    assert got.numeric == ("age",)


@pytest.mark.parametrize(("words", "refused"), [(1, True), (2, False)])
def test_a_word_among_numbers_is_a_mistake_up_to_a_tenth(tmp_path, words, refused):
    # 18 numbers and 2 words are 90 % numbers, not more; missing values do not count.
    path = _written(tmp_path, "\n".join(["a,b", *["3,x"] * 10, "?,x", *["n/a,x"] * words, *["4.5,x"] * 8]))
    if not refused:
        assert read_csv(path, "t").categorical == ("a", "b")
        return
    with pytest.raises(InputError, match=r"t: column 'a' has 'n/a' on line 13 but numbers in 18 of 19 values: mend it"):
        read_csv(path, "t")
    assert read_csv(path, "t", types={"a": "categorical"}).categorical == ("a", "b")


def _written(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


SAID = {
    "unknown column": ({"zap": "numeric"}, "unknown column 'zap': did you mean 'zip'"),
    "unknown type": ({"zip": "number"}, "unknown type of column 'zip' 'number': did you mean 'numeric'"),
    "words": ({"job": "numeric"}, "t: column 'job' has 'b' on line 2 but numbers in 1 of 3 values: mend it"),
}


@pytest.mark.parametrize(("types", "message"), SAID.values(), ids=SAID)
def test_types_that_cannot_be_are_refused(tmp_path, types, message):
    with pytest.raises(InputError, match=message):
        read_csv(_written(tmp_path, "zip,job\n1,b\n2,c\n3,4\n4,\n"), "t", types=types)


BAD = {
    "lone carriage return": ("a,b\n1,2\r3,4\n", {}, r"t.csv cannot be read as separated values \(.*\): save it again"),
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
