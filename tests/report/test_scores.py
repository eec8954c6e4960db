"""Reading scores: the three formats agree, and every kind of bad file is refused by name."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from diffaudit_jax.report import read_scores
from diffaudit_jax.types import InputError

GOOD = {"member": [True, False, True, False], "loss": [0.5, -1.25, 3.0, 0.0], "secmi": [1.0, 2.0, 3.0, 4.0]}


def write(path, columns):
    """Writes columns in the format that the path's suffix names."""
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items()}
        np.savez(path, **arrays)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        csv.write_csv(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
def test_all_formats_give_the_same_scores(tmp_path, suffix):
    scores, member = read_scores(write(tmp_path / f"scores{suffix}", GOOD))
    assert list(scores) == ["loss", "secmi"]
    assert member.dtype == bool
    np.testing.assert_array_equal(member, GOOD["member"])
    for name, values in scores.items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, GOOD[name])


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
def test_attacks_can_be_chosen(tmp_path, suffix):
    path = write(tmp_path / f"scores{suffix}", GOOD | {"name": ["a", "b", "c", "d"], "age": [30, 41, 22, 35]})
    assert list(read_scores(path, ["secmi", "loss", "secmi"])[0]) == ["secmi", "loss"]  # what is not named is not read
    with pytest.raises(InputError, match=r"'name' is not numeric: name the attacks \(attacks=..., --attack\)"):
        read_scores(path)
    with pytest.raises(InputError, match="unknown score column 'secmy': did you mean 'secmi'"):
        read_scores(path, ["secmy"])
    with pytest.raises(InputError, match="unknown score column 'member'"):
        read_scores(path, ["member"])


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
@pytest.mark.parametrize(
    "member", [[1, 0, 1, 0], [1.0, 0.0, 1.0, 0.0], ["True", "false", "TRUE", "False"], ["1", "0", "1", "0"]]
)
def test_every_spelling_of_the_truth(tmp_path, suffix, member):
    _, read = read_scores(write(tmp_path / f"scores{suffix}", GOOD | {"member": member}))
    np.testing.assert_array_equal(read, GOOD["member"])


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"member": [1, 0, 2, 0]}, "column 'member' holds 2"),
        ({"member": [1.0, 0.0, float("nan"), 0.0]}, "'member' holds"),
        ({"member": [1, 1, 1, 1]}, r"member has members only \(4 rows\): add rows of non-members"),
        ({"member": [0, 0, 0, 0]}, r"member has non-members only \(4 rows\): add rows of members"),
        ({"loss": [0.5, float("nan"), 3.0, 0.0]}, "'loss' holds nan in row 1"),
        ({"loss": [0.5, 1.0, float("-inf"), 0.0]}, "'loss' holds -inf in row 2"),
        ({"loss": ["a", "b", "c", "d"]}, "'loss' is not numeric"),
    ],
)
def test_bad_columns_are_named(tmp_path, suffix, change, says):
    with pytest.raises(InputError, match=says):
        read_scores(write(tmp_path / f"scores{suffix}", GOOD | change))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"score": [1.0, 2.0]}, "has columns score: add one named 'member'"),
        ({"member": [1, 0]}, "no column beside 'member'"),
        ({"member": [], "score": []}, "member has no rows: add one row per record"),
    ],
)
def test_missing_columns_are_named(tmp_path, suffix, columns, says):
    with pytest.raises(InputError, match=says):
        read_scores(write(tmp_path / f"scores{suffix}", columns))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loss": [1.0, 2.0]}, r"'loss' has shape \(2,\) but 'member' has \(4,\)"),
        ({"loss": np.zeros((4, 3))}, r"'loss' has shape \(4, 3\)"),
        ({"member": np.ones((4, 1), bool)}, r"'member' has shape \(4, 1\)"),
    ],
)
def test_arrays_of_wrong_shape_are_named(tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        read_scores(write(tmp_path / "scores.npz", GOOD | change))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
def test_unreadable_files_are_refused(tmp_path, suffix):
    missing, garbage = tmp_path / f"missing{suffix}", tmp_path / f"garbage{suffix}"
    garbage.write_bytes(b"\x00\xff member, score \xfe" * 7)
    for path in (missing, garbage):
        with pytest.raises(InputError, match=r"cannot read scores from .*; write the file again|has columns"):
            read_scores(path)


def test_two_flipped_bytes_are_refused(tmp_path):
    whole = io.BytesIO()
    np.savez_compressed(whole, member=np.arange(60) < 20, score=np.random.default_rng(0).normal(size=60))
    raw = whole.getvalue()
    for place in range(raw.index(b"score.npy") + 40, raw.index(b"PK\x01\x02") - 1, 7):  # inside the scores' data
        flipped = raw[:place] + bytes(byte ^ 255 for byte in raw[place : place + 2]) + raw[place + 2 :]
        (tmp_path / "scores.npz").write_bytes(flipped)
        with pytest.raises(InputError, match=r"cannot read scores from .*; write the file again\.$"):
            read_scores(tmp_path / "scores.npz")


def test_pickled_arrays_are_not_run(tmp_path):
    np.savez(tmp_path / "scores.npz", member=np.array([True, None], dtype=object), score=[1.0, 2.0])
    with pytest.raises(InputError, match="allow_pickle"):
        read_scores(tmp_path / "scores.npz")


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends in '.xlsx': scores are read from .csv, .npz, .parquet"):
        read_scores(tmp_path / "scores.xlsx")
