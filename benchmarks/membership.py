"""Who finds the members: every attack on models from under- to over-fitted, and what changes the answer.

python -m benchmarks.membership --tier cpu                     # small networks, on embedded images
python -m benchmarks.membership --tier gpu --data train-images-idx3-ubyte.gz faces.npz       # needs an accelerator

All attacks of the command line's catalogue, at its settings, against DDPMs trained on two sets, few images and many,
for three lengths of time. Then, each on its own: how the model is sampled and which process it has; plain images
against photographs; how a trajectory is cut and joined; what shadows teach; surrogates of other architectures; and what
protections cost the attacker.

What is measured is saved as soon as it is there, and the same command goes on where it was stopped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax

from benchmarks import studies, timing
from benchmarks.cases import PHOTOS, Bench, Case, Tier
from benchmarks.membership_table import write_tables
from benchmarks.stopped import check_device, command, opened, saved
from diffaudit_jax import training

Part: TypeAlias = tuple[str, str, Callable[[], dict[str, Any]]]
"""What is measured: "cases" or "studies", its name, and what measures it."""
TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        size="small",
        members=(64, 256),
        fits=(150, 600, 2400),
        nonmembers=256,
        shadow_nonmembers=128,
        recipe=training.Recipe(batch_size=64, learning_rate=2e-3, warmup_steps=50, ema_decay=0.99),
        bank=2000,
        bank_steps={"ddim": 25, "ancestral": 100, "euler-maruyama": 100},
        surrogate_steps=1000,
        times=25,
        block=64,
    ),
    "gpu": Tier(
        size="published",
        members=(1000, 4000),
        fits=(5_000, 40_000, 200_000),
        nonmembers=1000,
        shadow_nonmembers=1000,
        recipe=training.Recipe(batch_size=128, learning_rate=2e-4, warmup_steps=1000, ema_decay=0.9999),
        bank=20_000,
        bank_steps={"ddim": 50, "ancestral": 1000, "euler-maruyama": 1000},
        surrogate_steps=100_000,
        times=50,
        block=500,
    ),
}


@dataclass(frozen=True)
class Options:
    """Audit models from under- to over-fitted by every attack."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    data: tuple[str, str] = ("fashion-mnist-2k", "pixel-faces-2k")
    """Two sets of images: embedded names, paths (npz, folder, IDX), or tfds:NAME[:SPLIT]. Studies look at the first,
    and compare the second, as plain images, with photographs."""
    out: Path = timing.RESULTS
    """Directory for membership-TIER.json and membership-TIER.md."""
    work: Path = Path("build/membership")
    """Scratch directory for models and answers, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every part."""
    write_tables(options.out)
    check_device(options.tier)
    tier = TIERS[options.tier]
    bench = Bench(tier, options.seed, options.work / f"{options.tier}-{options.seed}")
    # Cases differ in weights and images, not in programs.
    jax.config.update("jax_compilation_cache_dir", str((bench.work / "compiled").absolute()))
    path = options.out / f"membership-{options.tier}.json"
    setting = {"data": options.data, "tier": asdict(tier), "seed": options.seed}
    result = {"cases": {}, "studies": {}} | opened(path, setting)
    for kind, name, measure in parts(bench, *options.data):
        if name not in result[kind]:
            result[kind][name] = {**measure(), "hardware": timing.hardware()}
            saved(path, result)
            write_tables(options.out)
            jax.clear_caches()
    print(f"{path} and its tables hold every part.")


def parts(bench: Bench, first: str, second: str) -> Iterator[Part]:
    """Yields every part, in the order of interest."""
    (few, many), (_, middle, over) = bench.tier.members, bench.tier.fits
    studied = Case(first, few, middle)

    def fits(source: str, members: int) -> list[Case]:
        return [Case(source, members, steps) for steps in bench.tier.fits]

    def attacked(cases: Iterable[Case]) -> Iterator[Part]:
        return (("cases", case.name, lambda case=case: studies.attacked(bench, case)) for case in cases)

    def looked_into(case: Case) -> Iterator[Part]:
        yield "studies", f"variants-{case.name}", lambda: studies.variants(bench, case)
        yield "studies", f"taught-{case.name}", lambda: studies.taught(bench, case)

    yield from attacked(fits(first, few))
    yield from looked_into(studied)
    yield "studies", "protections", lambda: studies.protections(bench, studied)
    yield from attacked([*fits(first, many), *fits(second, few)])
    yield from attacked(
        [studied._replace(family="vp-sde", sampler="euler-maruyama"), studied._replace(sampler="ancestral")]
    )
    yield from attacked(fits(PHOTOS, few))
    yield "studies", "surrogates-ddpm", lambda: studies.surrogates(bench, Case(first, few, over))
    yield from attacked(fits(second, many))
    for case in (Case(second, few, middle), Case(first, many, middle), Case(second, many, middle)):
        yield from looked_into(case)


if __name__ == "__main__":
    command(main, Options)
