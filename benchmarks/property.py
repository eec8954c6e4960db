"""Property inference from generators whose training sets have a known share of it.

python -m benchmarks.property --tier cpu                                                  # embedded images
python -m benchmarks.property --tier cpu --faces faces.npz --fashion train-images-idx3-ubyte.gz    # larger sets
python -m benchmarks.property --tier gpu --faces faces.npz --fashion train-images-idx3-ubyte.gz    # an accelerator

Faces that smile, and ankle boots among sneakers: five shares each, every generator asked by a discriminator that the
receiver trained on images of his own. Then one share trained ever longer on few images, one share and all
discriminators, and one share under differential privacy.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from benchmarks import property_parts as measuring
from benchmarks import timing
from benchmarks.property_table import write_tables
from benchmarks.sharing import TIERS, Bench
from benchmarks.stopped import check_device, command, opened, saved
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.types import known, write_atomic


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
    write_tables(options.out)
    check_device(options.tier)
    tier, work = TIERS[options.tier], options.work / f"{options.tier}-{options.seed}"
    bench = Bench(tier, options.seed, options.faces, options.fashion, work)
    path = options.out / f"property-{options.tier}.json"
    sources = [Path(source).name for source in (options.faces, options.fashion)]
    result = {"parts": {}} | opened(path, {"data": sources, "tier": asdict(tier), "seed": options.seed})
    asked = dict(parts(bench, options.epsilons))
    for name in options.parts or asked:
        measure = asked[known("part", name, asked)]
        if name not in result["parts"]:
            begun = time.perf_counter()
            found = measure()
            seconds = round(time.perf_counter() - begun, 1)
            result["parts"][name] = {**found, "seconds": seconds, "hardware": timing.hardware()}
            saved(path, result)
            write_tables(options.out)
            jax.clear_caches()
    if not asked.keys() <= result["parts"].keys():
        return
    write_picture(bench, options.out / f"property-{options.tier}.png")
    print(f"{path} and its tables hold every part.")


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
