"""Targets whose answers are known in closed form, and the tables that contract tests run over.

Denoisers, with D = alpha^2 var + sigma^2:

    gaussian     data N(mean, var I):           x0' = (sigma^2 mean + var alpha x_t)/D,  exact
    memorising   data uniform on the members:   x0' = softmax_i(-||x_t - alpha x_i||^2/(2 sigma^2)) x_i,  exact
    conv         3x3 convolution, group norm, 3x3 convolution: no meaning, but the gradients of a real network
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.access import BlackBox, GrayBox, Variation, WhiteBox
from diffaudit_jax.attack import Attack
from diffaudit_jax.attacks import (
    clean_query,
    fluctuation,
    gradient_norms,
    likelihood,
    loss_trajectory,
    proximal,
    step_error,
    variation,
    x0_trajectory,
)
from diffaudit_jax.process import Process, ddpm_cosine, ddpm_linear, edm, ncsn, sub_vp_sde, ve_sde, vp_sde
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import Network, Prediction, Query

EPS32 = float(np.finfo(np.float32).eps)
SHAPE = (4, 4, 2)


def linear_betas(num_steps: int) -> np.ndarray:
    """Betas of the linear schedule, from 1e-4 to 2e-2 at 1,000 steps; float64."""
    low, high = 0.1 / num_steps, 20 / num_steps
    return np.array([low + (high - low) * i / (num_steps - 1) for i in range(num_steps)])


def cosine_betas(num_steps: int) -> np.ndarray:
    """Betas of the cosine schedule; float64."""
    f = lambda u: np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
    return np.array([min(1 - f((i + 1) / num_steps) / f(i / num_steps), 0.999) for i in range(num_steps)])


PROCESSES: Mapping[str, Process] = {
    "linear-50": ddpm_linear(50),
    "linear-1000": ddpm_linear(1000),
    "cosine-20": ddpm_cosine(20),
    "cosine-1000": ddpm_cosine(1000),
    "ncsn-50": ncsn(50),
    "vp": vp_sde(),
    "sub-vp": sub_vp_sde(),
    "ve": ve_sde(),
    "edm": edm(),
}

# Every attack that contract tests run, with settings small enough to run on anything.
ATTACKS: Mapping[str, Callable[[Process], Attack]] = {
    "eps-mean": lambda process: loss_trajectory(process.times(5), truncate=0.6),
    "vlb-sum": lambda process: loss_trajectory(
        [0.1, 0.3, 0.8], loss="vlb", statistic="sum", truncate=0.4, by="value", num_noises=2
    ),
    "x0-median": lambda process: loss_trajectory(
        [0.1, 0.2], loss="x0", statistic="median", common_noise=False, clip=False
    ),
    "api-x0": lambda process: x0_trajectory([0.1, 0.3, 0.8], statistic="sum", truncate=0.4, num_noises=2),
    "secmi": lambda process: step_error(process.times(5)[:3]),
    "pia": lambda process: proximal(process.times(5)[:2], first=1 / process.steps),
    "pian": lambda process: proximal(process.times(5)[1:2], first=1 / process.steps, normalised=True),
    "sima": lambda process: clean_query(process.times(5)[:2]),
    "fluctuation": lambda process: fluctuation([0.1, 0.3], strengths=[0.8, 0.5], num_noises=2),
    "variation": lambda process: variation(0.3, num_variations=2, num_steps=2),
    "gsa1": lambda process: gradient_norms([0.1, 0.5], num_noises=2),
    "likelihood": lambda process: likelihood([0.1, 0.3, 0.6], num_probes=2),
}
ACCESS = {"white": WhiteBox, "gray": GrayBox, "variation": Variation, "black": BlackBox}


def gaussian(process: Process, mean: Any = 0.0, var: float = 1.0, shape: tuple[int, ...] = SHAPE) -> Target:
    """The exact model of N(mean, var I); told nothing but mean = 0, var = 1, it knows no data at all."""

    def apply(params, xt, t, cond=None, *, key=None) -> Prediction:
        alpha, sigma = process.alpha(t), process.sigma(t)
        scale = alpha**2 * params["var"] + sigma**2
        x0 = (sigma**2 * params["mean"] + params["var"] * alpha * xt) / scale
        return Prediction(sigma * (xt - alpha * params["mean"]) / scale, x0)

    params = {"mean": jnp.broadcast_to(jnp.float32(mean), shape), "var": jnp.float32(var)}
    return diffusion_target(params, Network(lambda key: params, apply), process, shape, sample_steps=4)


def memorising(process: Process, members: Any) -> Target:
    """The exact model of the members themselves: what unlimited training would reach."""

    def apply(params, xt, t, cond=None, *, key=None) -> Prediction:
        alpha, sigma = process.alpha(t), process.sigma(t)
        distance = ((xt[None] - alpha * params) ** 2).reshape(len(params), -1).sum(-1)
        x0 = jnp.tensordot(jax.nn.softmax(-distance / (2 * sigma**2)), params, 1)
        return Prediction((xt - alpha * x0) / sigma, x0)

    params = jnp.asarray(members, jnp.float32)
    return diffusion_target(params, Network(lambda key: params, apply), process, params.shape[1:], sample_steps=4)


def conv(process: Process, shape: tuple[int, ...] = SHAPE, channels: int = 8, seed: int = 0) -> Target:
    """A network with everything that batching and sharding get wrong: convolutions and a group norm."""

    def convolve(x, kernel):
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=dims)[0]

    def apply(params, xt, t, cond=None, *, key=None) -> Prediction:
        y = convolve(xt, params["first"]).reshape(-1, 2, channels // 2)
        y = (y - y.mean((0, 2), keepdims=True)) / jnp.sqrt(y.var((0, 2), keepdims=True) + 1e-5)
        eps = convolve(jax.nn.silu(y + t).reshape(*xt.shape[:2], channels), params["second"])
        return Prediction(eps, (xt - process.sigma(t) * eps) / process.alpha(t))

    rng = np.random.default_rng(seed)
    kernels = {"first": (3, 3, shape[-1], channels), "second": (3, 3, channels, shape[-1])}
    params = {name: jnp.asarray(rng.normal(size=size) / 5, jnp.float32) for name, size in kernels.items()}
    return diffusion_target(params, Network(lambda key: params, apply), process, shape, sample_steps=4)


def images(n: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Uniform uint8 images [n, *shape], any two far apart."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def pool(n: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Query:
    """N queries about `images`, with rows that are neither consecutive nor sorted."""
    rows = np.random.default_rng(seed + 1).permutation(10 * n)[:n]
    return Query(images(n, seed, shape), None, rows)


def signed(x: np.ndarray) -> np.ndarray:
    """uint8 images in float64 [-1, 1]."""
    return x.astype(np.float64) / 127.5 - 1


def stub(access: Any) -> Any:
    """An object with an access record's declared fields and nothing else of it."""
    return SimpleNamespace(**{field.name: getattr(access, field.name) for field in fields(access)})


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """P(member's score > other's) + half the ties, by looking at every pair."""
    above = np.asarray(members)[:, None] - np.asarray(others)[None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def null_se(m: int, n: int) -> float:
    """Standard error of the AUC of m members and n others that do not differ (Mann-Whitney)."""
    return float(np.sqrt((m + n + 1) / (12 * m * n)))


def counted(target: Target) -> tuple[Target, list[int]]:
    """The same diffusion model, and a list that grows by one with every example its network is called on."""
    assert target.network is not None
    assert target.process is not None
    inner, calls = target.network, []

    def apply(params, xt, t, cond=None, *, key=None) -> Prediction:
        # xt is what vmap batches: a callback without it would be made once for a whole batch.
        jax.debug.callback(lambda _: calls.append(1), xt)
        return inner.apply(params, xt, t, cond, key=key)

    network = Network(inner.init, apply)
    return diffusion_target(target.params, network, target.process, target.shape, sample_steps=4), calls


def seen_in_float64(attack: Attack, target: Target, x: np.ndarray, key: jax.Array) -> Any:
    """Features of one query, all but the schedule's tables in float64: no rounding hides a step that is one off."""
    with jax.enable_x64(True):
        access = attack.grant(replace(target, params=_in_float64(target.params)))
        observe = jax.jit(lambda key, query: attack.observe(access, attack.evidence, key, query))
        return jax.tree.map(np.asarray, observe(key, Query(jnp.asarray(x, jnp.float64), None, jnp.asarray(0))))


def published(target: Target, num_steps: int) -> tuple[Callable[[np.ndarray, int], np.ndarray], np.ndarray, np.ndarray]:
    """A model as published code has it: eps(x, i) at the 0-based step i, alpha [T] and sigma [T]; all in float64.

    Alpha and sigma are those of the linear schedule, rounded to float32 as tables on a device are.
    """
    abar = np.cumprod(1 - linear_betas(num_steps))
    alpha, sigma = np.float64(np.float32(np.sqrt(abar))), np.float64(np.float32(np.sqrt(1 - abar)))

    def eps(x: np.ndarray, i: int) -> np.ndarray:
        assert target.network is not None
        with jax.enable_x64(True):
            t = jnp.asarray((i + 1) / num_steps, jnp.float32)
            pred = target.network.apply(_in_float64(target.params), jnp.asarray(x, jnp.float64), t)
            x0_hat = np.asarray(pred.x0)
        return (x - alpha[i] * x0_hat) / sigma[i]

    return eps, alpha, sigma


def _in_float64(params: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
