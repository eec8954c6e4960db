"""Singling out: guesses such as "age <= 17 and sex = Female" that hold for exactly one record.

A guess is made from the synthetic table, where it holds for one record, and succeeds where it holds for one member.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import hypergeom

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.risks import Risk, risk_of
from diffaudit_jax.metrics.tables import matched
from diffaudit_jax.types import InputError, known

Predicates: TypeAlias = Literal["univariate", "multivariate"]
BATCH, MOST_BATCHES, NUM_SIZES = 1000, 100, 10

# What a column may be said to be; a missing number is none of the first six.
OPERATORS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "==": lambda x, v: x == v,
    "!=": lambda x, v: (x != v) & ~np.isnan(x),
    "<=": lambda x, v: x <= v,
    ">=": lambda x, v: x >= v,
    "<": lambda x, v: x < v,
    ">": lambda x, v: x > v,
    "missing": lambda x, v: np.isnan(x),
    "there": lambda x, v: ~np.isnan(x),
}
RELATIONS = tuple(OPERATORS)[:6]


class Term(NamedTuple):
    """What is said of one column: `column operator value`."""

    column: int
    operator: str
    value: float


Guess: TypeAlias = tuple[Term, ...]


class _Records(NamedTuple):
    """Distinct records: numbers, and categories by code; float64 [n, c], NaN where a number is missing."""

    values: np.ndarray
    numeric: tuple[bool, ...]

    def counts(self, guesses: Sequence[Guess]) -> np.ndarray:
        """Returns for how many records each guess holds."""
        return np.array([np.count_nonzero(self._hold(guess)) for guess in guesses], np.int64)

    def _hold(self, guess: Guess) -> np.ndarray:
        held = np.ones(len(self.values), bool)
        for term in guess:
            held &= OPERATORS[term.operator](self.values[:, term.column], term.value)
        return held


def singling_out(
    members: Table,
    synthetic: Table,
    holdout: Table | None = None,
    *,
    predicates: Predicates = "multivariate",
    num_columns: int = 3,
    guesses: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Risk:
    """Singles out members by what singles out a synthetic record.

    Univariate guesses are a column's extremes, and values that one synthetic record has. Multivariate ones take a
    synthetic record at random and say of columns at random that a category is the same, and a number as far from the
    median or further. Guesses that cannot be made count as failed. Records that are equal count once.

    Other numbers of held-out records than of members are put in proportion. Fewer members: by the chance that a guess
    which holds for c of the n held-out records holds for one of N drawn from them. More: by the curve of the
    successes against the number of records, A int_0^w n u (1 - u)^(n - 1) du, fitted to these chances at lesser N.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      holdout: Real records that did not train it.
      predicates: Whether a guess says something of one column or of several.
      num_columns: Columns of a multivariate guess; all if there are fewer.
      guesses: How many.
      level: Confidence level.
      seed: Seed of the guesses.

    Raises:
      InputError: if the tables do not have the same columns, `predicates` is unknown, or a number is out of range.

    References:
      Giomi et al. 2023, https://arxiv.org/abs/2211.10459; Cohen and Nissim 2020, https://arxiv.org/abs/1904.06009
    """
    known("predicates", predicates, ("univariate", "multivariate"))
    if guesses < 1 or num_columns < 1:
        raise InputError(f"guesses is {guesses} and num_columns {num_columns}: give 1 or more of each.")
    tables = [members, matched(members, synthetic, "synthetic")]
    tables += [] if holdout is None else [matched(members, holdout, "holdout")]
    real, drawn, *fresh = _records(tables)
    rng, univariate = np.random.default_rng(seed), predicates == "univariate"
    size = 1 if univariate else min(num_columns, len(real.numeric))
    source = _univariate(rng, drawn) if univariate else _multivariate(rng, drawn, size)
    told = _single(source, drawn, guesses)
    blind = _random(rng, drawn, size, guesses)
    main, baseline = (int((real.counts(each) == 1).sum()) for each in (told, blind))
    control = None if not fresh else _proportional(fresh[0].counts(told), len(fresh[0].values), len(real.values))
    of = predicates if univariate else f"{predicates}, {size} columns"
    return risk_of("singling out", of, guesses, main, baseline, control, level=level)


def _records(tables: Sequence[Table]) -> list[_Records]:
    columns = []
    for name in tables[0].columns:
        joined = np.concatenate([table.columns[name] for table in tables])
        columns.append(joined if joined.dtype.kind == "f" else np.unique(joined, return_inverse=True)[1].astype(float))
    parts = np.split(np.column_stack(columns), np.cumsum([len(table) for table in tables])[:-1])
    numeric = tuple(column.dtype.kind == "f" for column in tables[0].columns.values())
    return [_Records(np.asfortranarray(part[_first(part)]), numeric) for part in parts]  # asked column by column


def _first(values: np.ndarray) -> np.ndarray:
    """Returns where the first of each set of equal rows is, in order; two missing numbers are equal."""
    filled = np.where(np.isnan(values), -np.inf, values)
    order = np.lexsort(filled.T)  # stable: equal rows stay in order
    other = (filled[order[1:]] != filled[order[:-1]]).any(axis=1)
    return np.sort(order[np.concatenate([[True], other])])


def _single(source: Iterator[list[Guess]], drawn: _Records, most: int) -> list[Guess]:
    """Takes guesses that hold for one synthetic record, each once, until there are enough or no new ones come."""
    found: list[Guess] = []
    tried: set[Guess] = set()
    for batch in source:
        batch = [guess for guess in dict.fromkeys(batch) if guess not in tried]
        tried.update(batch)
        found += [guess for guess, n in zip(batch, drawn.counts(batch), strict=True) if n == 1]
        if len(found) >= most or not batch:
            break
    return found[:most]


def _univariate(rng: np.random.Generator, drawn: _Records) -> Iterator[list[Guess]]:
    terms = []
    for i, column in enumerate(drawn.values.T):
        values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        if drawn.numeric[i] and len(values):
            terms += [Term(i, "<=", values[0]), Term(i, ">=", values[-1])]
        terms += [Term(i, "==", value) for value in values[counts == 1]]
        terms += [Term(i, "missing", 0.0)]
    order = rng.permutation(len(terms))
    for start in range(0, len(order), BATCH):
        yield [(terms[i],) for i in order[start : start + BATCH]]


def _multivariate(rng: np.random.Generator, drawn: _Records, size: int) -> Iterator[list[Guess]]:
    middle = [np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0.0 for column in drawn.values.T]

    def term(i: int, value: float) -> Term:
        if np.isnan(value):
            return Term(i, "missing", 0.0)
        return Term(i, "==" if not drawn.numeric[i] else ">=" if value > middle[i] else "<=", value)

    for _ in range(MOST_BATCHES):
        rows = rng.integers(len(drawn.values), size=BATCH)
        columns = [np.sort(rng.permutation(len(middle))[:size]).tolist() for _ in rows]
        yield [tuple(term(i, float(drawn.values[row, i])) for i in at) for row, at in zip(rows, columns, strict=True)]


def _random(rng: np.random.Generator, drawn: _Records, size: int, guesses: int) -> list[Guess]:
    """Draws columns, and of each a value that the synthetic table has and a relation to it."""
    values = [np.unique(column) for column in drawn.values.T]

    def term(i: int) -> Term:
        value = rng.choice(values[i])
        if np.isnan(value):
            return Term(i, str(rng.choice(["missing", "there"])), 0.0)
        relations = RELATIONS if drawn.numeric[i] else RELATIONS[:2]
        return Term(i, str(rng.choice(relations)), float(value))

    columns = [np.sort(rng.permutation(len(values))[:size]).tolist() for _ in range(guesses)]
    return [tuple(map(term, each)) for each in columns]


def _proportional(counts: np.ndarray, n: int, members: int) -> float:
    """Returns how many guesses would hold for one of as many held-out records as there are members."""
    single = float((counts == 1).sum())
    if members == n or not len(counts):
        return single

    def expected(size: int) -> float:
        return float(hypergeom.pmf(1, n, counts, size).sum())

    if members < n:
        return expected(members)
    sizes = np.unique(np.linspace(max(1, n // NUM_SIZES), n, NUM_SIZES).astype(int)).astype(float)
    measured = np.array([expected(int(size)) for size in sizes])
    if not single or len(sizes) < 3:
        return single
    fitted = curve_fit(_successes, sizes, measured, p0=(1 / n, single / _successes(n, 1 / n, 1.0)),
                       bounds=(0, (1, np.inf)))[0]  # fmt: skip
    return min(float(single * _successes(members, *fitted) / _successes(n, *fitted)), float(len(counts)))


def _successes(n: float | np.ndarray, w: float, scale: float) -> float | np.ndarray:
    """A int_0^w n u (1 - u)^(n - 1) du: of guesses that hold for a record with any chance up to w."""
    return scale * (1.0 - (n * w + 1.0) * (1.0 - w) ** n) / (n + 1.0)
