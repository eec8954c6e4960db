"""What `diffaudit train` does with --model vae or gan: which flags are theirs, their recipes, and the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffaudit_jax import data, training
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.models.gan import Gan
from diffaudit_jax.models.generators import generator
from diffaudit_jax.training.adversarial import GanRecipe
from diffaudit_jax.training.generators import fit_gan, fit_vae
from diffaudit_jax.types import InputError, Key

if TYPE_CHECKING:
    from diffaudit_jax.cli.train import Train

_OF_DIFFUSION = (
    "blocks",
    "attention",
    "middle_attention",
    "head_channels",
    "dropout",
    "scale_shift",
    "resblock_updown",
    "learn_sigma",
    "predicts",
    "bfloat16",
    "schedule",
    "diffusion_steps",
    "vlb_weight",
    "label_dropout",
)
_OF_ONE = {"mults": "vae", "patch": "gan", "critic_steps": "gan"}


def check_flags(options: Train) -> None:
    """Refuses flags that a VAE or a GAN has no use for.

    Raises:
      InputError: if one is given.
    """
    if options.private.dp:
        raise InputError(f"--dp trains diffusion models: leave it out with --model {options.model}.")
    others = {name for name, model in _OF_ONE.items() if model != options.model}
    for name in (*_OF_DIFFUSION, *others):
        if getattr(options, name) != getattr(type(options), name):
            raise InputError(f"--{name.replace('_', '-')} says nothing to --model {options.model}: leave it out.")


def train_generator(
    options: Train, members: data.Pool, key: Key, num_classes: int | None, record: Mapping[str, Any]
) -> training.Run:
    """Trains a VAE or a GAN.

    Args:
      options: The command.
      members: Training images.
      key: Key of the run.
      num_classes: Classes, None for unconditional.
      record: What run.json holds of the command.
    """
    given = {"channels": options.channels, "mults": options.mults, "patch": options.patch, "num_classes": num_classes}
    changes = {name: value for name, value in given.items() if value is not None}
    if options.model == "gan" and options.channels is not None:
        changes["critic_channels"] = options.channels
    model = generator(options.model, members.shape, size=options.size, **changes)
    common: dict[str, Any] = {
        "num_steps": options.steps,
        "batch_size": 64 if options.batch is None else options.batch,
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "ema_decay": options.ema,
        "flip": options.flip,
    }
    found: dict[str, Any] = {"learning_rate": options.lr, "clip_norm": options.clip_norm}
    found |= {"num_critic": options.critic_steps} if isinstance(model, Gan) else {}
    common |= {name: value for name, value in found.items() if value is not None}
    with stage("training") as show:
        kept: dict[str, Any] = {
            "out": options.out,
            "record": record,
            "checkpoint_every": options.checkpoint_every,
            "progress": lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        }
        if isinstance(model, Gan):
            return fit_gan(key, model, members, GanRecipe(**common), **kept)
        return fit_vae(key, model, members, training.Recipe(**{"learning_rate": 2e-3, **common}), **kept)
