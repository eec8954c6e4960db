"""Numbers as a report writes them: an estimate with its interval, and shares in percent."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any


def estimate(value: dict[str, float] | None, digits: int = 2) -> str:
    """Writes an estimate with its interval, ``0.83 [0.78, 0.87]``; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def shares(value: dict[str, float] | None) -> str:
    """Writes an estimated share in percent, ``62 % [49, 73]``; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    digits = 0 if value["value"] >= 0.1 or value["high"] >= 0.2 else 1
    low, mid, high = (f"{100 * value[part]:.{digits}f}" for part in ("low", "value", "high"))
    return f"{mid}\N{NO-BREAK SPACE}% [{low}, {high}]"


def percent(value: float, _: Any = None) -> str:
    """Writes a fraction as a percentage with as many digits as it needs: 0.001 -> ``0.1 %``."""
    return f"{100 * value:.6g}\N{NO-BREAK SPACE}%"


def at_most(value: float, digits: int = 3) -> str:
    """Writes an upper bound, rounded up: 8.0449 -> ``8.05``."""
    rounding = Context(prec=digits, rounding=ROUND_CEILING)
    return f"{float(rounding.create_decimal_from_float(value)):g}"


def at_least(value: float, digits: int = 3) -> str:
    """Writes a lower bound, rounded down: 2.8994 -> ``2.89``."""
    rounding = Context(prec=digits, rounding=ROUND_FLOOR)
    return f"{float(rounding.create_decimal_from_float(value)):g}"


def p_value(value: float) -> str:
    """Writes a p-value with two digits, ``p = 0.034``; below a thousandth ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
