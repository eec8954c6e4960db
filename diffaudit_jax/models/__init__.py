"""Networks: architectures in Flax Linen and the adapter that turns them into pure functions of one example."""

from diffaudit_jax.models import precondition as precondition
from diffaudit_jax.models.adapter import Model as Model
from diffaudit_jax.models.adapter import from_linen as from_linen
from diffaudit_jax.models.adapter import from_nnx as from_nnx
from diffaudit_jax.models.adapter import guided as guided
from diffaudit_jax.models.adapter import in_float32 as in_float32
from diffaudit_jax.models.architectures import MODELS as MODELS
from diffaudit_jax.models.architectures import from_config as from_config
from diffaudit_jax.models.architectures import ncsn as ncsn
from diffaudit_jax.models.architectures import unet as unet
from diffaudit_jax.models.clip import Clip as Clip
from diffaudit_jax.models.families import FAMILIES as FAMILIES
from diffaudit_jax.models.families import Family as Family
from diffaudit_jax.models.families import build as build
from diffaudit_jax.models.families import hybrid_weight as hybrid_weight
from diffaudit_jax.models.gan import gan as gan
from diffaudit_jax.models.generators import GENERATORS as GENERATORS
from diffaudit_jax.models.generators import generator as generator
from diffaudit_jax.models.generators import generator_target as generator_target
from diffaudit_jax.models.lpips import Lpips as Lpips
from diffaudit_jax.models.lpips import lpips as lpips
from diffaudit_jax.models.ncsnpp import ncsnpp as ncsnpp
from diffaudit_jax.models.receivers import RECEIVERS as RECEIVERS
from diffaudit_jax.models.tabular import tabddpm as tabddpm
from diffaudit_jax.models.unet import count_params as count_params
from diffaudit_jax.models.vae import vae as vae
