"""Models from elsewhere as targets: weights read without their framework and without running anything a file says."""

from diffaudit_jax.importers import clip as clip
from diffaudit_jax.importers import diffusers as diffusers
from diffaudit_jax.importers import guided as guided
from diffaudit_jax.importers.callables import from_callable as from_callable
from diffaudit_jax.importers.callables import from_sampler as from_sampler
from diffaudit_jax.importers.clip import PretrainedClip as PretrainedClip
from diffaudit_jax.importers.images import from_images as from_images
from diffaudit_jax.importers.imported import Imported as Imported
from diffaudit_jax.importers.loading import load as load
from diffaudit_jax.importers.loading import recognise as recognise
from diffaudit_jax.importers.loading import to_target as to_target
from diffaudit_jax.importers.lpips import lpips_weights as lpips_weights
from diffaudit_jax.importers.zero_shot import ZeroShot as ZeroShot
from diffaudit_jax.importers.zero_shot import zero_shot as zero_shot
