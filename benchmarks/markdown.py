"""What the result pages of benchmarks that take hours have in common: a page for each tier, machines, and tables."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffaudit_jax.types import write_atomic

TITLES = {"cpu": "Small networks", "gpu": "Published widths"}
"""Tier -> what is measured in it."""
ABSENT = "not measured"


def write_pages(out: Path, name: str, document: Callable[[str, Mapping[str, Any] | None], str]) -> None:
    """Writes NAME-TIER.md from NAME-TIER.json for each tier; one that was not measured says so.

    Args:
      out: Directory, made if it does not exist.
      name: Of the benchmark.
      document: Makes the Markdown of a tier from what was measured, None for nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    for tier in TITLES:
        path = out / f"{name}-{tier}.json"
        result = json.loads(path.read_text()) if path.exists() else None
        write_atomic(out / f"{name}-{tier}.md", document(tier, result).encode())


def measured_on(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns the sentence that names each machine once, in order.

    Args:
      rows: Measurements, each with its "hardware".
    """
    machines = (
        f"{each['device']} ({each['cpu']}, {each['cores']} cores, jax {each['jax']}, commit {each['commit']})"
        for each in (row["hardware"] for row in rows)
    )
    return f"Measured on {'; '.join(dict.fromkeys(machines))}."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
