"""diffaudit attacks: every attack by name, with what it needs and what it costs."""

from dataclasses import dataclass

import jax
import numpy as np

from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.setting import Setting, blank
from diffaudit_jax.process import ddpm_linear


@dataclass(frozen=True)
class Attacks:
    """List the attacks: name, access, network calls per query at the defaults of `diffaudit audit`, paper."""


def table() -> list[tuple[str, ...]]:
    """Returns a head and a row for each attack, on the linear DDPM schedule."""
    process = ddpm_linear()
    bank = np.zeros((5, 4, 4, 1), np.uint8)
    setting = Setting(Asking(), process, key=jax.random.key(0), bank=bank, surrogate=blank(process, (4, 4, 1)))
    rows = []
    for name, entry in ENTRIES.items():
        spec = entry.make(setting).spec
        rows.append((name, entry.access, str(spec.calls), spec.paper, entry.about))
    return [("attack", "access", "calls", "paper", "measures"), *rows]
