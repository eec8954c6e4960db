"""How fast: forward, training step and loss trajectory, beside the matrix product of the same machine in the same run.

python -m benchmarks.throughput                   # everything; saves benchmarks/results/throughput-PLATFORM.json
python -m benchmarks.throughput --layers-only     # only the layers, ours against the naive ones
python -m benchmarks.throughput --peer diffusers  # the same U-Net and weights in PyTorch, by turns
"""

import importlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import naive, timing
from benchmarks.race import race
from diffaudit_jax import attacks, models, process
from diffaudit_jax.memory import keep_freed_memory
from diffaudit_jax.models import layers
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.training.state import Data, Recipe, example_loss, init_state, make_step
from diffaudit_jax.types import Query, to_signed

SIDE, CHANNELS = 32, 3
UNET = importlib.import_module("diffaudit_jax.models.unet")  # the package exports a function of the same name


@dataclass(frozen=True)
class Options:
    """Measure throughput on this machine."""

    batch: int = 64
    """Images per forward and training step."""
    images: int = 512
    """Images of the trajectory; in a race it is one block of `batch`."""
    times: int = 50
    """Times of the trajectory."""
    repeats: int = 7
    """Timed calls of each function; the median counts."""
    trajectory_repeats: int = 3
    """Timed trajectories."""
    width: int = 32
    """Channels of the U-Net's first level."""
    layers_only: bool = False
    """Measure only the layers."""
    peer: Literal["diffusers"] | None = None
    """Race the same U-Net with the same weights in PyTorch instead (extra `bench`)."""


def main(options: Options) -> None:
    """Measures, prints and saves."""
    keep_freed_memory()  # for both sides of a race
    if options.peer is not None:
        settings = {
            name: value for name, value in vars(options).items() if name not in ("peer", "layers_only", "images")
        }
        result = race(**settings)
        print("\n".join(f"{name}: {value}" for name, value in result.items()))
        print(f"saved {timing.save(f'race-{jax.default_backend()}-jax-{jax.__version__}', result)}")
        return
    result: dict[str, Any] = {"layers": measure_layers(options)}
    for name, row in result["layers"].items():
        print(f"{name:28s} naive {row['naive_ms']:8.2f} ms   ours {row['ours_ms']:8.2f} ms   {row['ratio']:.2f}x")
    if not options.layers_only:
        result |= measure_network(options)
        print("\n".join(f"{name}: {value}" for name, value in result.items() if name != "layers"))
        print(f"saved {timing.save(f'throughput-{jax.default_backend()}', result)}")


