"""What a run writes while it trains: states, its log, and of a private run what it has spent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffaudit_jax.training.checkpoints import Checkpoints, write_config
from diffaudit_jax.training.secret import hidden, spent
from diffaudit_jax.training.state import TrainState


@dataclass
class Kept:
    """A run directory that is being written.

    Attributes:
      directory: Where.
      config: What run.json holds.
      private: Whether the run is private: its key is in no checkpoint, and nothing without noise in its log.
      checkpoints: Its states.
      every: Steps between them.
    """

    directory: Path
    config: dict[str, Any]
    private: bool
    checkpoints: Checkpoints
    every: int

    def begin(self, state: TrainState, before: Mapping[str, Any] | None) -> None:
        """Writes run.json: a run may be given more steps than it was begun with.

        Args:
          state: Where it stands.
          before: What it had spent as of its last save; None at its beginning.
        """
        if self.private:
            self.config["spent"] = spent(before, state.key, int(state.step))
        write_config(self.directory, self.config)

    def save(self, state: TrainState) -> None:
        """Saves a state; what it has spent is written before its weights are there to be seen."""
        if self.private:
            self.begin(state, self.config["spent"])
            state = state._replace(key=hidden(state.key))
        self.checkpoints.save(state)

    def log(self, step: int, loss: float, grad_norm: float, seconds: float) -> None:
        """Adds a line to the log. Of a private run, the step alone: the time a batch takes tells its size."""
        row = {"step": step}
        if not self.private:
            row |= {"loss": loss, "grad_norm": grad_norm, "seconds": round(seconds, 3)}
        with open(self.directory / "log.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
