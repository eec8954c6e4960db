"""What a privatised gradient shows of an image to whoever has a diffusion prior: release, denoise, judge."""

from diffaudit_jax.reconstruction.released import Release as Release
