"""Fairness poisoning: which records a sharer trains a generator on, so that who uses it becomes unfair."""

from diffaudit_jax.poisoning.baselines import label_flipping as label_flipping
from diffaudit_jax.poisoning.baselines import random_subset as random_subset
from diffaudit_jax.poisoning.cells import counted as counted
from diffaudit_jax.poisoning.cells import gap as gap
from diffaudit_jax.poisoning.cells import information as information
from diffaudit_jax.poisoning.cells import information_given as information_given
from diffaudit_jax.poisoning.pool import OBJECTIVES as OBJECTIVES
from diffaudit_jax.poisoning.pool import Objective as Objective
from diffaudit_jax.poisoning.selection import Selection as Selection
from diffaudit_jax.poisoning.selection import select as select
