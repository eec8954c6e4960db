"""How far one prior is from another, in nats, as the excess error of denoising with the wrong one.

With P the law of the data and Q the prior that is used, both seen through y = x + sigma n, and snr = 1/sigma^2,

    D(P * N_sigma || Q * N_sigma) = 1/2 integral from 0 to snr of (E||x - E_Q[x|y]||^2 - E||x - E_P[x|y]||^2)

Learned denoisers stand for both expectations, so the value is as good as they are; an excess below 0 tells that the
matched one is not the best at that noise.

References:
  Verdú 2010, Mismatched Estimation and Relative Entropy, IEEE Trans. Information Theory 56:3712
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.types import InputError


class CurveGap(NamedTuple):
    """A prior's distance from the data's own, up to each noise level.

    Attributes:
      sigmas: Noise levels, decreasing, float64 [k].
      divergence: What has been integrated from sigmas[0] to each of them, in nats, float64 [..., k]: first 0, and
        last, but for `left_out`, a lower limit of D(P || Q).
      left_out: What lies above sigmas[0] if the gap stays there what it is at sigmas[0], float64 [...]. Beyond the
        largest noise only the means of the two priors tell, so it does stay where sigmas[0] is far above both spreads.
    """

    sigmas: np.ndarray
    divergence: np.ndarray
    left_out: np.ndarray


def curve_gap(sigmas: ArrayLike, mse_mismatched: ArrayLike, mse_matched: ArrayLike, dims: int) -> CurveGap:
    """Integrates the gap between two denoising curves to a Kullback-Leibler divergence.

    The trapezoid rule on log snr: the integrand snr x gap rises as snr while the noise hides everything and falls as
    1/snr where it hides little, and where neighbours are a ratio r apart the rule overestimates either part by
    log(r)^2/3 of it: 1.8 % at 10 levels a decade, 0.4 % at 20.

    Args:
      sigmas: Noise levels [k], positive and distinct, in any order.
      mse_mismatched: Mean squared error per dimension with the prior in question, [..., k].
      mse_matched: The same with the prior of the data, on the same images, [..., k].
      dims: Dimensions of an image.

    Raises:
      InputError: if there are fewer than 2 levels, they are not positive and distinct, a curve has another length or
        holds a value that is not finite, or `dims` is not positive.
    """
    levels = np.asarray(sigmas, np.float64)
    if levels.ndim != 1 or len(np.unique(levels)) < 2 or len(np.unique(levels)) < len(levels):
        raise InputError(f"sigmas has shape {levels.shape}: give 2 distinct noise levels or more.")
    if not (np.isfinite(levels).all() and levels.min() > 0):
        raise InputError(f"the least noise level is {levels.min()}: levels are positive and finite.")
    if dims < 1:
        raise InputError(f"dims is {dims}: give the number of pixels times channels.")
    curves = [np.asarray(curve, np.float64) for curve in (mse_mismatched, mse_matched)]
    for curve in curves:
        if curve.shape[-1:] != levels.shape or not np.isfinite(curve).all():
            raise InputError(f"a curve has shape {curve.shape}: give finite errors at {len(levels)} noise levels.")
    order = np.argsort(-levels)
    snr = levels[order] ** -2.0
    rate = 0.5 * dims * (curves[0] - curves[1])[..., order] * snr  # by log snr
    parts = (rate[..., 1:] + rate[..., :-1]) / 2 * np.diff(np.log(snr))
    divergence = np.concatenate([np.zeros((*parts.shape[:-1], 1)), parts.cumsum(axis=-1)], axis=-1)
    return CurveGap(levels[order], divergence, rate[..., 0])
