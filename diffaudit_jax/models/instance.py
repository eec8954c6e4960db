"""InstanceNorm++, the norm of NCSN and NCSNv2, of ONE example [h, w, c]."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

EPSILON = 1e-5


def near_one(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws initial scales from N(1, 0.02^2)."""
    return 1 + 0.02 * jax.random.normal(key, shape)


class InstanceNormPlus(nn.Module):
    """Instance normalisation that gives back each channel's mean, standardised over the channels.

        y_k = gamma_k [(x_k - mu_k)/sqrt(s_k^2 + e) + alpha_k (mu_k - m)/sqrt(v + e)] + beta_k,     e = 1e-5

    mu_k and s_k^2 are the moments of channel k over height and width, m and v the mean and the variance of the mu_k
    over the channels. As in the released code, gamma multiplies both terms, v is the unbiased variance (so there are
    2 channels or more), and s_k^2 is not.

    Attributes:
      num_levels: Noise levels, each with a gamma, alpha and beta of its own (NCSN); None for one of each (NCSNv2).

    References:
      Song and Ermon 2019, https://arxiv.org/abs/1907.05600 (appendix A)
    """

    num_levels: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"], level: Int[Array, ""] | None = None) -> Float[Array, "h w c"]:
        """Normalises; `level` is the index of the noise level, not used if `num_levels` is None."""
        c = x.shape[-1]
        shape = (c,) if self.num_levels is None else (self.num_levels, c)
        gamma = self.param("gamma", near_one, shape)
        alpha = self.param("alpha", near_one, shape)
        beta = self.param("beta", nn.initializers.zeros_init(), shape)
        if self.num_levels is not None:
            gamma, alpha, beta = gamma[level], alpha[level], beta[level]
        x32 = x.astype(jnp.float32)
        mean = x32.mean((0, 1))
        var = jnp.maximum((x32 * x32).mean((0, 1)) - mean**2, 0.0)
        standard = (mean - mean.mean()) / jnp.sqrt(mean.var(ddof=1) + EPSILON)
        # One multiply-add over the big array: everything per channel is folded first.
        gain = gamma / jnp.sqrt(var + EPSILON)
        offset = gamma * alpha * standard + beta - mean * gain
        return (x32 * gain[None, None] + offset[None, None]).astype(x.dtype)
