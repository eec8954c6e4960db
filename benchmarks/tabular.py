"""TabDDPM on Adult: what its samples are good for, and what they and it tell of who trained it.

python -m benchmarks.tabular --tier cpu                                                    # the embedded 3,000
python -m benchmarks.tabular --tier cpu --adult adult_train.csv.gz --test adult_test.csv.gz    # all of Adult
python -m benchmarks.tabular --tier gpu --adult adult_train.csv.gz --test adult_test.csv.gz    # an accelerator

One generator of most records beside published numbers; few records, trained ever longer; five shares of women; six
poisoning ratios; training under differential privacy; and tables that are large or wide.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import tabular_parts as measuring
from benchmarks import timing
from benchmarks.stopped import check_device, command, measured
from benchmarks.tables import Bench, bench_of
from benchmarks.tabular_poison import by_alpha
from benchmarks.tabular_scale import by_scale
from benchmarks.tabular_table import write_tables


@dataclass(frozen=True)
class Options:
    """Measure TabDDPM on Adult."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    adult: str = "adult-3k"
    """Adult: the embedded sample, or a CSV with its columns' names."""
    test: str | None = None
    """Records that classifiers are tested on; a fifth of the others if not given."""
    parts: tuple[str, ...] = ()
    """Measure these parts only; all if not given."""
    epsilons: tuple[float, ...] = (1, 8)
    """Epsilon of private training."""
    out: Path = timing.RESULTS
    """Directory for tabular-TIER.json and tabular-TIER.md."""
    work: Path = Path("build/tabular")
    """Scratch directory for generators, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything but the noise of private training, which is the operating system's."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    check_device(options.tier)
    bench = bench_of(options.tier, options.seed, options.adult, options.test, options.work)
    sources = [Path(source).name for source in (options.adult, options.test) if source is not None]
    setting = {"data": sources, "tier": asdict(bench.tier), "seed": options.seed}
    path = options.out / f"tabular-{options.tier}.json"
    measured(path, setting, dict(parts(bench, options.epsilons)), write_tables, options.parts)


def parts(bench: Bench, epsilons: tuple[float, ...]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields every part: its name, and what measures it."""
    yield "quality", lambda: measuring.by_quality(bench)
    yield "lengths", lambda: measuring.by_length(bench)
    yield "poison", lambda: by_alpha(bench)
    yield "property", lambda: measuring.by_ratio(bench)
    yield "privacy", lambda: measuring.by_privacy(bench, epsilons)
    yield "scale", lambda: by_scale(bench)


if __name__ == "__main__":
    command(main, Options)
