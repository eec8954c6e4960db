"""Which training records a generator gives away whole: its samples matched to them, and to as many it has not seen.

    l2         d(x, g) <= delta: (d, delta)-extraction
    adaptive   d(x, g) <= alpha times the mean of d(g, .) over the records nearest to g, x the nearest of all: less is
               asked of a sample that is far from everything, and more of one that is near to much
    ssim       adaptive, and the two images are alike in structure
    calibrated adaptive, and the ratio is below that of all but 1 % of held-out records, or people

with d(x, g) as in `likeness`. Nothing is chosen by looking at training records. What a rule finds of held-out records,
which the generator cannot give away, it finds by chance; of sources whose records are alike that is much (every pair
of trousers is near another), and only the last rule says so by itself.

Where people with several records were dealt to the sides, people are counted: a person is given away if a record of
theirs is. One person's records are near one another, so that the count of records varies by more than chance over
records does: simulated with 16 records a person, Fisher's p-value of records is .05 or less in .10 to .16 of runs that
give nobody away.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.clusters import SMALLEST, Cluster, clusters
from diffaudit_jax.metrics.groups import people as numbered
from diffaudit_jax.metrics.likeness import distances
from diffaudit_jax.metrics.matching import match
from diffaudit_jax.metrics.points import Images, Points, check_apart, distinct, joined, points, size, take
from diffaudit_jax.metrics.recall import least
from diffaudit_jax.metrics.rules import Found, Limits, calibrated, fixed, part_of
from diffaudit_jax.types import InputError

DELTA = {"images": 0.1, "tables": 0.02}


class Extraction(NamedTuple):
    """What samples give away.

    Attributes:
      first: Position of each distinct member among the members, int64 [m].
      times: How often it is there, int64 [m].
      limits: What the rules were.
      members: What each rule finds of the distinct members.
      heldout: What it finds of the distinct held-out records; None without.
      near: Training records within delta of each distinct member, itself and each of its copies too, int64 [m]: k of
        (k, d, delta)-eidetic memory.
      clusters: Samples that come again and again, found without the members.
      people: Person of each distinct member, and of each distinct held-out record, int64 [m] and [h]; None where every
        record is a person's own.
    """

    first: Int[np.ndarray, " m"]
    times: Int[np.ndarray, " m"]
    limits: Limits
    members: tuple[Found, ...]
    heldout: tuple[Found, ...] | None
    near: Int[np.ndarray, " m"]
    clusters: tuple[Cluster, ...]
    people: tuple[Int[np.ndarray, " m"], Int[np.ndarray, " h"]] | None = None


def extract(
    generated: Images | Table,
    members: Images | Table,
    heldout: Images | Table | None = None,
    *,
    groups: ArrayLike | None = None,
    delta: float | None = None,
    alpha: float = 0.5,
    neighbours: int = 50,
    likeness: float = 0.8,
    floor: float = 0.01,
    smallest: int = SMALLEST,
) -> Extraction:
    """Matches samples to the records that trained their generator, and to others that did not.

    Members and held-out records are compared as one set, so that each is as likely to be found if the generator has
    seen none, however many there are of either.

    Args:
      generated: Samples.
      members: The training set, each record as often as it is there.
      heldout: Records of the same source, none of them a member; None for no floor.
      groups: Person of each record, int or str, members first, then held-out ones, where whole people were dealt to the
        sides; None if every record is a person's own.
      delta: Greatest distance of the l2 rule and of clusters; 0.1 of images and 0.02 of tables if None.
      alpha: Share of the distance to its neighbours within which a sample counts as a copy.
      neighbours: Distinct records of either side nearest to a sample, the nearest itself among them, over which that
        distance is averaged; all but one where there are fewer.
      likeness: Structural similarity from which images are alike.
      floor: Share of held-out records, or people, at most, that the calibrated rule finds.
      smallest: Samples of a cluster, at least.

    Returns:
      What each rule finds. Time grows as n (n + members) d.

    Raises:
      InputError: if a setting is out of range, shapes or columns differ, a record or person is on both sides, or there
        are fewer than 3 distinct records.

    References:
      Carlini et al. 2023, https://arxiv.org/abs/2301.13188 (definitions 1 and 2, section 5.1)
    """
    kind = "tables" if isinstance(generated, Table) else "images"
    delta = DELTA[kind] if delta is None else delta
    if not (delta >= 0 and 0 < alpha <= 1 and neighbours >= 2 and -1 <= likeness <= 1 and 0 <= floor < 1):
        raise InputError(
            f"delta is {delta:g}, alpha {alpha:g}, neighbours {neighbours}, likeness {likeness:g} and floor {floor:g}: "
            f"give a distance from 0, a share up to 1, 2 neighbours or more, a likeness up to 1 and a share below 1."
        )
    sides = {"generated": generated, "members": members} | ({} if heldout is None else {"heldout": heldout})
    samples, trained, *fresh = points(sides)
    first, times = distinct(members)
    trained, others = take(trained, first), np.zeros(0, np.int64)
    if heldout is not None:
        check_apart(members, heldout)
        others = distinct(heldout)[0]
        fresh = [take(fresh[0], others)]
    whose = (
        None
        if groups is None
        else _whose(groups, (len(members), 0 if heldout is None else len(heldout)), first, others)
    )
    union = joined([trained, *fresh])
    if size(union) < 3:
        raise InputError(f"{size(union)} different records are too few to compare: give 3 or more.")
    limits = Limits(delta, alpha, min(neighbours, size(union) - 1), likeness)
    matched, m = match(samples, union, limits.neighbours, alpha), len(first)
    found = fixed(samples, union, matched, limits)
    if fresh:
        ratios = matched.adaptive[m:]
        ratios = np.sort(ratios if whose is None else least(ratios, whose[1]))
        found = *found, calibrated(matched, min(1.0, float(ratios[int(floor * len(ratios))])))
    ours = matched.nearest < m
    return Extraction(
        first,
        times,
        limits,
        tuple(part_of(rule, slice(m), ours) for rule in found),
        tuple(part_of(rule, slice(m, None), ~ours) for rule in found) if fresh else None,
        _near(trained, times, delta),
        tuple(clusters(samples, delta, smallest=smallest)),
        whose,
    )


def _whose(
    groups: ArrayLike, sizes: tuple[int, int], first: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the person of each distinct record of either side."""
    codes = numbered(groups, np.arange(sum(sizes)) < sizes[0])
    return codes[first], codes[sizes[0] + others]


def _near(members: Points, times: np.ndarray, delta: float) -> np.ndarray:
    """Returns how many training records are within delta of each distinct one."""
    near = np.empty(size(members), np.int64)
    for part, d in distances(members, members):
        near[part] = (d <= delta) @ times
    return near
