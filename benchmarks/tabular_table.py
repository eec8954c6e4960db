from pathlib import Path


def write_tables(out: Path) -> None:
    pass
