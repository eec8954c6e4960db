"""Measures what a diffusion model leaks, in JAX."""

from diffaudit_jax._version import __version__ as __version__
