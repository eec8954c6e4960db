"""Who was trained on and who was not.

Every random choice is made by a record's own 64 bits, drawn from `fold_in(key, row)`: a split depends on the key and
the rows, not on the order of the pool, and a coin does not depend on which other records were tossed for.
"""

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias

import jax
import numpy as np

from diffaudit_jax.data.draws import coins, draws, typed
from diffaudit_jax.data.overlap import Duplicates, check_distinct, dropped, kept
from diffaudit_jax.data.pool import Pool, R, Records, concatenate, renumbered
from diffaudit_jax.types import InputError, Key, Query, known

By: TypeAlias = Literal["record", "group"]

FEW_GROUPS = 20


@dataclass(frozen=True, eq=False)
class Split(Generic[R]):
    """The sides of an audit, pools or tables; no record, by content, is on two of them, but for copies of members.

    Attributes:
      members: Trained on and asked about.
      nonmembers: Asked about, not trained on.
      reference: For shadow and reference models; neither trained on nor asked about.
      always: Trained on, never asked about: others, or further copies of members that were planted.
      by: What was dealt to the sides, "record" or "group".
      coin: P[member] of the coin that each record asked about had for itself; None if the sides have fixed sizes.
    """

    members: R
    nonmembers: R
    reference: R | None = None
    always: R | None = None
    by: By = field(default="record", kw_only=True)
    coin: float | None = field(default=None, kw_only=True)

    @property
    def training(self: "Split[Pool]") -> Pool:
        """What the target is trained on: the members, then those always in."""
        return self.members if self.always is None else concatenate(self.members, self.always)

    @property
    def queries(self: "Split[Pool]") -> Query:
        """What is asked: uint8 x [n, H, W, C], the labels or None, int64 rows [n]; members first."""
        asked = concatenate(self.members, self.nonmembers)
        return Query(asked.x, asked.labels, asked.rows)

    @property
    def member(self) -> np.ndarray:
        """The truth about `queries`, bool [n]."""
        return np.arange(len(self.members) + len(self.nonmembers)) < len(self.members)

    @property
    def groups(self: "Split[Pool]") -> np.ndarray | None:
        """The person behind each of `queries`, int [n]; None unless whole groups were dealt to the sides.

        Groups that a split by record mixed may be a sensitive attribute, whose records are no less independent.
        """
        return concatenate(self.members, self.nonmembers).groups if self.by == "group" else None


def split(
    key: Key,
    pool: R,
    *,
    members: int,
    nonmembers: int,
    reference: int = 0,
    duplicates: Duplicates = "refuse",
    by: By | None = None,
) -> Split[R]:
    """Draws disjoint sides of exactly these sizes from one pool.

    By group, no group is on two sides: groups are dealt in random order, each side takes whole ones until it is full,
    and what is over of its last group is left out of every side. That is right for people, and wrong for a sensitive
    attribute, where it would make the sides differ by more than membership.

    Args:
      key: Typed random key.
      pool: Where to draw from, a pool or a table; rows must differ.
      members: How many to train on, from 1.
      nonmembers: How many to hold out; 0 for a model that nobody will ask about membership.
      reference: How many to keep for shadow and reference models.
      duplicates: "refuse" a draw with equal records on two sides, or "drop" all but the first before drawing.
      by: "record" or "group"; None is by group if the pool has at least 20 groups, and by record if it has none.

    Raises:
      InputError: if the pool is too small, records are on two sides, or `by` is not given for few groups.
    """
    sizes = {"members": members, "nonmembers": nonmembers, "reference": reference}
    unit, pool = _by(by, pool), dropped(pool, duplicates)
    dealt = [pool.take(side) for side in _deal(key, pool, sizes, unit, least=(1, 0, 0))]
    kept(dict(zip(sizes, dealt, strict=True)), "refuse")
    return Split(dealt[0], dealt[1], dealt[2] if reference else None, by=unit)


