"""Whether denoising privatised gradients helps utility: DP-SGD with and without it, and what public images do alone.

python -m benchmarks.utility --tier cpu                     # embedded images
python -m benchmarks.utility --tier cpu --data fashion-mnist-2k train-images-idx3-ubyte.gz    # and a larger set

The images are dealt in three: public, test, and private. The public ones are the same for every seed; the others are
dealt anew. What denoises may know public images alone, and so may what starts DP-SGD: a denoiser's gain is set beside
that of the same images used for a start, and beside training on them alone.

Steps and learning rate of each arm are chosen on public images: of three parts, one plays the private images (repeated
to their number, under their noise), one the public ones, and the third is the test; the parts change places.
That is rough. At some epsilons every arm is trained by every plan, too, and each arm's best is told in hindsight.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax

from benchmarks import timing
from benchmarks.stopped import check_device, command, opened, saved
from benchmarks.utility_arms import NUM_CASES, Plan
from benchmarks.utility_bench import Bench, Tier
from benchmarks.utility_parts import by_every_plan, measured, prepared, summary
from benchmarks.utility_priors import Effort
from benchmarks.utility_table import write_tables
from diffaudit_jax import training
from diffaudit_jax.cli.progress import stage

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
PLANS = (*(Plan(25, rate) for rate in (3e-3, 1e-2, 3e-2)), *(Plan(80, rate) for rate in (1e-3, 3e-3, 1e-2)))
PUBLIC_PLANS = tuple(Plan(steps, rate) for steps in (50, 150) for rate in (1e-3, 3e-3, 1e-2))
TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        public=150,
        test=2_000,
        private=8_000,
        parts=8,
        hidden=12,
        epsilons=EPSILONS,
        delta=1e-4,
        seeds=5,
        rehearsals=2,
        plans=PLANS,
        public_plans=PUBLIC_PLANS,
        prior=Effort(32, training.Recipe(500, 32, 2e-3, warmup_steps=50, ema_decay=0.99), 6, 12, 4, Plan(10, 3e-3)),
        hindsight=(1.0, 8.0),
        hindsight_seeds=3,
    ),
    "gpu": Tier(
        public=1_000,
        test=10_000,
        private=49_000,
        parts=16,
        hidden=64,
        epsilons=EPSILONS,
        delta=1e-5,
        seeds=10,
        rehearsals=3,
        plans=tuple(Plan(steps, rate) for steps in (100, 300) for rate in (1e-3, 3e-3, 1e-2, 3e-2)),
        public_plans=tuple(Plan(steps, rate) for steps in (100, 400) for rate in (1e-3, 3e-3, 1e-2)),
        prior=Effort(64, training.Recipe(20_000, 128, 1e-3, warmup_steps=500), 20, 40, 8, Plan(10, 3e-3)),
        hindsight=EPSILONS,
        hindsight_seeds=10,
    ),
}


@dataclass(frozen=True)
class Options:
    """Train privately with and without denoising, and on public images alone."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: wider ones, more steps and images, on an accelerator."""
    data: tuple[str, ...] = ("fashion-mnist-2k",)
    """Sets of labelled images: embedded names, paths (npz, folder, IDX), or tfds:NAME[:SPLIT]."""
    out: Path = timing.RESULTS
    """Directory for utility-TIER.json and utility-TIER.md."""
    work: Path = Path("build/utility")
    """Scratch directory for compiled programs; what one arm compiles serves the others."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every epsilon."""
    write_tables(options.out)
    check_device(options.tier)
    keep_programs(options.work)
    tier = TIERS[options.tier]
    path = options.out / f"utility-{options.tier}.json"
    result = {"parts": {}} | opened(path, {"tier": asdict(tier), "seed": options.seed})
    for name in options.data:
        for case in range(NUM_CASES):
            bench = Bench(tier, name, options.seed, case)
            part = f"{Path(name).name.split('.')[0]}, {bench.network.name}"
            have = result["parts"].setdefault(part, {"epsilons": {}, "hindsight": {}})
            asked = [("epsilons", measured, epsilon) for epsilon in tier.epsilons]
            asked += [("hindsight", by_every_plan, epsilon) for epsilon in tier.hindsight]
            missing = [each for each in asked if f"{each[2]:g}" not in have[each[0]]]
            if not missing:
                continue
            begun = time.perf_counter()
            with stage(part) as show:
                ready = prepared(bench)
                have |= summary(bench, ready)
                for i, (kind, measure, epsilon) in enumerate(missing):
                    found = measure(bench, ready, epsilon)
                    seconds = round(time.perf_counter() - begun, 1)
                    have[kind][f"{epsilon:g}"] = {**found, "seconds": seconds, "hardware": timing.hardware()}
                    result["parts"][part] = have
                    saved(path, result)
                    write_tables(options.out)
                    show(i + 1, len(missing))
                    begun = time.perf_counter()
    print(f"{path} and its tables hold every part.")


def keep_programs(work: Path) -> None:
    """Keeps what is compiled: private steps of two rates, or of two epsilons, differ in one program of five."""
    jax.config.update("jax_compilation_cache_dir", str(work.resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


if __name__ == "__main__":
    command(main, Options)
