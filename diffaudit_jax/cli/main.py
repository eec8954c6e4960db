"""Reads the command line, runs one command, and turns a user's mistakes into one sentence and exit code 2."""

import errno
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import jax
import tyro
from rich.console import Console
from rich.table import Table

from diffaudit_jax._version import __version__
from diffaudit_jax.cli.attacks import Attacks, table
from diffaudit_jax.cli.audit import Audit, run_audit
from diffaudit_jax.cli.check import Check, run_check
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.conclusion import conclude
from diffaudit_jax.cli.extract import Extract, run_extract
from diffaudit_jax.cli.fairness import Fairness
from diffaudit_jax.cli.plan import Plan, run_plan
from diffaudit_jax.cli.planned import to_json
from diffaudit_jax.cli.poison import Poison, run_poison
from diffaudit_jax.cli.private import told
from diffaudit_jax.cli.property import Property, run_property
from diffaudit_jax.cli.quickstart import Quickstart, run_quickstart
from diffaudit_jax.cli.receiving import run_fairness
from diffaudit_jax.cli.reconstruct import Reconstruct, run_reconstruct
from diffaudit_jax.cli.report import DrawReport, run_report
from diffaudit_jax.cli.sample import Sample, run_sample
from diffaudit_jax.cli.shadows import Shadows, run_shadows
from diffaudit_jax.cli.studied import run_study
from diffaudit_jax.cli.study import VARIED, Study
from diffaudit_jax.cli.table import TableAudit, run_table
from diffaudit_jax.cli.train import Train, train
from diffaudit_jax.cli.verdict import Verdict, run_verdict
from diffaudit_jax.memory import keep_freed_memory
from diffaudit_jax.types import InputError, known

Command = (
    Annotated[Quickstart, tyro.conf.subcommand("quickstart")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Audit, tyro.conf.subcommand("audit")]
    | Annotated[Shadows, tyro.conf.subcommand("shadows")]
    | Annotated[Extract, tyro.conf.subcommand("extract")]
    | Annotated[Plan, tyro.conf.subcommand("plan")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Verdict, tyro.conf.subcommand("verdict")]
    | Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Property, tyro.conf.subcommand("property")]
    | Annotated[Poison, tyro.conf.subcommand("poison")]
    | Annotated[Fairness, tyro.conf.subcommand("fairness")]
    | Annotated[TableAudit, tyro.conf.subcommand("table")]
    | Annotated[Attacks, tyro.conf.subcommand("attacks")]
    | Annotated[DrawReport, tyro.conf.subcommand("report")]
)
NAMES = (
    "quickstart",
    "train",
    "sample",
    "audit",
    "shadows",
    "extract",
    "plan",
    "check",
    "verdict",
    "reconstruct",
    "study",
    "property",
    "poison",
    "fairness",
    "table",
    "attacks",
    "report",
)
SEEDS = 2**32


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `diffaudit`; exits with 2 on a user's mistake, 130 when interrupted.

    Args:
      arguments: Words of the command line; default those of the process.
    """
    if arguments is None:  # the process is this command's own
        keep_freed_memory()
    words = sys.argv[1:] if arguments is None else list(arguments)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every save, and every error that it raises
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)  # notes are for the user, whatever filters there are
        warnings.showwarning = lambda message, *_, **__: _say(f"note: {message}")
        try:
            _run(_parse(words))
        except InputError as error:
            _fail(str(error))
        except OSError as error:
            _fail(_os_error(error))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            _fail(
                "the device is out of memory: train with a smaller --batch (--microbatch with --dp) or --channels, "
                "shadows with a smaller --together, the other commands with a smaller --block."
            )
        except KeyboardInterrupt:
            anew = words[:1] in (
                ["plan"],
                ["reconstruct"],
                ["study"],
                ["property"],
                ["poison"],
                ["fairness"],
                ["table"],
            )
            _say(f"stopped; the same command {'begins anew' if anew else 'goes on from here'}.")
            raise SystemExit(130) from None


def _parse(words: list[str]) -> Command:
    if words[:1] == ["--version"]:
        print(f"diffaudit {__version__}")
        raise SystemExit(0)
    if words and not words[0].startswith("-"):
        known("command", words[0], NAMES)
    if words[:1] == ["study"] and words[1:] and not words[1].startswith("-"):
        known("study", words[1], VARIED)
    command = tyro.cli(
        Command,
        prog="diffaudit",
        description="Measures what a diffusion model reveals about its training data. --version prints the version.",
        args=words,
    )
    seed = getattr(command, "seed", 0)
    if not 0 <= seed < SEEDS:
        raise InputError(f"--seed must be from 0 to {SEEDS - 1}, got {seed}.")
    return command


def _run(command: Command) -> None:
    if isinstance(command, Quickstart):
        conclude(run_quickstart(command), command.out / "report.html")
    elif isinstance(command, Train):
        run, _ = train(command)
        promise = told(run, command.out)
        print(f"{promise}\n" if promise else "", end="")
        print(f"trained {int(run.state.step)} steps into {command.out}; next: diffaudit audit {command.out} --out DIR")
    elif isinstance(command, Sample):
        print(f"samples: {run_sample(command)}")
    elif isinstance(command, Audit):
        if (report := run_audit(command)) is not None:
            conclude(report, command.out / "report.html")
    elif isinstance(command, Shadows):
        num, out = len(run_shadows(command)), command.out
        print(f"trained {num} shadows into {out}; next: diffaudit audit {command.run} --out DIR --shadows {out}")
    elif isinstance(command, Extract):
        conclude(run_extract(command), command.out / "report.html")
    elif isinstance(command, Verdict):
        conclude(run_verdict(command), command.out / "report.html")
    elif isinstance(command, Plan):
        plan = run_plan(command)
        print(to_json(plan) if command.out is None else f"plan: {command.out}, sha256 {plan['sha256']}\n", end="")
    elif isinstance(command, Check):
        if not run_check(command):
            raise SystemExit(1)
    elif isinstance(command, Reconstruct):
        conclude(run_reconstruct(command), command.out / "report.html")
    elif isinstance(command, Study):
        conclude(run_study(command), command.varied.out / "report.html")
    elif isinstance(command, Property):
        conclude(run_property(command), command.out / "report.html")
    elif isinstance(command, Poison):
        num, out = run_poison(command)[0]["num"], command.out
        table = is_table(command.source)
        file, more = ("records.csv", "--model tabddpm") if table else ("images.npz", "--class-conditional")
        more += f" --label {command.labels} --sensitive {command.sensitive}" if table else ""
        print(f"sets: {out}; next, for every alpha A: diffaudit train --data {out}/alpha-A/{file} --members {num}")
        print(f"--nonmembers 0 {more} --out DIR")
    elif isinstance(command, Fairness):
        conclude(run_fairness(command), command.out / "report.html")
    elif isinstance(command, TableAudit):
        conclude(run_table(command), command.out / "report.html")
    elif isinstance(command, Attacks):
        _list()
    else:
        conclude(*run_report(command))


def _list() -> None:
    """Prints the attacks; calls are network calls per query at the defaults, on a schedule of 1,000 steps."""
    head, *rows = table()
    listed = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        listed.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(listed)


def _os_error(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full,{where or ' a file'} was not written: free some space and give the same command again."
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{where.lstrip()} cannot be a directory, for a file is in the way: name another path."
    return f"{error.strerror or error}{f':{where}' if where else ''}; check the path and its permissions."


def _fail(message: str) -> None:
    _say(message)
    raise SystemExit(2)


def _say(message: str) -> None:
    print(f"diffaudit: {message}", file=sys.stderr)
