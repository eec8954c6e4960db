"""Samplers: one function per published algorithm, each for ONE example.

A sampler sees the model only as ``denoise(xt, t) -> Prediction`` and starts from noise of the process's `prior_std`
(annealed Langevin dynamics starts from uniform noise, as published).
"""

from diffaudit_jax.sampler.discrete import ancestral as ancestral
from diffaudit_jax.sampler.discrete import ddim as ddim
from diffaudit_jax.sampler.discrete import ddim_step as ddim_step
from diffaudit_jax.sampler.grids import Denoise as Denoise
from diffaudit_jax.sampler.grids import grid as grid
from diffaudit_jax.sampler.langevin import annealed_langevin as annealed_langevin
from diffaudit_jax.sampler.langevin import langevin_step as langevin_step
from diffaudit_jax.sampler.ode import edm_grid as edm_grid
from diffaudit_jax.sampler.ode import heun as heun
from diffaudit_jax.sampler.ode import log_likelihood as log_likelihood
from diffaudit_jax.sampler.sde import euler_maruyama as euler_maruyama
from diffaudit_jax.sampler.sde import predictor_corrector as predictor_corrector
