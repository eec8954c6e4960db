"""Networks: architectures in Flax Linen and the adapter that turns them into pure functions of one example."""

from diffaudit_jax.models.adapter import MODELS as MODELS
from diffaudit_jax.models.adapter import Model as Model
from diffaudit_jax.models.adapter import from_config as from_config
from diffaudit_jax.models.adapter import from_linen as from_linen
from diffaudit_jax.models.adapter import in_float32 as in_float32
from diffaudit_jax.models.adapter import unet as unet
from diffaudit_jax.models.unet import count_params as count_params
