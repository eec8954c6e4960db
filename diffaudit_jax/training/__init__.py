"""Training: recipe, resumable loop and run directories; private training (DP-SGD) and what it guarantees."""

from diffaudit_jax.training.accounting import epsilon as epsilon
from diffaudit_jax.training.accounting import guarantee as guarantee
from diffaudit_jax.training.accounting import noise_multiplier as noise_multiplier
from diffaudit_jax.training.adversarial import GanRecipe as GanRecipe
from diffaudit_jax.training.discriminator import Discriminator as Discriminator
from diffaudit_jax.training.discriminator import rates_of as rates_of
from diffaudit_jax.training.discriminator import train_discriminator as train_discriminator
from diffaudit_jax.training.dpsgd import Privacy as Privacy
from diffaudit_jax.training.dpsgd import PrivateInfo as PrivateInfo
from diffaudit_jax.training.generators import fit_gan as fit_gan
from diffaudit_jax.training.generators import fit_vae as fit_vae
from diffaudit_jax.training.ledger import Guarantee as Guarantee
from diffaudit_jax.training.ledger import Ledger as Ledger
from diffaudit_jax.training.loop import fit as fit
from diffaudit_jax.training.mine import Mine as Mine
from diffaudit_jax.training.mine import mine as mine
from diffaudit_jax.training.receivers import cross_predicted as cross_predicted
from diffaudit_jax.training.receivers import train_receiver as train_receiver
from diffaudit_jax.training.run import Run as Run
from diffaudit_jax.training.run import load_run as load_run
from diffaudit_jax.training.secret import holds_key as holds_key
from diffaudit_jax.training.state import Recipe as Recipe
from diffaudit_jax.training.state import TrainInfo as TrainInfo
from diffaudit_jax.training.state import TrainState as TrainState
from diffaudit_jax.training.tables import fit_table as fit_table
