"""Scores from a file: the same statistics and the same page for the scores of any other tool.

A file holds one row per queried record: a column `member` (true or false, 1 or 0) and one column of scores for each
attack, where a higher score means "more likely a member". The name of the column is the name of the attack; every other
column is taken as one, unless the attacks are named.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffaudit_jax.metrics.samples import truth
from diffaudit_jax.types import InputError, known

MEMBER = "member"


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow.parquet as pq  # only who reads parquet pays for it

    table = pq.ParquetFile(path).read()
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    import pyarrow.csv as csv

    table = csv.read_csv(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


READERS = {".parquet": _read_parquet, ".npz": _read_npz, ".csv": _read_csv}
WORDS = {"true": True, "1": True, "false": False, "0": False}


def _truth(values: np.ndarray) -> np.ndarray:
    """Reads true/false, 1/0 or their spellings as bool; anything else is refused, a missing value too."""
    known = [WORDS.get(str(value).strip().lower().removesuffix(".0")) for value in values.tolist()]
    if None in known:
        wrong = values.tolist()[known.index(None)]
        raise InputError(f"column {MEMBER!r} holds {wrong!r}: use true or false, or 1 or 0, in every row.")
    return truth(np.array(known, bool))


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Reads one column as finite float64."""
    try:
        scores = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"score column {name!r} is not numeric: name the attacks (attacks=..., --attack) if it is none."
        ) from None
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"score column {name!r} holds {scores[row]} in row {row}: give every row a finite score.")
    return scores


def read_scores(
    path: str | os.PathLike[str], attacks: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reads attack scores and the truth from ``.parquet``, ``.npz`` or ``.csv``.

    Args:
      path: File with a column (or array) `member` and one or more columns of scores, all of the same length n.
      attacks: The columns of scores; every column beside `member` if none is named.

    Returns:
      The scores, name -> float64 [n], in the file's order or that of `attacks`, and the truth, bool [n].

    Raises:
      InputError: if the file cannot be read, has no `member`, no scores or not those that are named, mixes lengths,
        holds something that is not a finite number, or knows only members or only non-members.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{str(path)!r} ends in {path.suffix!r}: scores are read from {', '.join(sorted(READERS))}.")
    try:
        columns = READERS[path.suffix.lower()](path)
    except Exception as error:  # every reader fails in its own way: missing, truncated, pickled, another format
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read scores from {str(path)!r}: {reason}; write the file again.") from None
    if MEMBER not in columns:
        raise InputError(f"{str(path)!r} has columns {', '.join(columns) or 'none'}: add one named {MEMBER!r}.")
    names = [name for name in columns if name != MEMBER]
    if not names:
        raise InputError(f"{str(path)!r} has no column beside {MEMBER!r}: add one column of scores for each attack.")
    names = [known("score column", name, names) for name in dict.fromkeys(attacks)] if attacks else names
    n = columns[MEMBER].shape
    for name in (MEMBER, *names):
        if len(columns[name].shape) != 1 or columns[name].shape != n:
            raise InputError(
                f"{name!r} has shape {columns[name].shape} but {MEMBER!r} has {n}: give one value per row."
            )
    member = _truth(columns[MEMBER])
    return {name: _numbers(name, columns[name]) for name in names}, member
