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
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.clusters import SMALLEST, Cluster, clusters
from diffaudit_jax.metrics.groups import people as numbered
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.likeness import distances, ssim
from diffaudit_jax.metrics.matching import Match, match
from diffaudit_jax.metrics.points import Images, Points, check_apart, distinct, joined, points, size, take
from diffaudit_jax.types import InputError

DELTA = {"images": 0.1, "tables": 0.02}


class Limits(NamedTuple):
    """Up to where a record counts as given away; see `extract`."""

    delta: float
    alpha: float
    neighbours: int
    likeness: float


class Found(NamedTuple):
    """What a rule finds of m records in n samples.

    Attributes:
      rule: "l2", "adaptive", "ssim" (of images) or "calibrated" (beside held-out records).
      limit: Greatest distance, or ratio, at which a record counts as extracted, of "calibrated" not itself one; of
        "ssim" the least likeness.
      value: The best of each record over samples, float64 [m], infinite where there is none; of "ssim" that of the
        adaptive rule's sample, and NaN where that rule finds none.
      sample: Which sample that is, int64 [m].
      extracted: Whether a sample gives the record away, bool [m].
      copies: Whether each sample gives the record nearest to it away, and that is one of these, bool [n].
    """

    rule: str
    limit: float
    value: Float[np.ndarray, " m"]
    sample: Int[np.ndarray, " m"]
    extracted: Bool[np.ndarray, " m"]
    copies: Bool[np.ndarray, " n"]


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


class Recall(NamedTuple):
    """Of the records, or people with one, that are `times` times in a training set, how many are extracted."""

    times: int
    records: int
    extracted: int
    share: Estimate


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
    found = _fixed(samples, union, matched, limits)
    if fresh:
        ratios = matched.adaptive[m:]
        ratios = np.sort(ratios if whose is None else least(ratios, whose[1]))
        found = *found, _calibrated(matched, min(1.0, float(ratios[int(floor * len(ratios))])))
    ours = matched.nearest < m
    return Extraction(
        first,
        times,
        limits,
        tuple(_part(rule, slice(m), ours) for rule in found),
        tuple(_part(rule, slice(m, None), ~ours) for rule in found) if fresh else None,
        _near(trained, times, delta),
        tuple(clusters(samples, delta, smallest=smallest)),
        whose,
    )


def counted(extracted: Bool[np.ndarray, " m"], people: Int[np.ndarray, " m"] | None) -> Bool[np.ndarray, " k"]:
    """Returns who is given away: every record by itself, or every person of whom some record is.

    Args:
      extracted: Whether each record is.
      people: Person of each; None if every record is a person's own.
    """
    return extracted if people is None else least(~extracted, people) < 1


def recall(
    found: Found,
    times: Int[np.ndarray, " m"],
    *,
    people: Int[np.ndarray, " m"] | None = None,
    level: float = 0.95,
) -> list[Recall]:
    """Returns how much of each multiplicity a rule finds, the rarest records first.

    Args:
      found: What it finds of distinct members.
      times: How often each is in the training set.
      people: Person of each, who counts once at each multiplicity; None if every record is a person's own.
      level: Confidence level of Clopper and Pearson's intervals.
    """
    rows = []
    for value in np.unique(times):
        here = times == value
        of = counted(found.extracted[here], None if people is None else people[here])
        rows.append(Recall(int(value), len(of), int(of.sum()), clopper_pearson(int(of.sum()), len(of), level)))
    return rows


def beyond_chance(
    members: Found, heldout: Found, people: tuple[Int[np.ndarray, " m"], Int[np.ndarray, " h"]] | None = None
) -> float:
    """Returns how likely a rule finds as many members or more, if the generator knew nothing of who was a member.

    All that it finds on either side is dealt anew to the records, or people, of both: Fisher's exact test. Of the
    calibrated rule, which stops at a held-out one, it is the chance that as many members come before that one, which is
    no smaller.

    Args:
      members: What it finds of members.
      heldout: What it finds of held-out records.
      people: As in `Extraction`.
    """
    ours, others = (None, None) if people is None else people
    one, other = counted(members.extracted, ours), counted(heldout.extracted, others)
    a, b, m, h = int(one.sum()), int(other.sum()), len(one), len(other)
    return float(hypergeom.sf(a - 1, m + h, a + b, m))


def least(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Returns the least value of each person, in the order of their numbers."""
    found, codes = np.unique(people, return_inverse=True)
    best = np.full(len(found), np.inf)
    np.minimum.at(best, codes, values)
    return best


def _whose(
    groups: ArrayLike, sizes: tuple[int, int], first: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the person of each distinct record of either side."""
    codes = numbered(groups, np.arange(sum(sizes)) < sizes[0])
    return codes[first], codes[sizes[0] + others]


def _fixed(samples: Points, records: Points, match: Match, limits: Limits) -> tuple[Found, ...]:
    """Returns what the rules find that are the same whatever the records."""
    plain = Found("l2", limits.delta, match.l2, match.l2_at, match.l2 <= limits.delta, match.far <= limits.delta)
    copies = match.ratio <= 1
    adaptive = Found("adaptive", 1.0, match.adaptive, match.adaptive_at, match.adaptive <= 1, copies)
    if not isinstance(samples, np.ndarray) or not isinstance(records, np.ndarray) or samples.ndim != 4:
        return plain, adaptive
    rows, drawn = np.flatnonzero(adaptive.extracted), np.flatnonzero(copies)
    value, alike = np.full(len(records), np.nan), np.zeros(len(samples), bool)
    value[rows] = ssim(records[rows], samples[adaptive.sample[rows]])
    alike[drawn] = ssim(samples[drawn], records[match.nearest[drawn]]) >= limits.likeness
    return plain, adaptive, Found("ssim", limits.likeness, value, adaptive.sample, value >= limits.likeness, alike)


def _calibrated(match: Match, limit: float) -> Found:
    below = match.adaptive < limit
    return Found("calibrated", limit, match.adaptive, match.adaptive_at, below, match.ratio < limit)


def _part(found: Found, side: slice, ours: np.ndarray) -> Found:
    """Returns what a rule finds of one side, and the samples whose nearest record is of it."""
    kept = {name: getattr(found, name)[side] for name in ("value", "sample", "extracted")}
    return found._replace(**kept, copies=found.copies & ours)


def _near(members: Points, times: np.ndarray, delta: float) -> np.ndarray:
    """Returns how many training records are within delta of each distinct one."""
    near = np.empty(size(members), np.int64)
    for part, d in distances(members, members):
        near[part] = (d <= delta) @ times
    return near