def split_coin(
    key: Key,
    pool: R,
    *,
    queries: int,
    prob: float = 0.5,
    always: int = 0,
    duplicates: Duplicates = "refuse",
    by: By | None = None,
) -> Split[R]:
    """Makes each of `queries` records a member by a coin of its own, as auditing in one run asks.

    Equal records are refused before the coins are tossed, whatever side they would fall on: refusing by outcome would
    make the coins dependent. By group, one record of each group is kept, so that coins are independent by person too.

    Args:
      key: Typed random key.
      pool: Where to draw from, a pool or a table; rows must differ.
      queries: How many records to toss for, from 1; the sizes of the sides are random, and a side may be empty.
      prob: P[member], in (0, 1).
      always: How many further records are trained on in any case and never asked about.
      duplicates: "refuse" a draw that holds a record twice, or "drop" all but the first before drawing.
      by: As in `split`.

    Raises:
      InputError: if the pool is too small, a record occurs twice, `prob` is not in (0, 1), or `by` is missing.

    References:
      Steinke, Nasr and Jagielski 2023, https://arxiv.org/abs/2305.08846
    """
    if not 0 < prob < 1:
        raise InputError(f"prob={prob} leaves nothing to guess: give a probability strictly between 0 and 1.")
    unit, pool = _by(by, pool), dropped(pool, duplicates)
    key_person, key_deal, key_coin = jax.random.split(typed(key), 3)
    if unit == "group":
        order = np.argsort(draws(key_person, pool.rows), kind="stable")
        pool = pool.take(order[np.unique(_groups(pool, unit)[order], return_index=True)[1]])
    sizes = {"queries": queries, "always": always}
    sides = _deal(key_deal, pool, sizes, "record", least=(1, 0))
    check_distinct(pool.take(np.concatenate(sides)))
    asked, trained = map(pool.take, sides)
    inside = coins(key_coin, asked.rows, prob)
    return Split(asked.take(inside), asked.take(~inside), always=trained if always else None, by=unit, coin=prob)


def pair(members: Pool, nonmembers: Pool, reference: Pool | None = None, *, duplicates: Duplicates = "refuse") -> Split:
    """Makes a split of pools that come separately, as a user's own members and non-members do.

    Rows are renumbered to count through members, non-members and reference, so that they differ:
    ``renumbered(concatenate(members, nonmembers))`` is the pool they index. Groups are not compared: two sources may
    number people differently, so the split is one by record.

    Args:
      members: What the model was trained on.
      nonmembers: What it was not.
      reference: For shadow and reference models.
      duplicates: "refuse" equal records on two sides, or "drop" all but the first, members coming first.

    Raises:
      InputError: if images or classes differ in form, a record is on two sides, or a side is empty.
    """
    sides = {"members": members, "nonmembers": nonmembers} | ({} if reference is None else {"reference": reference})
    for name, side in sides.items():
        if not len(side):
            raise InputError(f"{name} ({side.name}) hold no record: give at least one.")
    union = renumbered(concatenate(*sides.values()))
    ends = np.cumsum([len(side) for side in sides.values()])
    parts = zip(np.split(union.rows, ends[:-1]), kept(sides, duplicates), strict=True)
    return Split(*(union.take(rows[keep]) for rows, keep in parts))


def _by(by: By | None, pool: Records) -> By:
    if by is not None:
        known("by", by, ("record", "group"))
        return by
    if pool.groups is None:
        return "record"
    count = len(np.unique(pool.groups))
    if count < FEW_GROUPS:
        raise InputError(
            f"{pool.name} has {count} groups, too few to tell people from a sensitive attribute: pass by='group' to "
            "keep each on one side, or by='record' to mix them."
        )
    return "group"


def _groups(pool: Records, by: By) -> np.ndarray:
    if by == "group" and pool.groups is None:
        raise InputError(f"{pool.name} has no groups to split by: load it with groups=..., or pass by='record'.")
    return pool.rows if by == "record" or pool.groups is None else pool.groups


def _deal(key: Key, pool: Records, sizes: dict[str, int], by: By, least: tuple[int, ...]) -> list[np.ndarray]:
    """Returns each side's positions: records by the draw of their group, then by their own."""
    for (side, size), low in zip(sizes.items(), least, strict=True):
        if size < low:
            raise InputError(f"{side}={size} is too few: give at least {low}.")
    asked = " + ".join(f"{side}={size}" for side, size in sizes.items())
    if sum(sizes.values()) > len(pool):
        raise InputError(f"{asked} is more than the {len(pool)} different records of {pool.name}: ask for fewer.")
    if len(np.unique(pool.rows)) < len(pool):
        raise InputError(f"{pool.name} has rows that repeat: pass renumbered(pool).")
    groups = _groups(pool, by)
    key_group, key_row = jax.random.split(typed(key))
    order = np.lexsort((draws(key_row, pool.rows), groups, draws(key_group, groups)))
    ends = np.append(np.flatnonzero(np.diff(groups[order])) + 1, len(order))
    sides, start = [], 0
    for side, size in sizes.items():
        if start + size > len(order):
            raise InputError(f"{asked}: whole groups leave {len(order) - start} records for {side}: ask for fewer.")
        sides.append(order[start : start + size])
        start = int(ends[np.searchsorted(ends, start + size)]) if size else start
    return sides
