"""Numeric columns on the scale of a normal distribution.

    z = Phi^-1(F(v)), F the members' distribution function

F is piecewise linear through the members' quantiles at 0, 1/(k - 1), ..., 1, the middle of its jump where values are
tied, 0 at the smallest and 1 at the largest; z is clipped to Phi^-1(1e-7) = -5.2 and 5.2.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from diffaudit_jax.data.codes import Code, Constant, shown
from diffaudit_jax.types import InputError

LIMIT = float(np.float32(-ndtri(1e-7)))  # a float32, so that an end is known for one after rounding
FEW_VALUES = 30
MOST_DECIMALS = 6
WIDEST = 1e300  # the gap between two quantiles, times their number, must still be a float64


@dataclass(frozen=True)
class Numeric:
    """A numeric column.

    Attributes:
      name: The column's name.
      quantiles: The members' quantiles, ascending.
      decimals: What every member's value is rounded to, and so is every decoded one; None if to nothing.
      values: The members' values if there are fewer than 30: a decoded value is the nearest of them.
      median: What a missing value is encoded as; None if no member's is missing.
    """

    role: ClassVar[str] = "numeric"
    numeric: ClassVar[bool] = True
    name: str
    quantiles: tuple[float, ...]
    decimals: int | None = None
    values: tuple[float, ...] = ()
    median: float | None = None

    @property
    def blocks(self) -> tuple[int, ...]:
        """The sizes of the blocks of choices."""
        return () if self.median is None else (2,)

    def unseen(self, column: np.ndarray) -> np.ndarray:
        """Returns where the column holds what no member has, bool [n]: a missing value; any number will do."""
        return np.isnan(column) if self.median is None else np.zeros(len(column), bool)

    def encode(self, column: np.ndarray) -> Code:
        """Returns z [n] within +-5.2, and where the value is missing."""
        missing = np.isnan(column)
        v = column if self.median is None else np.where(missing, self.median, column)
        quantiles = np.array(self.quantiles)
        levels = np.linspace(0.0, 1.0, len(quantiles))
        # From the left and from the right: their mean is the middle of a jump.
        u = 0.5 * (np.interp(v, quantiles, levels) - np.interp(-v, -quantiles[::-1], -levels[::-1]))
        u = np.where(v <= quantiles[0], 0.0, np.where(v >= quantiles[-1], 1.0, u))
        return Code(np.clip(ndtri(u), -LIMIT, LIMIT), () if self.median is None else (missing.astype(np.int64),))

    def decode(self, code: Code) -> np.ndarray:
        """Returns the values, float64 [n], as exact as the members' were."""
        z, quantiles = np.asarray(code.number, np.float64), np.array(self.quantiles)
        u = np.where(z <= -LIMIT, 0.0, np.where(z >= LIMIT, 1.0, ndtr(z)))
        v = np.interp(u, np.linspace(0.0, 1.0, len(quantiles)), quantiles)
        if self.values:
            values = np.array(self.values)
            v = values[np.searchsorted(0.5 * (values[1:] + values[:-1]), v)]
        elif self.decimals is not None:
            v = np.round(v, self.decimals)
        return np.where(code.choices[0] == 1, np.nan, v) if code.choices else v

    def policy(self) -> str | None:
        """Returns what is done with missing values, None if there are none."""
        if self.median is None:
            return None
        return (
            f"column {self.name!r} has missing values: they count as its median, {shown(self.median)}, and a block of "
            "its own says which they are."
        )


def fit_numeric(name: str, column: np.ndarray, num_quantiles: int, where: str) -> Numeric | Constant:
    """Returns what is remembered of the members' numbers."""
    present = np.sort(column[~np.isnan(column)])
    missing = len(present) < len(column)
    if not len(present):
        return Constant(name, None)
    if not -WIDEST < present[0] <= present[-1] < WIDEST:
        raise InputError(f"{where} reaches from {present[0]:g} to {present[-1]:g}: rescale it.")
    values = present[np.append(True, np.diff(present) > 0)]
    if len(values) == 1:
        return Constant(name, float(values[0]), missing)
    # Of few members each is a quantile, exactly.
    few = len(present) <= num_quantiles
    quantiles = present if few else np.quantile(present, np.linspace(0.0, 1.0, num_quantiles))
    return Numeric(
        name,
        tuple(quantiles.tolist()),
        _decimals(values),
        tuple(values.tolist()) if len(values) < FEW_VALUES else (),
        float(np.median(present)) if missing else None,
    )


def _decimals(values: np.ndarray) -> int | None:
    with np.errstate(over="ignore"):  # where a number has no room for decimals, it is whole
        fits = (d for d in range(MOST_DECIMALS + 1) if np.array_equal(np.round(values, d), values))
        return next(fits, None)
