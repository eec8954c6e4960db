"""The race: one U-Net, one set of weights, here and in PyTorch, by turns in one run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from diffaudit_jax import attacks
from diffaudit_jax.auditing import observing
from diffaudit_jax.importers import Imported
from diffaudit_jax.models import count_params, from_linen
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.training.state import Data, Recipe, example_loss, init_state, make_step
from diffaudit_jax.types import Query

AGREEMENT = 1e-4
LEARNING_RATE = 1e-4


def race(*, batch: int, times: int, repeats: int, trajectory_repeats: int, width: int) -> dict[str, Any]:
    """Measures forward, training step and loss trajectory of both sides; refuses networks that do not agree.

    Args:
      batch: Images per forward and training step, and of the trajectory, which is one block.
      times: Times of the trajectory.
      repeats: Timed calls of forward and training step.
      trajectory_repeats: Timed trajectories.
      width: Channels of the first level.
    """
    from benchmarks import peer  # PyTorch is wanted for this alone

    built = peer.build(width)
    draws = np.random.default_rng(0)
    x = draws.normal(size=(batch, *built.imported.model.shape)).astype(np.float32)
    pictures = draws.integers(0, 256, x.shape, dtype=np.uint8)
    steps = np.round(built.imported.process.times(times) * 1000).astype(int) - 1
    ours = _ours(built.imported, x, pictures, times, batch)
    sides = {"eager": peer.fresh(built), "compiled": peer.compiled(peer.fresh(built))}
    theirs = {name: peer.forward(module, x, 499) for name, module in sides.items()}
    error = {name: _error(np.asarray(ours["forward"]()), run()) for name, run in theirs.items()}
    if max(error.values()) > AGREEMENT:
        raise SystemExit(f"the networks do not agree, so there is no race: relative errors {error}.")
    forward = timing.by_turns({"ours": ours["forward"], **theirs}, repeats)
    walks = {name: peer.trajectory(module, built, pictures, steps, batch) for name, module in sides.items()}
    trajectory = timing.by_turns({"ours": ours["trajectory"], **walks}, trajectory_repeats)
    trained = {name: peer.training(module, built, x, LEARNING_RATE) for name, module in sides.items()}
    train = timing.by_turns({"ours": ours["train"], **trained}, repeats)
    return {
        "network": {"parameters": count_params(built.imported.params), "batch": batch, "width": width},
        "peer": {"torch": peer.torch.__version__, "diffusers": peer.diffusers.__version__},
        "threads": peer.torch.get_num_threads(),
        "largest_relative_error": {name: float(f"{value:.2g}") for name, value in error.items()},
        "forward": _row(forward, batch),
        "train": _row(train, batch),
        "trajectory": _row(trajectory, batch * times),
    }


def _ours(imported: Imported, x: np.ndarray, pictures: np.ndarray, times: int, batch: int) -> dict[str, Any]:
    model, process, recipe = imported.model, imported.process, Recipe(batch_size=batch, learning_rate=LEARNING_RATE)
    network = from_linen(model, process)
    forward = jax.jit(jax.vmap(lambda params, one: network.apply(params, one, jnp.float32(0.5)).eps, (None, 0)))
    state = init_state(jax.random.key(0), network, recipe)._replace(params=imported.params)
    step = jax.jit(make_step(example_loss(network, process, recipe), recipe))
    data, images = Data(jnp.asarray(pictures), None), jnp.asarray(x)
    attack = attacks.loss_trajectory(process.times(times))
    target = diffusion_target(imported.params, network, process, model.shape)
    audit = Stream(observing(attack, target), block=batch)

    def trajectory() -> list[np.ndarray]:
        queries = Query(pictures, None, np.arange(len(pictures)))
        return [seen.eps for _, _, seen in audit((target.params, attack.evidence), jax.random.key(0), queries)]

    return {
        "forward": lambda: forward(imported.params, images),
        "train": lambda: step(state, data),
        "trajectory": trajectory,
    }


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _row(seconds: dict[str, float], work: int) -> dict[str, float]:
    best = min(value for name, value in seconds.items() if name != "ours")
    rates = {f"{name}_per_s": round(work / value, 1) for name, value in seconds.items()}
    return {**rates, "ratio_to_faster_peer": round(best / seconds["ours"], 3)}
