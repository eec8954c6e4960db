"""What the receiver's audit does against the sharer's attack, and the other way round.

python -m benchmarks.interplay --tier cpu                          # the embedded faces
python -m benchmarks.interplay --tier cpu --faces faces.npz        # a larger set
python -m benchmarks.interplay --tier gpu --faces faces.npz        # published widths, on an accelerator

flags: property inference of the group in the samples of each label. Shares that differ between labels beyond their
intervals flag a generator as poisoned: how often it does, against the poisoning ratio and the samples that are looked
at, and how often it flags sharers who did nothing.

hides: a sharer resamples his training set to a share that he declares, by leaving images out or by repeating some.
What the receiver then infers, and what of the true share is left to be seen.

Generators that benchmarks.property and benchmarks.fairness trained in the same scratch directory are used again.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import fairness_parts, property_parts, timing
from benchmarks.interplay_table import write_tables
from benchmarks.property_parts import copied
from benchmarks.sharing import Bench, Shared, bench_of, drawn_of
from benchmarks.stopped import check_device, command, measured
from diffaudit_jax import data
from diffaudit_jax.attacks import property_share
from diffaudit_jax.metrics.corrected import conditional
from diffaudit_jax.training import rates_of

CLEAN_SHARERS = 5
COUNTS = (50, 100, 200, 300, 1000)
REPEATS = 200
DECLARED = 0.5
LEVEL = 0.95


@dataclass(frozen=True)
class Options:
    """Set the audit against the attack."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    faces: str = "pixel-faces-2k"
    """Faces with attributes `smile` and `long_hair`: an embedded name or an npz."""
    fashion: str = "fashion-mnist-2k"
    """Not looked at: so that the three benchmarks of shared generators take the same words."""
    out: Path = timing.RESULTS
    """Directory for interplay-TIER.json and interplay-TIER.md."""
    work: Path = Path("build/sharing")
    """Scratch directory for generators and samples, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after either part."""
    check_device(options.tier)
    bench = bench_of(options.tier, options.seed, options.faces, options.fashion, options.work)
    setting = {"data": Path(options.faces).name, "tier": asdict(bench.tier), "seed": options.seed}
    parts = {"flags": lambda: flags(bench), "hides": lambda: hides(bench)}
    measured(options.out / f"interplay-{options.tier}.json", setting, parts, write_tables)


def flags(bench: Bench) -> dict[str, Any]:
    """How often generators are flagged, of each poisoning ratio, by how many samples; clean ones of several seeds."""
    case, rows = fairness_parts.case_of(bench), []
    told = fairness_parts.group_discriminator(bench, case)
    rates = {y: rates_of(confusion) for y, confusion in told.by.items()}
    sharers = [(alpha, 0) for alpha in fairness_parts.ALPHAS] + [(0.0, seed) for seed in range(1, CLEAN_SHARERS)]
    for alpha, seed in sharers:
        found = fairness_parts.chosen(bench, case, alpha, seed=seed)
        name = f"fairness-ddpm-{alpha}" + (f"-{seed}" if seed else "")
        made = drawn_of(bench, Shared(name, fairness_parts.set_of(case, found)))
        assert made.labels is not None
        has, rng = told.predict(made.x) == 1, np.random.default_rng(bench.seed)
        flagged = {}
        for n in (*(count for count in COUNTS if count < len(made)), len(made)):
            # Of all samples there is one subset.
            subsets = [rng.permutation(len(made))[:n] for _ in range(REPEATS if n < len(made) else 1)]
            flagged[str(n)] = float(np.mean([_apart(has[i], made.labels[i], rates) for i in subsets]))
        gap = fairness_parts.gap(found.counts)
        seen = fairness_parts.implied(told, made)
        rows.append({"alpha": alpha, "seed": seed, "set_gap": float(gap), "samples": seen, "flagged": flagged})
    return {"confusion": {str(y): table.tolist() for y, table in told.by.items()}, "rows": rows}


def _apart(has: np.ndarray, labels: np.ndarray, rates: dict[int, Any]) -> bool:
    """Whether the two intervals, which hold together at `LEVEL`, have nothing in common."""
    if len(np.unique(labels)) < len(rates):
        return False
    each = [found.estimate for found in conditional(has, labels, rates, 1 - (1 - LEVEL) / 2).values()]
    return max(found.low for found in each) > min(found.high for found in each)


def hides(bench: Bench) -> dict[str, Any]:
    """What a receiver infers of sharers who declare a share that is not theirs, and what gives them away."""
    case, rows = property_parts.case_of(bench, "faces"), []
    told = property_parts.discriminator_of(bench, case)
    rates = rates_of(told.confusion)
    for ratio in (0.1, 0.9):
        pool = property_parts.with_share(bench, case, ratio)
        has = _has(case, pool)
        sets = {"nothing": pool, **{how: _resampled(bench, pool, has, how) for how in ("left out", "repeated")}}
        for how, trained_on in sets.items():
            word = "" if how == "nothing" else f"-{how.replace(' ', '-')}"
            made = drawn_of(bench, Shared(f"property-faces-{ratio}{word}", trained_on))
            found = property_share([made.x], lambda x: told.predict(x) == 1, rates, level=LEVEL)
            kinds = {}
            for value in (0, 1):
                members, samples = pool.take(has == value), made.take(found.has == bool(value))
                others = case.pool.take(case.has == value)
                kinds[str(value)] = {"images": len(members), "copied": _copied(samples, members, others)}
            rows.append(
                {
                    "ratio": ratio,
                    "how": how,
                    "images": len(trained_on),
                    "corrected": found.corrected.estimate._asdict(),
                    "kinds": kinds,
                }
            )
    return {"declared": DECLARED, "rows": rows}


def _resampled(bench: Bench, pool: data.Pool, has: np.ndarray, how: str) -> data.Pool:
    """Returns a training set of the declared share: the commoner kind left out, or the rarer repeated."""
    rng, kinds = np.random.default_rng(bench.seed), [np.flatnonzero(has == value) for value in (0, 1)]
    if how == "left out":
        fewest = min(map(len, kinds))
        return pool.take(np.sort(np.concatenate([rng.permutation(rows)[:fewest] for rows in kinds])))
    most = max(map(len, kinds))
    return pool.take(np.concatenate([np.resize(rng.permutation(rows), most) for rows in kinds]))


def _copied(samples: data.Pool, members: data.Pool, others: data.Pool) -> float | None:
    return copied(samples, members, others) if len(samples) and len(members) else None


def _has(case: property_parts.Case, pool: data.Pool) -> np.ndarray:
    known = dict(zip(case.pool.rows.tolist(), case.has.tolist(), strict=True))
    return np.array([known[row] for row in pool.rows.tolist()])


if __name__ == "__main__":
    command(main, Options)
