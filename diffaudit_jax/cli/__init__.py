"""The command line: `diffaudit quickstart | train | audit | report`."""

from diffaudit_jax.cli.main import main as main