def measure_layers(options: Options) -> dict[str, dict[str, float]]:
    """Times each layer against its naive form, forward and gradient, on a batch at 16x16."""
    x = jax.random.normal(jax.random.key(0), (options.batch, SIDE // 2, SIDE // 2, 64))
    pairs = {
        "group norm": (naive.GroupNorm(), layers.GroupNorm()),
        "attention": (naive.Attention(), layers.Attention()),
        "attention, same heads": (naive.Attention(64), layers.Attention(64)),
        "1x1 convolution": (naive.Pointwise(64), nn.Dense(64)),
    }
    rows = {}
    for name, modules in pairs.items():
        for kind in ("forward", "gradient"):
            rows[f"{name}, {kind}"] = _versus([_layer(module, x, kind) for module in modules], options.repeats)
    doubled = [_on(jax.jit(jax.vmap(lambda x, f=f: 2 * f(x))), x) for f in (naive.upsample, layers.upsample)]
    rows["upsampling, forward"] = _versus(doubled, options.repeats)
    return rows


def measure_network(options: Options) -> dict[str, Any]:
    """Times the whole U-Net, ours and with naive layers, and relates it to the matrix product."""
    schedule = process.ddpm_linear(1000)
    ours = _network(options, schedule)
    with _naive_layers():
        before = _network(options, schedule)
        before_functions = {f"{name}, naive": function for name, function in before["functions"].items()}
        for function in before_functions.values():
            jax.block_until_ready(function())  # traced here, while the naive layers stand in
    product, product_flops = timing.matmul(2048 if jax.default_backend() == "cpu" else 8192, jnp.dtype("float32"))
    seconds = timing.by_turns({"matmul": product, **ours["functions"], **before_functions}, options.repeats)
    ours["trajectory"](options.batch)  # one block compiles it
    walk = {"trajectory": lambda: ours["trajectory"](options.images)}
    trajectory = timing.by_turns(walk, options.trajectory_repeats, warm=True)["trajectory"]
    rate = product_flops / seconds["matmul"]
    calls = options.images * options.times
    work = {name: ours["flops"][name] / seconds[name] / rate for name in ours["functions"]}
    return {
        "network": {"parameters": ours["parameters"], "side": SIDE, "batch": options.batch, "width": options.width},
        "repeats": {"forward, train": options.repeats, "trajectory": options.trajectory_repeats},
        "matmul_gflops": round(rate / 1e9, 1),
        "forward_images_per_s": round(options.batch / seconds["forward"], 1),
        "train_images_per_s": round(options.batch / seconds["train"], 1),
        "forward_before_after": round(seconds["forward, naive"] / seconds["forward"], 2),
        "train_before_after": round(seconds["train, naive"] / seconds["train"], 2),
        "forward_fraction_of_matmul": round(work["forward"], 3),
        "train_fraction_of_matmul": round(work["train"], 3),
        "trajectory_seconds": round(trajectory, 2),
        "trajectory_images_per_s": round(options.images / trajectory, 2),
        "trajectory_network_calls_per_s": round(calls / trajectory, 1),
        "trajectory_fraction_of_matmul": round(calls * ours["flops"]["forward"] / options.batch / trajectory / rate, 3),
    }


def _network(options: Options, schedule: process.Process) -> dict[str, Any]:
    shape = (SIDE, SIDE, CHANNELS)
    model = models.unet(shape, channels=options.width, mults=(1, 2), num_blocks=2, attention=(16,))
    network, recipe, key = models.from_linen(model, schedule), Recipe(batch_size=options.batch), jax.random.key(0)
    state = init_state(key, network, recipe)
    x = jax.random.normal(key, (options.batch, *shape))
    t = jnp.full((options.batch,), 0.5)
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (options.images, *shape), dtype=np.uint8)
    data = Data(jnp.asarray(images), None)
    forward = jax.vmap(lambda params, x, t: network.apply(params, x, t).eps, (None, 0, 0))
    step = make_step(example_loss(network, schedule, recipe), recipe)
    run_forward, run_step = jax.jit(forward), jax.jit(step)
    attack = attacks.loss_trajectory(schedule.times(options.times))
    target = diffusion_target(state.params, network, schedule, shape)

    def observe(shared, key, query):
        access = attack.grant(replace(target, params=shared[0]))
        return attack.observe(access, shared[1], key, query._replace(x=to_signed(query.x)))

    audit = Stream(observe, block=options.batch)

    def trajectory(count: int):
        queries = Query(images[:count], None, np.arange(count))
        return [features.eps.mean() for _, _, features in audit((state.params, attack.evidence), key, queries)]

    return {
        "parameters": models.count_params(state.params),
        "functions": {
            "forward": lambda: run_forward(state.params, x, t),
            "train": lambda: run_step(state, data),
        },
        "flops": {"forward": timing.flops(forward, state.params, x, t), "train": timing.flops(step, state, data)},
        "trajectory": trajectory,
    }


@contextmanager
def _naive_layers():
    """Stands the naive layers in for ours while a network is built and traced."""
    with (
        mock.patch.object(UNET, "GroupNorm", naive.GroupNorm),
        mock.patch.object(UNET, "Attention", naive.Attention),
        mock.patch.object(UNET, "upsample", naive.upsample),
    ):
        yield


def _layer(module: nn.Module, x: jax.Array, kind: str):
    params = module.init(jax.random.key(1), x[0])

    def forward(params, x):
        return jax.vmap(lambda one: module.apply(params, one))(x)

    gradient = jax.grad(lambda params, x: jnp.square(jnp.asarray(forward(params, x))).sum(), argnums=(0, 1))
    return _on(jax.jit(forward if kind == "forward" else gradient), params, x)


def _on(function, *arguments):
    return lambda: function(*arguments)


def _versus(pair: list[Callable], repeats: int) -> dict[str, float]:
    seconds = timing.by_turns(dict(zip(("naive", "ours"), pair, strict=True)), repeats)
    naive_ms, ours_ms = 1e3 * seconds["naive"], 1e3 * seconds["ours"]
    return {"naive_ms": round(naive_ms, 3), "ours_ms": round(ours_ms, 3), "ratio": round(naive_ms / ours_ms, 2)}


if __name__ == "__main__":
    main(tyro.cli(Options))
