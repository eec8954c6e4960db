"""What turns scores into decisions: shadows, a bound of epsilon from below, and extraction.

python -m benchmarks.shadows --tier cpu                               # embedded images and records
python -m benchmarks.shadows --tier gpu --images train-images-idx3-ubyte.gz --table adult_train.csv.gz

Models are trained on random halves of a pool, of images and of a table. Some are audited, each by ever more of the
others; plain scores stand beside. Then a model with ever more canaries, and one whose training set repeats records.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import shadows_parts as measuring
from benchmarks import timing
from benchmarks.shadows_parts import Bench
from benchmarks.shadows_table import write_tables
from benchmarks.shadows_tiers import TIERS
from benchmarks.stopped import check_device, command, measured


@dataclass(frozen=True)
class Options:
    """Measure what shadows, canaries and samples show."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    images: str = "fashion-mnist-2k"
    """Images: an embedded name or a path."""
    table: str = "adult-3k"
    """Adult: the embedded sample, or a CSV with its columns' names."""
    parts: tuple[str, ...] = ()
    """Measure these parts only; all if not given."""
    out: Path = timing.RESULTS
    """Directory for shadows-TIER.json, shadows-TIER.md and the figure."""
    work: Path = Path("build/shadows")
    """Scratch directory for models and answers, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    check_device(options.tier)
    work = options.work / f"{options.tier}-{options.seed}"
    bench = Bench(TIERS[options.tier], options.seed, options.images, options.table, work)
    sources = [Path(source).name for source in (options.images, options.table)]
    setting = {"data": sources, "tier": asdict(bench.tier), "seed": options.seed}
    measured(options.out / f"shadows-{options.tier}.json", setting, dict(parts(bench)), write_tables, options.parts)


def parts(bench: Bench) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields every part: its name, and what measures it."""
    yield "images", lambda: measuring.by_images(bench)
    yield "tables", lambda: measuring.by_tables(bench)
    yield "canaries", lambda: measuring.by_canaries(bench)
    yield "copies", lambda: measuring.by_copies(bench)


if __name__ == "__main__":
    command(main, Options)
