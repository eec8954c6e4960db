"""The tables of benchmarks/utility.py: results/utility-TIER.json -> results/utility-TIER.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import write_pages


def write_tables(out: Path) -> None:
    write_pages(out, "utility", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    return "x"
