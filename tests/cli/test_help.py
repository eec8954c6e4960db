"""Words that are not known, and the help that lists those that are."""

import re
from dataclasses import MISSING, fields, is_dataclass

import pytest

from diffaudit_jax.cli.audit import Audit
from diffaudit_jax.cli.check import Check
from diffaudit_jax.cli.extract import Extract
from diffaudit_jax.cli.fairness import Fairness
from diffaudit_jax.cli.main import NAMES
from diffaudit_jax.cli.plan import Plan
from diffaudit_jax.cli.poison import Poison
from diffaudit_jax.cli.property import Property
from diffaudit_jax.cli.quickstart import Quickstart
from diffaudit_jax.cli.reconstruct import Reconstruct
from diffaudit_jax.cli.report import DrawReport
from diffaudit_jax.cli.sample import Sample
from diffaudit_jax.cli.shadows import Shadows
from diffaudit_jax.cli.table import TableAudit
from diffaudit_jax.cli.train import Train
from diffaudit_jax.cli.verdict import Verdict

from .conftest import TINY

# These are the parser's own messages, in a box of several lines.
WORDS = {
    "flag": (("train", *TINY, "--out", "x", "--membres", "3"), ("--membres", "Perhaps you meant", "--members INT")),
    "choice": (("audit", "x", "--out", "x", "--statistic", "men"), ("'men'", "'mean'")),
    "number": (("train", "--data", "x", "--out", "x", "--members", "three"), ("--members", "'three'")),
    "fraction": (("train", "--data", "x", "--out", "x", "--members", "1.5"), ("--members", "'1.5'")),
    "required": (("train", "--out", "x"), ("--data STR", "required")),
    "nothing": ((), ("quickstart", "train", "audit", "report")),
}


@pytest.mark.parametrize("case", WORDS)
def test_unknown_words_are_refused_by_the_parser(diffaudit, case):
    words, parts = WORDS[case]
    ended = diffaudit(*words)
    text = ended.out + "\n".join(ended.err)
    assert ended.code == 2
    assert "Traceback" not in text
    for part in parts:
        assert part in text


def test_an_unknown_command_is_met_with_the_nearest(refused):
    names = ", ".join(sorted(NAMES))
    assert refused("trian") == f"unknown command 'trian': did you mean 'train'? There are {names}."


COMMANDS = {
    "quickstart": Quickstart,
    "train": Train,
    "sample": Sample,
    "audit": Audit,
    "shadows": Shadows,
    "extract": Extract,
    "plan": Plan,
    "check": Check,
    "verdict": Verdict,
    "reconstruct": Reconstruct,
    "property": Property,
    "poison": Poison,
    "fairness": Fairness,
    "table": TableAudit,
    "report": DrawReport,
}
POSITIONAL = {
    "source": "STR",
    "run": "PATH",
    "prior": "PATH",
    "reports": "[[PATH [PATH ...]]]",
    "directory": "[{None}|PATH]",
    "generator": "PATH",
    "generators": "[[PATH [PATH ...]]]",
}


def flags(command):
    """The fields of a command, those of a group of flags among them."""
    for field in fields(command):
        yield from fields(field.default_factory) if is_dataclass(field.default_factory) else (field,)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_flag_with_its_default(diffaudit, name):
    ended = diffaudit(name, "--help")
    assert ended.code == 0
    _, listed = re.split(r" (?:positional arguments|options) ", ended.out, maxsplit=1)
    options = " ".join(listed.replace("│", " ").split())
    for field in flags(COMMANDS[name]):
        flag = POSITIONAL.get(field.name, f"--{field.name.replace('_', '-')}")
        default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
        end = "(required)" if field.default is MISSING else f"(default: {default})"
        end = (
            "(default: )" if field.name == "generators" else end
        )  # of a tuple tyro takes none, too; the command does not
        end = "(repeatable)" if field.name == "max" else end
        # At least one word, beginning a sentence, between the flag with what it takes and the first default after it.
        takes = r"(?:, --no-\S+)? (?=[A-Z{\[])"
        text = re.search(
            rf"{re.escape(flag)}{takes}(.*?) (\(required\)|\(repeatable\)|\(default: .*?\))(?= |$)", options
        )
        assert text, flag
        assert re.search(r"\b[A-Z][a-z]+", text[1]), (flag, text[1])
        assert text[2] == end


def test_help_names_every_command(diffaudit):
    ended = diffaudit("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in [*COMMANDS, "attacks"])
