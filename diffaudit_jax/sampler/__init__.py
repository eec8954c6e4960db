"""Samplers: one function per published algorithm, each for ONE example.

A sampler sees the model only as ``denoise(xt, t) -> Prediction`` and starts from noise of the process's `prior_std`.
"""

from diffaudit_jax.sampler.discrete import ancestral as ancestral
from diffaudit_jax.sampler.discrete import ddim as ddim
from diffaudit_jax.sampler.discrete import ddim_step as ddim_step
from diffaudit_jax.sampler.grids import Denoise as Denoise
from diffaudit_jax.sampler.grids import grid as grid
