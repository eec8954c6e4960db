"""The command line: `diffaudit quickstart | train | sample | audit | reconstruct | study | attacks | report`."""

from diffaudit_jax.cli.main import main as main
