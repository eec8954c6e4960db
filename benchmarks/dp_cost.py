"""What a private step costs: over a plain one here, and beside Opacus on the same network and batch, in one run.

python -m benchmarks.dp_cost                     # this library alone
python -m benchmarks.dp_cost --peer opacus       # and PyTorch's, plain and private by hooks and by ghost clipping

Steps are timed by turns, so that a drift of the machine hits all alike. Peak memory is that of a process of its own for
each side, over what it held before its first step. The batch is the whole pool: Poisson sampling then draws it all.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import timing
from diffaudit_jax.importers import Imported
from diffaudit_jax.memory import keep_freed_memory
from diffaudit_jax.models import build, count_params, from_linen
from diffaudit_jax.process import Process, ddpm_linear
from diffaudit_jax.training import Privacy, Recipe
from diffaudit_jax.training.dpsgd import make_private_step
from diffaudit_jax.training.state import Data, example_loss, init_state, make_step
from diffaudit_jax.types import Network, Params

LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Options:
    """Time private and plain training steps."""

    peer: Literal["opacus"] | None = None
    """What to race: needs PyTorch, diffusers and Opacus (extra `bench`)."""
    batch: int = 64
    """Images a step."""
    side: int = 16
    """Side of the images, in pixels."""
    width: int = 32
    """Channels of the first level."""
    microbatch: tuple[int, ...] = (8, 16, 32)
    """Images that the private step works on at once."""
    repeats: int = 9
    """Timed steps of each side."""
    only: str | None = None
    """Take three steps of one side and print the peak memory of the process: what the benchmark starts for each."""


def main(options: Options) -> None:
    """Times and weighs every side; saves."""
    keep_freed_memory()
    made = sides(options)
    if options.only is not None:
        print(json.dumps({"peak_bytes": peak(made[options.only]())}))
        return
    seconds = timing.by_turns({name: make() for name, make in made.items()}, options.repeats)
    rows = {
        name: {
            "images_per_s": round(options.batch / took, 1),
            "over_plain": round(took / seconds["torch plain" if name.startswith(("torch", "opacus")) else "plain"], 2),
            "peak_mb": round(weighed(options, name) / 2**20),
        }
        for name, took in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name}: {row}")
    result = {"batch": options.batch, "side": options.side, "width": options.width, "steps": rows}
    version = f"jax-{jax.__version__}"
    print(f"saved {timing.save(f'dp-cost-{jax.default_backend()}-{version}', result)}")


def sides(options: Options) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Returns name -> what makes a step of that side."""
    shape = (options.batch, options.side, options.side, 3)
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if options.peer is None:
        return _ours(options, x, None)
    from benchmarks import dp_peer, peer  # PyTorch is wanted for these alone

    built = peer.build(options.width, options.side)
    images = x.astype(np.float32) / 127.5 - 1
    return {
        **_ours(options, x, built.imported),
        "torch plain": lambda: peer.training(peer.fresh(built), built, images, LEARNING_RATE),
        "opacus hooks": lambda: dp_peer.hooks(built, images, LEARNING_RATE),
        "opacus ghost": lambda: dp_peer.ghost(built, images, LEARNING_RATE),
    }


def _ours(options: Options, x: np.ndarray, imported: Imported | None) -> dict[str, Callable[[], Callable[[], Any]]]:
    network, process, params = _network(options, imported)
    recipe = Recipe(batch_size=options.batch, learning_rate=LEARNING_RATE)
    loss, data = example_loss(network, process, recipe), Data(jnp.asarray(x), None)

    def carried(step: Callable) -> Callable[[], Any]:
        state = init_state(jax.random.key(0), network, recipe)._replace(params=jax.tree.map(jnp.array, params))

        def run() -> Any:
            nonlocal state
            state, info = step(state, data)
            return info

        return run

    def private(microbatch: int) -> Callable[[], Any]:
        return carried(make_private_step(loss, recipe, Privacy(1.0, microbatch=microbatch)))

    made: dict[str, Callable[[], Callable[[], Any]]] = {
        "plain": lambda: carried(jax.jit(make_step(loss, recipe), donate_argnums=0))
    }
    return made | {f"private, {size} at once": lambda size=size: private(size) for size in options.microbatch}


def _network(options: Options, imported: Imported | None) -> tuple[Network, Process, Params]:
    if imported is not None:
        network = from_linen(imported.model, imported.process)
        print(f"{count_params(imported.params):,} parameters")
        return network, imported.process, imported.params
    process = ddpm_linear()
    network = from_linen(build("ddpm", (options.side, options.side, 3), channels=options.width, patch=1), process)
    return network, process, network.init(jax.random.key(0))


def peak(step: Callable[[], Any]) -> int:
    """Returns what three steps add to the greatest memory that this process has held."""
    before = _high_water()
    for _ in range(3):
        jax.block_until_ready(step())
    return _high_water() - before


def _high_water() -> int:
    # Not what getrusage says: a process that is started by another begins with the peak of that one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def weighed(options: Options, name: str) -> int:
    """Returns the peak memory of a side, in a process of its own."""
    words = ["--batch", options.batch, "--side", options.side, "--width", options.width, "--only", name]
    words += ["--microbatch", *options.microbatch, *(["--peer", options.peer] if options.peer else [])]
    command = [sys.executable, "-m", "benchmarks.dp_cost", *map(str, words)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])["peak_bytes"]


if __name__ == "__main__":
    main(tyro.cli(Options))
