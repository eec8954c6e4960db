"""How good, how varied and how new generated images are: statistics of features [n, d], on the host, in float64.

Every one of them depends on the number of rows, so two models are compared at one number, and beside the value of real
images at that number: what a model's own training images score against others is the floor.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from diffaudit_jax.metrics.intervals import Estimate, binomial_high, binomial_low, tail
from diffaudit_jax.types import InputError

BLOCK = 2**24  # distances held at once: 128 MiB


class PrecisionRecall(NamedTuple):
    """Share of fakes that look real (precision), and of reals that a fake resembles (recall)."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How deep among the reals the fakes lie (density, 1 for a perfect model), and share of reals with a fake near."""

    density: float
    coverage: float


class Novelty(NamedTuple):
    """Whether fakes keep to the images that were trained on.

    Attributes:
      share: Share of fakes nearer to a training image than to any held-out one: 1 for copies, about 0.5 for a model
        that learned the distribution and not the images. The interval is that of further fakes against these two sets.
      p_value: Chance of so great a share, or a greater, if the fakes knew nothing of which images were trained on.
    """

    share: Estimate
    p_value: float


def frechet(real: ArrayLike, fake: ArrayLike) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets: |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)).

    With S = R'R the trace of the root is the nuclear norm of R R'^T, and R comes from the centred rows: no matrix is
    inverted and no root of a rounding error is taken, so fewer rows than columns are no harm to the arithmetic.
    It is called FID when the features are Inception's, which are not ours: values compare within one feature map only.

    Args:
      real: Features [n, d].
      fake: Features [m, d]. Few rows raise the value: compare at equal numbers.

    Returns:
      The distance, 0 or more.

    Raises:
      InputError: if a set has fewer than 2 rows or a value that is not finite, or the widths differ.

    References:
      Dowson and Landau 1982, J. Multivariate Analysis 12:450; Heusel et al. 2017, https://arxiv.org/abs/1706.08500
    """
    x, y = _sets(2, real=real, fake=fake)
    r, s = _root(x), _root(y)
    cross = np.linalg.svd(r @ s.T, compute_uv=False).sum()
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return max(float(means + (r**2).sum() + (s**2).sum() - 2 * cross), 0.0)


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall: each set is the union of balls around its rows that reach their k-th neighbours.

    precision = share of fakes inside the reals' union,      recall = share of reals inside the fakes' union

    Args:
      real: Features [n, d].
      fake: Features [m, d].
      k: Neighbour that a ball reaches; 3 in the paper.

    Raises:
      InputError: if `k` is not positive, a set has no k neighbours or a value that is not finite, or the widths differ.

    References:
      Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991
    """
    x, y = _sets(_neighbours(k) + 1, real=real, fake=fake)
    in_real, _ = _held(y, x, _radii(x, k))
    in_fake, _ = _held(x, y, _radii(y, k))
    return PrecisionRecall(float((in_real > 0).mean()), float((in_fake > 0).mean()))


def density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> DensityCoverage:
    """Density and coverage: only the reals have balls, so that one stray fake cannot cover much.

    density = mean over fakes of the reals' balls around it, over k,    coverage = share of the reals' balls with a fake

    Args:
      real: Features [n, d].
      fake: Features [m, d].
      k: Neighbour that a ball reaches; 5 in the paper. Real fakes then have an expected coverage of about 1 - 2^-k.

    Raises:
      InputError: as `precision_recall`.

    References:
      Naeem et al. 2020, https://arxiv.org/abs/2002.09797
    """
    x, y = _sets(_neighbours(k) + 1, real=real, fake=fake)
    balls, reached = _held(y, x, _radii(x, k))
    return DensityCoverage(float(balls.sum() / (k * len(y))), float(reached.mean()))


