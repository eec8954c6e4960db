"""What a DP-SGD release shows to an attacker with a diffusion prior: a sweep over mu, and one thing varied at a time.

python -m benchmarks.reconstruction --tier cpu                     # small networks, on embedded images
python -m benchmarks.reconstruction --tier gpu --data train-images-idx3-ubyte.gz faces.npz      # needs an accelerator

Each set is dealt in three: what trains priors, what is attacked, and what is public. Both are swept; the rest is
asked of the first: priors further and further from the targets, noise that is not told, several rounds, images of half
the side, and targets that trained the prior.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import reconstruction_parts as measuring
from benchmarks import timing
from benchmarks.reconstruction_priors import Bench, Tier
from benchmarks.reconstruction_table import write_tables
from benchmarks.stopped import check_device, command, measured
from diffaudit_jax import training
from diffaudit_jax.types import InputError

MUS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        size="small",
        halved={"patch": 2},
        cell=4,
        recipe=training.Recipe(num_steps=1500, batch_size=64, learning_rate=2e-3, warmup_steps=50, ema_decay=0.995),
        brief=150,
        few=64,
        targets=100,
        public=200,
        mus=MUS,
        num=4,
        steps=50,
        block=64,
    ),
    "gpu": Tier(
        size="published",
        halved={},
        cell=16,
        recipe=training.Recipe(100_000, 128, 2e-4, warmup_steps=1000, ema_decay=0.9999),
        brief=2_000,
        few=256,
        targets=500,
        public=1_000,
        mus=MUS,
        num=4,
        steps=50,
        block=512,
    ),
}


@dataclass(frozen=True)
class Options:
    """Attack releases with priors near and far."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    data: tuple[str, str] = ("fashion-mnist-2k", "pixel-faces-2k")
    """Two sets of images: embedded names, paths (npz, folder, IDX), or tfds:NAME[:SPLIT]. Studies look at the first."""
    out: Path = timing.RESULTS
    """Directory for reconstruction-TIER.json, reconstruction-TIER.md and the pictures."""
    work: Path = Path("build/reconstruction")
    """Scratch directory for priors, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    check_device(options.tier)
    if len({Path(name).stem for name in options.data}) < 2:
        raise InputError(f"{' and '.join(options.data)} have one name: results could not be told apart, rename one.")
    tier = TIERS[options.tier]
    bench = Bench(tier, options.seed, options.data, options.work / f"{options.tier}-{options.seed}")
    setting = {"data": options.data, "tier": asdict(tier), "seed": options.seed}
    path = options.out / f"reconstruction-{options.tier}.json"
    measured(path, setting, dict(parts(bench, path.with_suffix(""))), write_tables)


def parts(bench: Bench, pictures: Path) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields every part: its name, and what measures it. Priors are trained by the first that needs them."""
    first, second = bench.data
    yield f"sweep-{Path(first).stem}", lambda: measuring.swept(bench, first, pictures)
    yield "priors", lambda: measuring.by_prior(bench)
    yield "noise", lambda: measuring.by_knowledge(bench)
    yield "rounds", lambda: measuring.by_round(bench)
    yield "seen", lambda: measuring.by_training(bench)
    yield "sizes", lambda: measuring.by_size(bench)
    yield f"sweep-{Path(second).stem}", lambda: measuring.swept(bench, second, pictures)


if __name__ == "__main__":
    command(main, Options)
