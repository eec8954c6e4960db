"""Targets that are Python functions of NumPy batches: a model of another framework, a service behind an API.

Every attack works unchanged: a function of a whole batch becomes a function of one example (`importers.host`), and
streams run such a target un-jitted, on one thread (`Target.host`), so

    the function is called in order, once per block of rows, never again, never twice at a time;
    it may itself use JAX, threads or a network connection;
    what it raises, or returns wrongly, becomes one InputError.

Nothing is retried. An audit with ``out=`` keeps the blocks it has, and resumes from them once the service is back.
Un-jitted, everything else costs 20 to 30 ms per call of 128 images of 32x32 on two CPU cores, and for each size of
block some hundred single operations to compile, a few seconds.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from diffaudit_jax.importers.host import Question, ask
from diffaudit_jax.process import Process
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time

Denoise: TypeAlias = Callable[
    [Float[np.ndarray, "n *shape"], Float[np.ndarray, " n"], Int[np.ndarray, " n"] | None], Any
]
Sample: TypeAlias = Callable[[int, Int[np.ndarray, " n"] | None], Any]


def from_callable(
    denoise: Denoise,
    process: Process,
    shape: tuple[int, ...],
    *,
    name: str,
    version: str = "",
    sample: Sample | None = None,
    batch: int | None = None,
    num_classes: int | None = None,
    sample_steps: int = 50,
) -> Target:
    """Makes a target of a Python function that denoises: for gray-box and black-box audits, as no gradient passes.

    Args:
      denoise: ``denoise(xt [n, *shape], t [n], cond [n] | None)`` returns x0 estimates [n, *shape], floats. Arrays are
        NumPy's, float32 (cond int32), and the function's own to change; xt = alpha(t) x0 + sigma(t) eps with x0 in
        [-1, 1], and t is in (0, 1], step i of T (from 0) at (i + 1)/T.
      process: The noising process that it denoises.
      shape: Shape of one example.
      name: Which model this is. A function cannot be hashed: name and version stand for it in an audit's fingerprint,
        so change one of them when the model changes.
      version: Which state of it, e.g. a date or a checkpoint's hash.
      sample: ``sample(num, cond [num] | None)`` returns images [num, *shape], uint8 or floats in [-1, 1], for
        black-box attacks. None draws them through `denoise`, by DDIM. Their randomness is the function's own: an audit
        of them cannot be repeated exactly.
      batch: Rows per call at most; None for a whole block of queries times its noises.
      num_classes: Classes of a conditional model, else None.
      sample_steps: Calls per sample, if `sample` is None.

    Returns:
      A target without parameters, whose `host` is set.

    Raises:
      InputError: now, if an argument cannot be; in an audit, if the function raises or returns anything but finite
        floats of the right shape.
    """
    _check(shape, name, batch, (denoise,) if sample is None else (denoise, sample))
    function = lambda xt, t, cond=None: denoise(xt, t, cond)  # noqa: E731
    question = Question(function, tuple(shape), f"denoise of {name!r}", batch, _estimates)

    def apply(params: Params, xt: Example, t: Time, cond: Any = None, *, key: Key | None = None) -> Prediction:
        del params, key
        # No gradient passes: without this, one taken of a gray-box answer would find no rule for the question.
        xt, t = jax.lax.stop_gradient((jnp.asarray(xt, jnp.float32), jnp.asarray(t, jnp.float32)))
        x0 = ask(question, xt, t, cond, rank=len(shape))
        return Prediction((xt - process.alpha(t) * x0) / process.sigma(t), x0)

    network = Network(lambda key: {}, apply, {"callable": name, "version": version})
    target = diffusion_target({}, network, process, shape, num_classes=num_classes, sample_steps=sample_steps)
    target = replace(target, host=True)
    return target if sample is None else replace(target, sample=_sampler(sample, shape, name, batch))


def from_sampler(
    sample: Sample,
    shape: tuple[int, ...],
    *,
    name: str,
    version: str = "",
    batch: int | None = None,
    num_classes: int | None = None,
) -> Target:
    """Makes a target that only gives samples, for black-box audits of whatever a function can call.

    Args:
      sample: ``sample(num, cond [num] | None)`` returns images [num, *shape], uint8 or floats in [-1, 1].
      shape: Shape of one example.
      name: Which model this is, and with `version` what an audit's fingerprint knows of it.
      version: Which state of it.
      batch: Samples per call at most; None for a whole block.
      num_classes: Classes of a conditional model, else None.

    Returns:
      A target without process, network and parameters, whose `host` is set.

    Raises:
      InputError: now, if an argument cannot be; in an audit, if the function raises or returns anything but images.
    """
    _check(shape, name, batch, (sample,))
    config = {"callable": name, "version": version}
    return Target(
        {},
        tuple(shape),
        _sampler(sample, shape, name, batch),
        config=config,
        num_classes=num_classes,
        host=True,
    )


def _estimates(who: str, out: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError(f"{who} returned {out.dtype}: return floats, estimates of x0 in [-1, 1].")
    with np.errstate(over="ignore"):
        out = out.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(out).reshape(len(out), -1).all(axis=1))
    if len(bad):
        t = rows[1][bad[0]]
        raise InputError(
            f"{who} returned NaN or infinity for {len(bad)} of {len(out)} rows, first at t = {t:.4g}: mend it."
        )
    return out


def _images(who: str, out: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    del rows
    if out.dtype == np.uint8:
        return out.astype(np.float32) / 127.5 - 1
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError(f"{who} returned {out.dtype}: return images as uint8 or as floats in [-1, 1].")
    if not (np.abs(out) <= 1).all():  # also where one is NaN
        raise InputError(
            f"{who} returned values from {float(out.min()):.4g} to {float(out.max()):.4g}: clip or rescale to [-1, 1]."
        )
    return out.astype(np.float32)


def _sampler(
    sample: Sample, shape: tuple[int, ...], name: str, batch: int | None
) -> Callable[[Params, Key, Any], Example]:
    # The key is asked along only because every query has its own: it is what vmap stacks.
    function = lambda keys, cond=None: sample(len(keys), cond)  # noqa: E731
    question = Question(function, tuple(shape), f"sample of {name!r}", batch, _images)
    return lambda params, key, cond=None: ask(question, jax.random.key_data(key), cond, rank=1)


def _check(shape: tuple[int, ...], name: str, batch: int | None, functions: tuple[Any, ...]) -> None:
    if not shape or min(shape) < 1:
        raise InputError(f"the shape of one example has positive sides and no batch axis, got {tuple(shape)}.")
    if not isinstance(name, str) or not name:
        raise InputError(f"a function's model needs a name, which stands for it in fingerprints, got {name!r}.")
    if batch is not None and batch < 1:
        raise InputError(f"a call holds at least 1 row, got {batch=}.")
    for function in functions:
        if not callable(function):
            raise InputError(f"a function of NumPy batches is needed, got {function!r}: wrap it in one.")
