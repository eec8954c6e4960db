"""diffaudit report: the page again from its JSON, or the same statistics and page for scores of any other tool."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from diffaudit_jax.report import Report, membership_report, read_scores, redraw
from diffaudit_jax.report.redraw import report_of
from diffaudit_jax.report.saved import SavedReport
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class DrawReport:
    """Draw a report's page again from its JSON alone, or report on scores that any other tool computed."""

    directory: tyro.conf.Positional[Path | None] = None
    """Directory that holds a report.json, dataset.json, extraction.json, reconstruction.json, study.json,
    property.json, fairness.json or tables.json, or that file; its report.html is drawn again."""
    scores: Path | None = None
    """File of scores instead: .parquet, .npz or .csv, a row per record.
    It has a column `member` (1 or 0); every other column is taken as an attack, where higher means member."""
    attack: tuple[str, ...] = ()
    """The columns of --scores that are attacks; every column but `member` if not given."""
    out: Path | None = None
    """Directory for the report on --scores; if not given, the file's name without its ending."""
    title: str | None = None
    """Title of the page for --scores."""
    seed: int = 0
    """Seed of the report's random halves for --scores."""


def run_report(options: DrawReport) -> tuple[SavedReport, Path]:
    """Runs the command; returns the report and the path of its page."""
    if (options.directory is None) == (options.scores is None):
        raise InputError("name either a directory that holds a report.json, or a file with --scores.")
    if options.directory is not None:
        if options.attack or options.out is not None or options.title is not None:
            raise InputError("--attack, --out and --title are for --scores: a page is drawn again as and where it was.")
        page = redraw(options.directory)
        return report_of(options.directory).load(options.directory), page
    assert options.scores is not None
    if not options.scores.is_file():
        raise InputError(f"there is no file {options.scores}: give the path of a file of scores.")
    found, member = read_scores(options.scores, options.attack)
    out = options.scores.with_suffix("") if options.out is None else options.out
    if _source(out) not in (None, options.scores.name):
        raise InputError(f"{out} holds a report of something else ({_source(out)}): name another directory with --out.")
    print(f"attacks: {', '.join(found)}")
    report = membership_report(
        found, member, provenance={"scores": options.scores.name}, seed=options.seed, title=options.title
    )
    return report, report.save(out)[1]


def _source(directory: Path) -> str | None:
    """Returns the file of scores that a directory's report was made of, None if there is no report."""
    if not (directory / "report.json").exists():
        return None
    return Report.load(directory).document["provenance"].get("scores", "an audit")
