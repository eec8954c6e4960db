"""What an attacker who is not told can estimate: the standard deviation of the noise, and how far clipping shrank.

`n` is standard normal and z = Phi^-1(3/4) = 0.6745. All are functions of one example, pure, and made for vmap and jit.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffaudit_jax.types import InputError

_QUARTILE = 0.6744897501960817  # z: half of |n| lies below it


def wavelet_std(y: Float[Array, "*units h w c"]) -> Float[Array, ""]:
    """Estimates the standard deviation of white noise on an image from its finest diagonal Haar band.

    sigma^ = median |HH| / z,   HH = (a - b - c + d)/2 of every 2x2 block, all channels (and images) in one pool

    The noise of HH has the standard deviation of a pixel's. The median of N numbers |HH|, whose density there is
    2 phi(z)/sigma, has the standard error sigma/(4 phi(z) sqrt(N)), so that the estimate's is

        sigma/(4 z phi(z) sqrt(N)) = 1.17 sigma/sqrt(N) = 2.33 sigma/sqrt(h w c)

    The image itself biases it upwards. Fine texture of variance v in HH, all over the image, adds v/(2 sigma) where it
    is small beside the noise, whatever its distribution. Edges on a small share p of the blocks, however strong, add up
    to about 1.17 p sigma. Where the noise is below the texture, the texture is what is measured.

    Args:
      y: Noisy image, or several with the same noise level. An odd last row or column is left out.

    Returns:
      The estimate, in the units of `y`.

    Raises:
      InputError: if `y` is not made of images of at least 2x2 pixels.

    References:
      Donoho and Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage, https://doi.org/10.1093/biomet/81.3.425
    """
    if y.ndim < 3 or min(y.shape[-3:-1]) < 2:
        raise InputError(
            f"a wavelet estimate of the noise needs images [height, width, channels] of at least 2x2 pixels, got "
            f"{list(y.shape)}: use coordinates without signal, or give the noise."
        )
    h, w = (side // 2 * 2 for side in y.shape[-3:-1])
    a, b, c, d = (y[..., i:h:2, j:w:2, :] for i in (0, 1) for j in (0, 1))
    return jnp.median(jnp.abs(a - b - c + d) / 2) / _QUARTILE


def signal_free_std(coordinates: Float[Array, "*n"]) -> Float[Array, ""]:
    """Estimates the standard deviation of noise from coordinates of a gradient that carry nothing else.

    sigma^ = sqrt(mean of squares)

    Of n coordinates, the standard error is sigma/sqrt(2 n) and the bias -sigma/(4 n); the image adds none.

    Args:
      coordinates: Those coordinates, in any shape.

    Raises:
      InputError: if there are none.
    """
    if not coordinates.size:
        raise InputError("no coordinates without signal were given: give one at least, or use the wavelet estimate.")
    return jnp.sqrt(jnp.mean(coordinates**2))


def typical_factor(l2_clip_norm: float, typical_norm: float) -> Float[Array, ""]:
    """Guesses the factor of clipping from the norm that gradients usually have: min(1, C/typical_norm).

    Where clipping is active, an image that is recovered by it has the typical norm: the scale is off by the factor
    typical_norm/||g||, and so are image and noise together. It does not look at the gradient.

    Args:
      l2_clip_norm: C.
      typical_norm: Norm of a gradient as the prior has it; of a linear unit, the norm of an image.
    """
    return jnp.minimum(1.0, jnp.float32(l2_clip_norm) / typical_norm)


def measured_factor(gradient: Float[Array, " n"], stddev: Float[Array, ""], typical_norm: float) -> Float[Array, ""]:
    """Guesses the factor of clipping from the norm that is left beneath the noise.

    E||g~||^2 = min(C, ||g||)^2 + n s^2,   so   lam^ = min(1, sqrt(||g~||^2 - n s^2) / typical_norm)

    C need not be known. With c the norm after clipping, the standard error of ||g~||^2 - n s^2 is
    s sqrt(2 n s^2 + 4 c^2), which is 1/mu sqrt(2 n/mu^2 + 4) of c^2 where clipping is active: the factor is known to
    half as much of itself. Below mu = (2 n)^(1/4) nothing can be read; what is left then counts as one standard error
    of pure noise, s^2 sqrt(2 n).

    Args:
      gradient: The noisy gradient, all n coordinates.
      stddev: s, the standard deviation of its noise.
      typical_norm: Norm of a gradient before clipping, as the prior has it.
    """
    n = gradient.size
    left = jnp.maximum(jnp.sum(gradient**2) - n * stddev**2, stddev**2 * (2 * n) ** 0.5)
    return jnp.minimum(1.0, jnp.sqrt(left) / typical_norm)
