"""Property inference from generators whose training sets have a known share of it.

python -m benchmarks.property --tier cpu                                                  # embedded images
python -m benchmarks.property --tier cpu --faces faces.npz --fashion train-images-idx3-ubyte.gz    # larger sets
python -m benchmarks.property --tier gpu --faces faces.npz --fashion train-images-idx3-ubyte.gz    # an accelerator

Faces that smile, and ankle boots among sneakers: five shares each, every generator asked by a discriminator that the
receiver trained on images of his own. Then one share trained ever longer on few images, one share and all
discriminators, and one share under differential privacy.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import property_parts as measuring
from benchmarks import timing
from benchmarks.property_table import write_tables
from benchmarks.sharing import Bench, bench_of
from benchmarks.stopped import check_device, command, measured
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.types import write_atomic


@dataclass(frozen=True)
class Options:
    """Infer the share of a property from samples."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    faces: str = "pixel-faces-2k"
    """Faces with an attribute `smile`: an embedded name or an npz."""
    fashion: str = "fashion-mnist-2k"
    """Fashion-MNIST: an embedded name or an IDX file."""
    parts: tuple[str, ...] = ()
    """Measure these parts only; all if not given."""
    epsilons: tuple[float, ...] = (1, 8)
    """Epsilon of private training."""
    out: Path = timing.RESULTS
    """Directory for property-TIER.json, property-TIER.md and the pictures."""
    work: Path = Path("build/sharing")
    """Scratch directory for generators and samples, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything but the noise of private training, which is the operating system's."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    check_device(options.tier)
    bench = bench_of(options.tier, options.seed, options.faces, options.fashion, options.work)
    sources = [Path(source).name for source in (options.faces, options.fashion)]
    setting = {"data": sources, "tier": asdict(bench.tier), "seed": options.seed}
    path = options.out / f"property-{options.tier}.json"
    if measured(path, setting, dict(parts(bench, options.epsilons)), write_tables, options.parts):
        write_picture(bench, path.with_suffix(".png"))


def parts(bench: Bench, epsilons: tuple[float, ...]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields every part: its name, and what measures it."""
    yield "faces", lambda: measuring.by_ratio(bench, "faces")
    yield "fashion", lambda: measuring.by_ratio(bench, "fashion")
    yield "discriminators", lambda: measuring.by_discriminator(bench)
    yield "lengths", lambda: measuring.by_length(bench)
    yield "privacy", lambda: measuring.by_privacy(bench, epsilons)


def write_picture(bench: Bench, path: Path) -> None:
    """Writes samples of the generators of faces: sixteen a share, fewest smiles first."""
    images = [np.load(measuring.picture_of(bench, "faces", ratio))["images"][:16] for ratio in measuring.RATIOS]
    write_atomic(path, grid_png(np.concatenate(images)))


if __name__ == "__main__":
    command(main, Options)
