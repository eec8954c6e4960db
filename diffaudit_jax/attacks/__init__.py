"""Attacks: one module per family of published method, constructors named after the method."""

from diffaudit_jax.attacks import gradient as gradient
from diffaudit_jax.attacks import trajectory as trajectory
from diffaudit_jax.attacks.clean_query import clean_query as clean_query
from diffaudit_jax.attacks.elbo import elbo as elbo
from diffaudit_jax.attacks.fluctuation import fluctuation as fluctuation
from diffaudit_jax.attacks.gradient import gradient_norms as gradient_norms
from diffaudit_jax.attacks.likelihood import likelihood as likelihood
from diffaudit_jax.attacks.nearest import mixed_distance as mixed_distance
from diffaudit_jax.attacks.nearest import nearest as nearest
from diffaudit_jax.attacks.property import Inferred as Inferred
from diffaudit_jax.attacks.property import property_share as property_share
from diffaudit_jax.attacks.proximal import proximal as proximal
from diffaudit_jax.attacks.step_error import step_error as step_error
from diffaudit_jax.attacks.surrogate import by_surrogate as by_surrogate
from diffaudit_jax.attacks.trajectory import loss_trajectory as loss_trajectory
from diffaudit_jax.attacks.trajectory import x0_trajectory as x0_trajectory
from diffaudit_jax.attacks.variation import variation as variation
