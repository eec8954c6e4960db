"""A pool of images or of encoded records: what a model may have been trained on, and what an auditor may ask about."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from diffaudit_jax.types import InputError


class Records(Protocol):
    """What can be dealt to sides: a pool, or a table that is not encoded yet."""

    @property
    def rows(self) -> np.ndarray:
        """Each record's own index in what it came from, int64 [n]."""
        ...

    @property
    def name(self) -> str:
        """Where they came from."""
        ...

    @property
    def groups(self) -> np.ndarray | None:
        """A person or a sensitive group of each, int32 [n], or None."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def take(self: "R", indices: np.ndarray) -> "R":
        """Returns some of them."""
        ...

    def hashes(self) -> np.ndarray:
        """Returns each one's content hash."""
        ...


R = TypeVar("R", bound=Records)


@dataclass(frozen=True, eq=False)
class Pool:
    """Images, or encoded records of a table, with whatever is known about each, axis 0 of every array being the image.

    Attributes:
      x: uint8 [n, H, W, C]; grey images have C = 1. Of a table float32 [n, d], as `data.Encoder` makes it.
      rows: int64 [n], each image's own index in the pool it came from; `take` keeps it, and it keys randomness.
      name: Where the images came from, for messages and reports.
      labels: int32 [n], the class a conditional model is told, or None.
      groups: int32 [n], a person or a sensitive group, or None.
      label_names: The classes' names in the order of `labels`, or None.
      attributes: Further arrays [n, ...] by name; any one-dimensional one can be loaded as groups or labels.
    """

    x: np.ndarray
    rows: np.ndarray
    name: str
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    label_names: tuple[str, ...] | None = None
    attributes: Mapping[str, np.ndarray] | None = None

    def __post_init__(self):
        form = self.x.ndim, self.x.dtype
        if form not in ((4, np.uint8), (2, np.float32)):
            raise InputError(
                f"{self.name}: a pool holds images, uint8 [n, H, W, C], or encoded records, float32 [n, d], got "
                f"{self.x.dtype} {self.x.shape}."
            )
        columns = {"rows": self.rows, "labels": self.labels, "groups": self.groups, **(self.attributes or {})}
        for field, column in columns.items():
            if column is not None and len(column) != len(self.x):
                raise InputError(f"{self.name}: {len(column)} {field} for {len(self.x)} images: give one for each.")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, (H, W, C) or (d,)."""
        return self.x.shape[1:]

    @property
    def num_classes(self) -> int | None:
        """How many classes the labels count, named or seen; None without labels."""
        if self.labels is None:
            return None
        return len(self.label_names) if self.label_names else int(self.labels.max(initial=-1)) + 1

    def take(self, indices: np.ndarray) -> "Pool":
        """Returns the images at these positions, or where a bool [n] is true, each still knowing its own row."""
        return replace(
            self,
            x=self.x[indices],
            rows=self.rows[indices],
            labels=None if self.labels is None else self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
            attributes=None if self.attributes is None else {k: v[indices] for k, v in self.attributes.items()},
        )

    def hashes(self) -> np.ndarray:
        """Returns each image's content hash, str [n]: equal if and only if dtype, shape and bytes are."""
        head = f"{self.x.dtype.str}{self.shape}".encode()
        return np.array([hashlib.sha256(head + image.tobytes()).hexdigest() for image in self.x], dtype="<U64")

    def fingerprint(self) -> str:
        """Returns one hash of the images, labels and groups in their order; rows and names are left out."""
        digest = hashlib.sha256("".join(self.hashes()).encode())
        for column in (self.labels, self.groups):
            digest.update(b"none" if column is None else column.astype("<i4").tobytes())
        return digest.hexdigest()


def concatenate(*pools: Pool) -> Pool:
    """Joins pools of one shape end to end; rows are kept, so they may repeat (see `renumbered`).

    Groups and attributes are kept where every pool has them. Classes' names may be a beginning of one another.

    Raises:
      InputError: if the shapes or the classes differ, or some pools have labels and others none.
    """
    first = pools[0]
    for pool in pools[1:]:
        _check_alike(first, pool)
    shared = set(first.attributes or {}).intersection(*(pool.attributes or {} for pool in pools[1:]))
    return Pool(
        x=np.concatenate([pool.x for pool in pools]),
        rows=np.concatenate([pool.rows for pool in pools]),
        name="+".join(dict.fromkeys(pool.name for pool in pools)),
        labels=_joined([pool.labels for pool in pools]),
        groups=_joined([pool.groups for pool in pools]),
        label_names=max((pool.label_names or () for pool in pools), key=len) or None,
        attributes={k: np.concatenate([(pool.attributes or {})[k] for pool in pools]) for k in sorted(shared)} or None,
    )


def renumbered(pool: Pool) -> Pool:
    """Returns the pool as an original of its own: rows count 0, 1, ..., n - 1."""
    return replace(pool, rows=np.arange(len(pool)))


def _joined(columns: list[np.ndarray | None]) -> np.ndarray | None:
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None


def _check_alike(a: Pool, b: Pool) -> None:
    if a.shape != b.shape:
        raise InputError(f"{a.name} has images of {a.shape} but {b.name} of {b.shape}: resize one to the other.")
    if (a.labels is None) != (b.labels is None):
        with_labels, without = (b, a) if a.labels is None else (a, b)
        raise InputError(f"{with_labels.name} has labels but {without.name} has none: give both, or neither, classes.")
    short, long = sorted((a.label_names or (), b.label_names or ()), key=len)
    if long[: len(short)] != short:
        raise InputError(
            f"{a.name} has classes {a.label_names} but {b.name} has {b.label_names}: a label would mean two things, "
            "so give both the same classes."
        )
