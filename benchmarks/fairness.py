"""Fairness poisoning of shared generators: what receivers learn from samples of a poisoned training set.

python -m benchmarks.fairness --tier cpu                          # the embedded faces
python -m benchmarks.fairness --tier cpu --faces faces.npz        # a larger set
python -m benchmarks.fairness --tier gpu --faces faces.npz        # published widths, on an accelerator

Label Y is whether a face smiles, group S whether its hair is long, which nobody is told. DDPM of poisoning ratios from
none to a half; then clean and poisoned generators of every family, with guidance and with differential privacy; few
images trained ever longer; and other aims than parity. Receivers train on samples alone and are tested on real faces.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import fairness_parts as measuring
from benchmarks import timing
from benchmarks.fairness_table import write_tables
from benchmarks.sharing import Bench, bench_of
from benchmarks.stopped import check_device, command, measured
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.types import write_atomic


@dataclass(frozen=True)
class Options:
    """Poison generators, and see what receivers make of their samples."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    faces: str = "pixel-faces-2k"
    """Faces with attributes `smile` and `long_hair`: an embedded name or an npz."""
    fashion: str = "fashion-mnist-2k"
    """Not looked at: so that the three benchmarks of shared generators take the same words."""
    parts: tuple[str, ...] = ()
    """Measure these parts only; all if not given."""
    epsilons: tuple[float, ...] = (1, 8)
    """Epsilon of private training."""
    out: Path = timing.RESULTS
    """Directory for fairness-TIER.json, fairness-TIER.md and the picture."""
    work: Path = Path("build/sharing")
    """Scratch directory for generators and samples, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything but the noise of private training, which is the operating system's."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    check_device(options.tier)
    bench = bench_of(options.tier, options.seed, options.faces, options.fashion, options.work)
    setting = {"data": Path(options.faces).name, "tier": asdict(bench.tier), "seed": options.seed}
    path = options.out / f"fairness-{options.tier}.json"
    if measured(path, setting, dict(parts(bench, options.epsilons)), write_tables, options.parts):
        write_picture(bench, path.with_suffix(".png"))


def parts(bench: Bench, epsilons: tuple[float, ...]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields every part: its name, and what measures it."""
    yield "alphas", lambda: measuring.by_alpha(bench)
    yield "families", lambda: measuring.by_family(bench)
    yield "guidance", lambda: measuring.by_guidance(bench)
    yield "objectives", lambda: measuring.by_objective(bench)
    yield "lengths", lambda: measuring.by_length(bench)
    yield "privacy", lambda: measuring.by_privacy(bench, epsilons)


def write_picture(bench: Bench, path: Path) -> None:
    """Writes samples of poisoned generators: eight of each label, serious ones first, a family a pair of rows."""
    names = [f"fairness-{family}-{measuring.MOST}" for family in measuring.FAMILIES]
    found = [np.load(bench.work / name / "samples-all.npz") for name in names]
    images = [each["images"][each["labels"] == y][:8] for each in found for y in (0, 1)]
    write_atomic(path, grid_png(np.concatenate(images)))


if __name__ == "__main__":
    command(main, Options)
