"""Tables as arrays that a diffusion model can be trained on: fitted on members, decoded to what they were."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from diffaudit_jax.data.codes import Categorical, Code, Constant, Label, fit_categorical, fit_label
from diffaudit_jax.data.columns import as_types, texts
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.data.quantiles import Numeric, fit_numeric
from diffaudit_jax.data.table import Table
from diffaudit_jax.types import InputError, known

Column: TypeAlias = Numeric | Categorical | Label | Constant
ROLES = {kind.role: kind for kind in (Numeric, Categorical, Label, Constant)}
SHOWN = 3


class Layout(NamedTuple):
    """What x [dim] holds: the numbers first, then a one-hot block for each of `sizes`, in the columns' order."""

    num_numeric: int
    sizes: tuple[int, ...]

    @property
    def dim(self) -> int:
        """The length of x."""
        return self.num_numeric + sum(self.sizes)


@dataclass(frozen=True, eq=False)
class Encoder:
    """What was learned of the members' columns, label included, in the table's order; columns left out are forgotten.

    A column's blocks stand where the column does among the others, a numeric column's own block (missing: no, yes) too.
    """

    columns: tuple[Column, ...]

    @property
    def layout(self) -> Layout:
        """What an encoded record holds."""
        sizes = tuple(size for column in self.columns for size in column.blocks)
        return Layout(sum(isinstance(column, Numeric) for column in self.columns), sizes)

    @property
    def label(self) -> str | None:
        """The name of the label's column, or None."""
        return None if (label := self._label()) is None else label.name

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The classes' names in the order of their numbers, or None."""
        return None if (label := self._label()) is None else label.names

    @property
    def config(self) -> dict[str, Any]:
        """All of it as JSON: `from_config` makes the same encoder of it. It holds values of members."""
        return {"columns": [{"role": column.role, **_listed(dataclasses.asdict(column))} for column in self.columns]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Encoder":
        """Returns the encoder that this is the `config` of."""
        return cls(tuple(_column(entry) for entry in config["columns"]))

    def policy(self) -> tuple[str, ...]:
        """Returns a sentence for each column that has missing values or is left out of x, to be printed."""
        return tuple(said for column in self.columns if (said := column.policy()))

    def encode(self, table: Table, *, unseen: Literal["refuse", "drop"] = "refuse") -> Pool:
        """Encodes records of the members' columns; others that the table has are ignored.

        A number beyond the members' counts as the nearest of theirs. Columns of another type than the members' are
        read as theirs (`as_types`).

        Args:
          table: Records, members or not.
          unseen: "refuse" a text that no member has, or a missing number in a column where no member's is; or "drop"
            the records that have one.

        Returns:
          float32 x [n, dim], int32 labels or None, and the table's rows, groups and name.

        Raises:
          InputError: if a column is not there, or holds what no member has and it is to be refused, or none is left.
        """
        drops = known("unseen", unseen, ("refuse", "drop")) == "drop"
        table, seen = self._cast(table), np.ones(len(table), bool)
        for column in self.columns:
            seen &= ~(bad := column.unseen(table.columns[column.name]))
            if bad.any() and not drops:
                raise InputError(_unseen(table, column, bad))
        if not seen.any():
            raise InputError(f"{table.name} has no record that holds only what members have: give some.")
        table = table if seen.all() else table.take(seen)
        x = np.zeros((len(table), self.layout.dim), np.float32)
        for column, slot, starts in self._places():
            code = column.encode(table.columns[column.name])
            if code.number is not None:
                x[:, slot] = code.number
            for start, choice in zip(starts, code.choices, strict=False):  # a label has a choice and no block
                x[np.arange(len(x)), start + choice] = 1.0
        label = self._label()
        return Pool(
            x=x,
            rows=table.rows,
            name=table.name,
            labels=None if label is None else label.encode(table.columns[label.name]).choices[0].astype(np.int32),
            groups=table.groups,
            label_names=self.label_names,
        )

    def decode(self, x: Any, labels: Any = None) -> Table:
        """Decodes to the members' columns, in their order and types.

        ``decode(encode(v))`` is v for a text. It is v for a member's number too, up to the rounding of x to float32:
        1.5e-8 of the probability between two quantiles, or 1e-7 next to the smallest and largest value. What members'
        numbers are rounded to (up to six decimals), or the fewer than 30 values they have, decoded ones are as well.

        Args:
          x: [n, dim], encoded or generated; the largest entry of a block is its choice.
          labels: int [n], the classes; needed if and only if the encoder has a label.

        Returns:
          A table of n records, their rows 0 to n - 1.

        Raises:
          InputError: if the shape is another, x is not finite, or a label is missing, uncalled for or out of range.
        """
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.layout.dim:
            raise InputError(f"x must be [n, {self.layout.dim}] to be decoded, got {x.shape}.")
        if bad := int((~np.isfinite(x)).any(axis=1).sum()):
            raise InputError(f"{bad} of {len(x)} records to decode are not finite: generate them again.")
        codes = self._checked(labels, len(x))
        columns = {}
        for column, slot, starts in self._places():
            blocks = [x[:, start : start + size] for start, size in zip(starts, column.blocks, strict=True)]
            choices = (codes,) if isinstance(column, Label) else tuple(block.argmax(axis=1) for block in blocks)
            code = Code(x[:, slot] if isinstance(column, Numeric) else None, choices)
            columns[column.name] = column.decode(code, len(x)) if isinstance(column, Constant) else column.decode(code)
        return Table(columns, np.arange(len(x)), "decoded")

    def _label(self) -> Label | None:
        return next((column for column in self.columns if isinstance(column, Label)), None)

    def _places(self) -> Iterator[tuple[Column, int, list[int]]]:
        """Yields each column with the place of its number, if it has one, and of each of its blocks."""
        slot, start = 0, self.layout.num_numeric
        for column in self.columns:
            starts = [start + sum(column.blocks[:i]) for i in range(len(column.blocks))]
            yield column, slot, starts
            slot, start = slot + isinstance(column, Numeric), start + sum(column.blocks)

    def _cast(self, table: Table) -> Table:
        for column in self.columns:
            if column.name not in table.columns:
                raise InputError(f"{table.name} has no column {column.name!r}, which the members have: add it.")
        held = {column.name: table.columns[column.name] for column in self.columns}
        kinds = {column.name: "numeric" if column.numeric else "categorical" for column in self.columns}
        return as_types(dataclasses.replace(table, columns=held), kinds)

    def _checked(self, labels: Any, n: int) -> np.ndarray:
        if (labels is None) != (self._label() is None):
            mend = "leave labels out" if self._label() is None else "give each record's class as labels"
            raise InputError(f"the encoder has label {self.label!r}: {mend}.")
        codes = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
        count = len(self.label_names or (0,))
        if codes.shape != (n,) or codes.dtype.kind not in "iu" or not ((codes >= 0) & (codes < count)).all():
            raise InputError(f"labels must be {n} whole numbers below {count}, got {codes.dtype} {codes.shape}.")
        return codes


def fit_encoder(
    members: Table, *, label: str | None = None, drop: Sequence[str] = (), num_quantiles: int = 1000
) -> Encoder:
    """Learns how to encode a table's columns, from members alone.

    Args:
      members: What the model is trained on.
      label: The column that a conditional model is told in place of modelling it: texts, or at most 20 numbers.
      drop: Columns to leave out, of what is encoded and what is decoded.
      num_quantiles: How many quantiles of a numeric column are kept, from 2; of fewer members, one for each.

    Raises:
      InputError: if a name is unknown, nothing varies, a column is free text (more different texts than 50 and than
        half the members), or the label has fewer than 2 classes or no two members of one.
    """
    for name in (*drop, *(() if label is None else (label,))):
        known("column", name, members.columns)
    if label in drop:
        raise InputError(f"label {label!r} is among the columns to drop: leave it in, or give another label.")
    if not len(members):
        raise InputError(f"{members.name} has no record to fit an encoder on: give at least one.")
    if num_quantiles < 2:
        raise InputError(f"num_quantiles={num_quantiles} is too few: give at least 2.")
    columns = [_fitted(members, name, label, num_quantiles) for name in members.columns if name not in drop]
    encoder = Encoder(tuple(columns))
    if not encoder.layout.dim:
        raise InputError(f"{members.name} has no column that varies among members, but for the label: give one.")
    return encoder


def _fitted(members: Table, name: str, label: str | None, num_quantiles: int) -> Column:
    column, where = members.columns[name], f"{members.name}: column {name!r}"
    if name == label:
        return fit_label(name, column, f"{members.name}: label {name!r}")
    if column.dtype.kind == "f":
        return fit_numeric(name, column, num_quantiles, where)
    return fit_categorical(name, column, where)


def _unseen(table: Table, column: Column, bad: np.ndarray) -> str:
    values = table.columns[column.name][bad]
    if values.dtype.kind == "f":
        values = texts(values)
    shown = sorted(set(values.tolist()))
    said = ", ".join(repr(text) for text in shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "")
    said = "a missing value" if shown == [""] else said
    where = f"1 record (row {table.rows[bad][0]})" if len(values) == 1 else f"{len(values)} records"
    return (
        f'{table.name}: column {column.name!r} has {said}, which no member has, in {where}: pass unseen="drop" (on the '
        "command line --unseen drop) to leave them out."
    )


def _listed(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}


def _column(entry: Mapping[str, Any]) -> Column:
    held: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return ROLES[held.pop("role")](**held)
