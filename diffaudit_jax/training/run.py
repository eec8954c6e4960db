"""A trained model: what `fit` returns, and what a run directory holds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from diffaudit_jax.models import FAMILIES, Model, from_linen, in_float32
from diffaudit_jax.models import from_config as model_from_config
from diffaudit_jax.models.gan import Gan
from diffaudit_jax.models.generators import GENERATORS, generator_from_config, generator_target
from diffaudit_jax.models.tabular import TabDdpm, tabddpm_from_config, table_target
from diffaudit_jax.models.vae import Vae
from diffaudit_jax.process import Process
from diffaudit_jax.process import from_config as process_from_config
from diffaudit_jax.sampler.catalogue import check_sampler, usual_steps
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.training.adversarial import GanRecipe, init_gan_state
from diffaudit_jax.training.checkpoints import Checkpoints, read_config
from diffaudit_jax.training.dpsgd import Privacy
from diffaudit_jax.training.ledger import Ledger
from diffaudit_jax.training.state import Recipe, TrainState, init_state
from diffaudit_jax.types import InputError


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model.

    Attributes:
      target: The model to audit: averaged weights (the last ones if there is no EMA), computed in float32.
      state: Final training state.
      model: Its architecture.
      process: Its Gaussian noising process; None of a VAE, a GAN or a TabDDPM.
      recipe: How it was trained.
      config: JSON of the above and of what the caller recorded.
    """

    target: Target
    state: TrainState
    model: Model | Vae | Gan | TabDdpm
    process: Process | None
    recipe: Recipe
    config: Mapping[str, Any]

    @property
    def privacy(self) -> Privacy | None:
        """How a private run was made private; None of others."""
        stored = dict(self.config.get("privacy") or {})
        if not stored:
            return None
        try:
            del stored["num_examples"], stored["key_given"]
            return Privacy(**stored)
        except (KeyError, TypeError) as error:
            raise InputError(f"the stored record of DP is damaged ({error}): restore it, or train again.") from error

    @property
    def ledger(self) -> Ledger | None:
        """What a private run did, for `training.guarantee`; None of others, and of one without noise or steps."""
        privacy = self.privacy
        if privacy is None or not privacy.noise_multiplier or not int(self.state.step):
            return None
        num_examples, key_given = (self.config["privacy"][name] for name in ("num_examples", "key_given"))
        steps = int(self.state.step) + self.config.get("spent", {}).get("again", 0)
        return ledger_of(privacy, self.recipe, num_examples, steps, key_given=key_given)


def ledger_of(privacy: Privacy, recipe: Recipe, num_examples: int, num_steps: int, *, key_given: bool) -> Ledger:
    """Returns what a private run does in some steps.

    Raises:
      InputError: if a number is out of range for an accountant.
    """
    return Ledger(
        noise_multiplier=privacy.noise_multiplier,
        l2_clip_norm=privacy.l2_clip_norm,
        batch_size=recipe.batch_size,
        num_examples=num_examples,
        num_steps=num_steps,
        delta=privacy.delta,
        max_batch_size=privacy.truncated_batch_size,
        num_noises=privacy.num_noises,
        clipping="per_layer" if privacy.per_layer else "global",
        preprocessing=privacy.preprocessing,
        tuned_on_members=privacy.tuned_on_members,
        key_given=key_given,
    )


def load_run(directory: str | os.PathLike) -> Run:
    """Loads a finished (or interrupted) run from its directory.

    Raises:
      InputError: if there is no run, no checkpoint, or the checkpoint is damaged or of another architecture.
    """
    config = read_config(Path(directory))
    try:
        model = _model(config["model"])
        recipe = (GanRecipe if isinstance(model, Gan) else Recipe)(**config["recipe"])
        process = process_from_config(config["process"]) if isinstance(model, Model) else None
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{directory}/run.json is of another version or damaged ({error}): restore it, or train again."
        ) from error
    like = jax.eval_shape(lambda: _initial(model, process, recipe))
    checkpoints = Checkpoints(Path(directory))
    try:
        state = checkpoints.restore(like)
    finally:
        checkpoints.close()
    if isinstance(model, Model):
        assert process is not None
        return run_of(state, model, process, recipe, config)
    if isinstance(model, TabDdpm):
        return table_run(state, model, recipe, config)
    return generator_run(state, model, recipe, config)


def _model(config: Mapping[str, Any]) -> Model | Vae | Gan | TabDdpm:
    if config["name"] == "tabddpm":
        return tabddpm_from_config(config)
    return generator_from_config(config) if config["name"] in GENERATORS else model_from_config(config)


def _initial(model: Model | Vae | Gan | TabDdpm, process: Process | None, recipe: Recipe) -> TrainState:
    key = jax.random.key(0)
    if isinstance(model, Gan):
        assert isinstance(recipe, GanRecipe)
        return init_gan_state(key, model, recipe)
    if isinstance(model, Vae | TabDdpm):
        return init_state(key, model if isinstance(model, Vae) else model.network, recipe)
    assert process is not None
    return init_state(key, from_linen(model, process), recipe)


def generator_run(state: TrainState, model: Vae | Gan, recipe: Recipe, config: Mapping[str, Any]) -> Run:
    """Returns the training state of a VAE or a GAN as a run, whose target is what to audit."""
    last = state.params.generator if isinstance(model, Gan) else state.params
    target = generator_target(model, state.ema if recipe.ema_decay else last)
    return Run(target, state, model, None, recipe, config)


def table_run(state: TrainState, model: TabDdpm, recipe: Recipe, config: Mapping[str, Any]) -> Run:
    """Returns the training state of a TabDDPM as a run, whose target is what to audit."""
    target = table_target(model, state.ema if recipe.ema_decay else state.params)
    return Run(target, state, model, None, recipe, config)


def run_of(state: TrainState, model: Model, process: Process, recipe: Recipe, config: Mapping[str, Any]) -> Run:
    """Returns a training state as a run, whose target is what to audit."""
    params = state.ema if recipe.ema_decay else state.params
    network = from_linen(in_float32(model), process)
    variance = "learned" if model.learn_sigma else "fixed_small"
    sampler = _sampler(str(config.get("family")), process)
    target = diffusion_target(
        params,
        network,
        process,
        model.shape,
        num_classes=model.num_classes,
        variance=variance,
        sampler=sampler,
        sample_steps=usual_steps(sampler, process),
    )
    return Run(target, state, model, process, recipe, config)


def _sampler(family: str, process: Process) -> str:
    """Returns the family's own sampler, or DDIM if there is no family or its own refuses the process chosen for it."""
    if family not in FAMILIES:
        return "ddim"
    own = FAMILIES[family].sampler
    try:
        check_sampler(own, process, usual_steps(own, process))
    except InputError:
        return "ddim"
    return own
