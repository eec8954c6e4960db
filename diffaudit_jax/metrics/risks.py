"""Three risks of a synthetic table, after what regulators ask: singling out, linkability and inference.

Each is attacked three times with the same number of guesses: the members, by what the synthetic table tells (main);
the members, by guesses at random (baseline); and held-out records, by what the synthetic table tells (control). What
works on held-out records is knowledge of the source; the risk is what works beyond it:

    rate = (k + z^2/2) / (n + z^2),   error = z / (n + z^2) sqrt(k (n - k)/n + z^2/4)                  (Wilson)
    R = (main - control) / (1 - control),   error^2 = (dR/dmain error_main)^2 + (dR/dcontrol error_control)^2

cut to [0, 1]. The intervals are the published ones; that of R is approximate, and of many attacks some exclude 0 by
chance.

References:
  Giomi et al. 2023, https://arxiv.org/abs/2211.10459; Article 29 Working Party, Opinion 05/2014
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.metrics.mixed import mixed, nearest
from diffaudit_jax.metrics.tables import matched
from diffaudit_jax.types import InputError, known

TOLERANCE = 0.05
"""Share of its own size that a guessed number may be off."""


class Risk(NamedTuple):
    """How often one attack succeeded.

    Attributes:
      attack: Which risk: "singling out", "linkability" or "inference".
      of: What was guessed from, or what was guessed.
      guesses: Guesses n of each of the three.
      main: Successes on members.
      baseline: Successes of guesses at random, on members.
      control: Successes on held-out records; not whole where they were put in proportion. None without.
      main_rate: Rate of success, as published: its value is the centre of the Wilson interval.
      baseline_rate: The same of guesses at random.
      control_rate: The same on held-out records; None without.
      risk: R; without held-out records the main rate, which then is no risk of having been a member.
    """

    attack: str
    of: str
    guesses: int
    main: int
    baseline: int
    control: float | None
    main_rate: Estimate
    baseline_rate: Estimate
    control_rate: Estimate | None
    risk: Estimate


def linkability(
    members: Table,
    synthetic: Table,
    columns: tuple[Sequence[str], Sequence[str]],
    holdout: Table | None = None,
    *,
    k: int = 1,
    guesses: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Risk:
    """Links two halves of a record: each half's k nearest synthetic records, by Gower's distance, share one.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      columns: The columns of either half; what is in neither, nobody knows.
      holdout: Real records that did not train it.
      k: Neighbours of a half.
      guesses: Records to be linked of each kind; no more than there are of either.
      level: Confidence level.
      seed: Seed of the records and of the guesses at random.

    Raises:
      InputError: if the tables do not have the same columns, a half has none or an unknown one, the halves share one,
        or a number is out of range.
    """
    for name in (name for half in columns for name in half):
        known("column", name, members.columns)
    if not all(columns) or set(columns[0]) & set(columns[1]):
        raise InputError(f"columns is {columns}: give two sets that hold a column each, and none in common.")
    if not 1 <= k <= len(synthetic):
        raise InputError(f"k is {k} of {len(synthetic)} synthetic records: give at least 1 and no more than there are.")
    rng = np.random.default_rng(seed)
    members, synthetic, holdout, guesses = _sides(members, synthetic, holdout, guesses)

    def linked(targets: Table) -> int:
        x, y = mixed([targets, synthetic], [targets, synthetic])
        first, second = (nearest(x.of(half), y.of(half), k, 1)[0] for half in columns)
        return int((first[:, :, None] == second[:, None, :]).any(axis=(1, 2)).sum())

    halves = [np.stack([rng.permutation(len(synthetic))[:k] for _ in range(guesses)]) for _ in range(2)]
    blind = int((halves[0][:, :, None] == halves[1][:, None, :]).any(axis=(1, 2)).sum())
    found = [None if side is None else linked(_targets(rng, side, guesses)) for side in (members, holdout)]
    of = " | ".join(", ".join(half) for half in columns)
    return risk_of("linkability", of, guesses, found[0] or 0, blind, found[1], level=level)


def inference(
    members: Table,
    synthetic: Table,
    secret: str,
    holdout: Table | None = None,
    *,
    by: Sequence[str] | None = None,
    guesses: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Risk:
    """Guesses a secret column: that of the nearest synthetic record, by Gower's distance on the others.

    A number is guessed rightly if it is off by no more than a twentieth of the guess.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      secret: The column.
      holdout: Real records that did not train it.
      by: Columns that are known; all others if None.
      guesses: Records of each kind; no more than there are of either.
      level: Confidence level.
      seed: Seed of the records and of the guesses at random.

    Raises:
      InputError: if the tables do not have the same columns, a column is unknown, none is known, or a number is out of
        range.
    """
    for name in (secret, *(by or ())):
        known("column", name, members.columns)
    by = [name for name in (members.columns if by is None else by) if name != secret]
    if not by:
        raise InputError(f"{secret!r} is to be guessed from no other column: give at least one more.")
    rng = np.random.default_rng(seed)
    members, synthetic, holdout, guesses = _sides(members, synthetic, holdout, guesses)

    def guessed(targets: Table) -> int:
        x, y = (side.of(by) for side in mixed([targets, synthetic], [targets, synthetic]))
        return int(_right(synthetic.columns[secret][nearest(x, y, 1, 1)[0][:, 0]], targets.columns[secret]).sum())

    blind = rng.choice(synthetic.columns[secret], guesses)
    found = [None if side is None else _targets(rng, side, guesses) for side in (members, holdout)]
    baseline = int(_right(blind, (found[0] or members).columns[secret]).sum())
    main, control = (None if side is None else guessed(side) for side in found)
    return risk_of("inference", secret, guesses, main or 0, baseline, control, level=level)


def risk_of(
    attack: str, of: str, guesses: int, main: int, baseline: int, control: float | None, *, level: float = 0.95
) -> Risk:
    """Returns the rates and the risk of counted successes; arguments as the fields of `Risk`.

    Raises:
      InputError: if `level` is not inside (0, 1).
    """
    rates = [None if k is None else _wilson(k, guesses, level) for k in (main, baseline, control)]
    (a, error), controlled = rates[0] or (0.0, 0.0), rates[2]
    if controlled is not None:
        c, control_error = controlled
        # By the delta method: dR/dmain = 1/(1 - c), dR/dcontrol = (a - 1)/(1 - c)^2.
        error = float(np.hypot(error / (1 - c), control_error * (a - 1) / (1 - c) ** 2))
        a = (a - c) / (1 - c)
    found = [None if rate is None else _cut(*rate) for rate in rates]
    whole = Estimate(0.0, 0.0, 0.0)
    return Risk(
        attack, of, guesses, main, baseline, control, found[0] or whole, found[1] or whole, found[2], _cut(a, error)
    )


def risk_rows(risks: Sequence[Risk]) -> list[dict[str, str | float | None]]:
    """Returns risks as flat rows, for `csv.DictWriter`: counts, rates with their limits, and the risk with its own."""
    rows = []
    for risk in risks:
        row: dict[str, str | float | None] = dict(zip(Risk._fields[:6], risk[:6], strict=True))
        for name in Risk._fields[6:]:
            found = getattr(risk, name) or (None, None, None)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
        rows.append(row)
    return rows


def _wilson(k: float, n: int, level: float) -> tuple[float, float]:
    z = -float(ndtri(tail(level)))
    return (k + z * z / 2) / (n + z * z), z / (n + z * z) * float(np.sqrt(k * (n - k) / n + z * z / 4))


def _cut(value: float, error: float) -> Estimate:
    return Estimate(*(float(np.clip(each, 0.0, 1.0)) for each in (value, value - error, value + error)))


def _sides(
    members: Table, synthetic: Table, holdout: Table | None, guesses: int
) -> tuple[Table, Table, Table | None, int]:
    if guesses < 1:
        raise InputError(f"guesses is {guesses}: give 1 or more.")
    synthetic = matched(members, synthetic, "synthetic")
    holdout = None if holdout is None else matched(members, holdout, "holdout")
    return members, synthetic, holdout, min(guesses, len(members), len(members if holdout is None else holdout))


def _targets(rng: np.random.Generator, side: Table, guesses: int) -> Table:
    return side.take(rng.choice(len(side), guesses, replace=False))


def _right(guess: np.ndarray, secret: np.ndarray) -> np.ndarray:
    if guess.dtype.kind == "U":
        return guess == secret
    return (np.abs(guess - secret) <= TOLERANCE * np.abs(guess)) | (np.isnan(guess) & np.isnan(secret))
