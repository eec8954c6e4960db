"""Reads the command line, runs one command, and turns a user's mistakes into one sentence and exit code 2."""

import errno
import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from diffaudit_jax.cli.audit import Audit, run_audit
from diffaudit_jax.cli.quickstart import Quickstart, run_quickstart
from diffaudit_jax.cli.report import DrawReport, run_report
from diffaudit_jax.cli.train import Train, train
from diffaudit_jax.report import Report
from diffaudit_jax.types import InputError

Command = (
    Annotated[Quickstart, tyro.conf.subcommand("quickstart")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Audit, tyro.conf.subcommand("audit")]
    | Annotated[DrawReport, tyro.conf.subcommand("report")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `diffaudit`; exits with 2 on a user's mistake, 130 when interrupted.

    Args:
      arguments: Words of the command line; default those of the process.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every save
    command = tyro.cli(
        Command,
        prog="diffaudit",
        description="Measures what a diffusion model reveals about its training data.",
        args=arguments,
    )
    try:
        _run(command)
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_os_error(error))
    except KeyboardInterrupt:
        print("\ndiffaudit: stopped; the same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def _run(command: Quickstart | Train | Audit | DrawReport) -> None:
    if isinstance(command, Quickstart):
        _conclude(run_quickstart(command), command.out / "report.html")
    elif isinstance(command, Train):
        train(command)
        print(f"trained {command.steps} steps into {command.out}; next: diffaudit audit {command.out} --out DIR")
    elif isinstance(command, Audit):
        _conclude(run_audit(command), command.out / "report.html")
    else:
        _conclude(*run_report(command))


def _conclude(report: Report, page: object) -> None:
    """Prints the verdict, the small table and the report's path."""
    verdict = report.document["verdict"]
    head, *body = report.rows()
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in body:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"\n[bold]{verdict['label']}[/bold]: {verdict['headline']}\n", highlight=False)
    console.print(table)
    print(f"\nreport: {page}")


def _os_error(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full,{where or ' a file'} was not written: free some space and give the same command again."
        )
    return f"{error.strerror or error}{f':{where}' if where else ''}; check the path and its permissions."


def _fail(message: str) -> None:
    print(f"diffaudit: {message}", file=sys.stderr)
    raise SystemExit(2)
