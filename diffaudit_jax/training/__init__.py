"""Training: recipe, resumable loop and run directories."""

from diffaudit_jax.training.loop import Run as Run
from diffaudit_jax.training.loop import fit as fit
from diffaudit_jax.training.loop import load_run as load_run
from diffaudit_jax.training.state import Recipe as Recipe
from diffaudit_jax.training.state import TrainInfo as TrainInfo
from diffaudit_jax.training.state import TrainState as TrainState
