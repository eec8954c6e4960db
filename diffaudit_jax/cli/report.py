"""diffaudit report: the page again from its JSON, or the same statistics and page for scores of any other tool."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from diffaudit_jax.report import Report, membership_report, read_scores, redraw
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class DrawReport:
    """Draw a report's page again from its JSON alone, or report on scores that any other tool computed."""

    directory: tyro.conf.Positional[Path | None] = None
    """Directory with a report.json, whose report.html is drawn again."""
    scores: Path | None = None
    """File of scores instead (.parquet, .npz or .csv): a column `member` (1 or 0) and a column per attack, higher for
    members."""
    out: Path | None = None
    """Directory for the report on --scores; its name without the ending if not given."""
    title: str | None = None
    """Title of the page for --scores."""
    seed: int = 0
    """Seed of the report's random halves for --scores."""


def run_report(options: DrawReport) -> tuple[Report, Path]:
    """Runs the command; returns the report and the path of its page."""
    if (options.directory is None) == (options.scores is None):
        raise InputError("name either a directory that holds a report.json, or a file with --scores.")
    if options.directory is not None:
        page = redraw(options.directory)
        return Report.load(options.directory), Path(page)
    assert options.scores is not None
    found, member = read_scores(options.scores)
    out = options.scores.with_suffix("") if options.out is None else options.out
    report = membership_report(
        found, member, provenance={"scores": options.scores.name}, seed=options.seed, title=options.title
    )
    return report, report.save(out)[1]