def novelty(
    train: ArrayLike,
    heldout: ArrayLike,
    fake: ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
    num_permutations: int = 999,
) -> Novelty:
    """Share of fakes nearer to a training image than to any of as many held-out ones; ties count half.

    The interval is exact (Clopper-Pearson) for the chance that one more fake falls to the training side. That chance is
    not exactly 0.5 for a model that memorised nothing: a few central images may be the nearest of many fakes, whichever
    side they are on, so 0.5 may well lie outside. Whether a share is evidence of copying is the p-value's to say: the
    two sets are dealt anew, which is exact for any features if no image is in both.

    Args:
      train: Features of what was trained on [n, d]; pixels, too, are features.
      heldout: Features of as many images of the same source, never trained on [n, d].
      fake: Features of generated images [m, d].
      level: Confidence level of the interval.
      seed: Seed of the permutations.
      num_permutations: Permutations; 1/(num_permutations + 1) is the smallest p-value.

    Raises:
      InputError: if the two sets differ in size, a set is empty or holds a value that is not finite, the widths differ,
        or a number is out of range.

    References:
      Meehan et al. 2020, https://arxiv.org/abs/2004.05675 (data-copying told by distances to held-out data)
    """
    x, y, z = _sets(1, train=train, heldout=heldout, fake=fake)
    if len(x) != len(y):
        raise InputError(f"train has {len(x)} rows and heldout {len(y)}: the larger set is nearer by chance, cut it.")
    if num_permutations < 1:
        raise InputError(f"num_permutations must be at least 1, got {num_permutations}.")
    (a, at), (b, bt) = _nearest(z, x), _nearest(z, y)
    to_train = (a < b) + 0.5 * (a == b)
    # How many fakes each image attracts: dealing the images anew changes nothing else.
    drawn = np.bincount(at, to_train, len(x)), np.bincount(bt, 1 - to_train, len(y))
    count, pulls, rng = float(to_train.sum()), np.concatenate(drawn), np.random.default_rng(seed)
    dealt = [rng.permutation(pulls)[: len(x)].sum() for _ in range(num_permutations)]
    p_value = (1 + np.count_nonzero(np.asarray(dealt) >= count)) / (1 + num_permutations)
    error = tail(level)
    low, high = (float(limit(count, len(z), error)) for limit in (binomial_low, binomial_high))
    return Novelty(Estimate(count / len(z), low, high), float(p_value))


def _root(x: np.ndarray) -> np.ndarray:
    """Returns R of the covariance R'R of rows [n, d], [min(n, d), d]."""
    return np.linalg.qr(x - x.mean(axis=0), mode="r") / np.sqrt(len(x) - 1)


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Returns each row's distance to its k-th nearest other row, [n]."""
    return _fitted(x, k).kneighbors()[0][:, -1]


def _nearest(z: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each row of z's distance to the nearest row of x, and which one it is."""
    distances, indices = _fitted(x, 1).kneighbors(z)
    return distances[:, 0], indices[:, 0]


def _fitted(x: np.ndarray, k: int) -> NearestNeighbors:
    # By a tree: the brute-force search takes |a|^2 - 2ab + |b|^2, which gives copies a distance of 1e-8 |a|, not 0.
    return NearestNeighbors(n_neighbors=k, algorithm="ball_tree").fit(x)


def _held(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many of the closed balls hold each point, int [n], and whether each ball holds any, bool [m]."""
    # A copy of a ball's k-th neighbour is on its surface, hence inside, in whatever order tree and cdist sum.
    radii = radii * (1 + points.shape[1] * np.finfo(np.float64).eps)
    balls, reached, step = np.zeros(len(points), int), np.zeros(len(centres), bool), max(1, BLOCK // len(centres))
    for start in range(0, len(points), step):
        inside = cdist(points[start : start + step], centres) <= radii
        balls[start : start + step] = inside.sum(axis=1)
        reached |= inside.any(axis=0)
    return balls, reached


def _neighbours(k: int) -> int:
    if k < 1:
        raise InputError(f"k is {k}: a ball reaches its 1st neighbour or a later one, for example the 3rd.")
    return k


def _sets(least: int, **sets: ArrayLike) -> list[np.ndarray]:
    """Returns the sets as float64, each of `least` rows or more, all finite and of one width."""
    checked = {}
    for name, rows in sets.items():
        x = np.asarray(rows)
        if x.ndim != 2 or not x.shape[1] or x.dtype.kind not in "biuf":
            raise InputError(f"{name} is {x.dtype} of shape {x.shape}: give real features [n, d], a row per image.")
        if len(x) < least:
            raise InputError(f"{name} has {len(x)} rows: give at least {least}.")
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise InputError(f"{name} is {x[row, column]} in row {row}, column {column}: mend or drop that row.")
        checked[name] = x.astype(np.float64)
    widths = {name: x.shape[1] for name, x in checked.items()}
    if len(set(widths.values())) > 1:
        raise InputError(f"the sets have {widths} columns: take all features from one network.")
    return list(checked.values())
