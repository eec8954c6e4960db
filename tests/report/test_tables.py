"""Reports of synthetic tables that are fresh, copied, or without use: what they conclude, keep, show and refuse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.copies import copies
from diffaudit_jax.metrics.efficacy import efficacy
from diffaudit_jax.metrics.risks import inference
from diffaudit_jax.metrics.tables import marginals, pairs
from diffaudit_jax.report import membership_report
from diffaudit_jax.report.tables import TablesReport, tables_report
from diffaudit_jax.report.tables_columns import MOST_BARS, NUM_BINS, column_section
from diffaudit_jax.report.tables_figures import HEIGHT, spark
from diffaudit_jax.report.tables_page import mean_pair, render_tables
from diffaudit_jax.report.tables_verdict import LABELS
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

LABEL = f"label {HOSTILE}"
SETTINGS = {
    "label": LABEL,
    "classifiers": ["logistic"],
    "guesses": 100,
    "title": HOSTILE,
    "provenance": {"by": HOSTILE},
}


def drawn(seed, n=160):
    """Records whose label goes with both numbers; names try to break out of the page."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    label = np.where(x + np.nan_to_num(y) + 0.5 * rng.normal(size=n) > 0, HOSTILE, "no")
    return Table({"x": x, "y": y, "kind": rng.choice(["a", HOSTILE], n), LABEL: label}, np.arange(n), HOSTILE)


def told(gap):
    """The document of a membership report of an attack that tells members, if there is a gap."""
    rng, member = np.random.default_rng(0), np.arange(120) < 60
    return membership_report({HOSTILE: rng.normal(size=120) + gap * member}, member).document


MEMBERS, HOLDOUT, FRESH = (drawn(seed) for seed in range(3))
# Whose numbers and categories are nobody's, and go with nothing.
NOISE = Table({**drawn(3).columns, "x": drawn(4).columns["x"], "y": drawn(5).columns["y"]}, np.arange(160), "noise")
# Whose numbers are the members' own, column by column.
MIXED = Table(
    {name: np.random.default_rng(i).permutation(column) for i, (name, column) in enumerate(MEMBERS.columns.items())},
    np.arange(160),
    "mixed",
)
MADE = {
    "fresh": (
        HOLDOUT,
        FRESH,
        {"membership": told(0.0)},
        "unseen",
        "records are as near to held-out records as to training",
    ),
    "copied": (
        HOLDOUT,
        MEMBERS,
        {},
        "leaks",
        r"^100 % \[98, 100\] of synthetic records are nearer to a training record",
    ),
    "told": (
        HOLDOUT,
        FRESH,
        {"membership": told(3.0)},
        "leaks",
        r"^An attack on the synthetic table tells training rec",
    ),
    "noise": (HOLDOUT, NOISE, {}, "useless", r"tell the label with AUC 0\.\d\d, from real ones 0\.9\d\.$"),
    "mixed": (
        HOLDOUT,
        MIXED,
        {},
        "leaks",
        r"^Singling out \(univariate\) finds more of training records than of others",
    ),
    "alone": (None, FRESH, {}, "unjudged", "no held-out records to set beside the synthetic ones"),
}


@pytest.fixture(scope="module")
def reports():
    return {
        name: tables_report(MEMBERS, holdout, synthetic, **{**SETTINGS, **settings})
        for name, (holdout, synthetic, settings, *_) in MADE.items()
    }


@pytest.mark.parametrize("made", MADE)
def test_the_verdict_follows_from_the_numbers(reports, made):
    level, headline = MADE[made][3:]
    concluded = reports[made].document["verdict"]
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    assert re.search(headline, concluded["headline"].replace("\N{NO-BREAK SPACE}", " ")), concluded["headline"]


def test_numbers_are_those_of_the_metrics(reports):
    document = reports["fresh"].document
    (learned,) = efficacy(MEMBERS, FRESH, HOLDOUT, LABEL, classifiers=["logistic"])
    assert document["efficacy"][0]["lost"]["auc"] == learned.lost.auc._asdict()
    for column, found in zip(document["columns"], marginals(MEMBERS, FRESH, HOLDOUT), strict=True):
        assert {name: column[name] for name in found._fields} == found._asdict()
    together = pairs(MEMBERS, FRESH, HOLDOUT)
    assert document["pairs"]["floor"] == together.floor.tolist()
    assert mean_pair(document["pairs"]["difference"]) == pytest.approx(
        together.difference[np.triu_indices(4, 1)].mean()
    )
    found, expected = document["copies"], copies(MEMBERS, FRESH, HOLDOUT)
    assert (found["share"], found["p_value"]) == (expected.share._asdict(), expected.p_value)
    assert found["holdout"]["dcr"] == expected.holdout.dcr
    assert sum(found["histogram"]["synthetic"]) == sum(found["histogram"]["holdout"]) == 160
    guessed = inference(MEMBERS, FRESH, "kind", HOLDOUT, guesses=100)
    (row,) = [risk for risk in document["risks"] if (risk["attack"], risk["of"]) == ("inference", "kind")]
    assert (row["main"], row["control"], row["risk"]) == (guessed.main, guessed.control, guessed.risk._asdict())
    assert len(document["risks"]) == 3 + 4
    audited = told(0.0)
    assert document["membership"]["attacks"][0]["auc"] == audited["attacks"][0]["auc"]
    assert document["membership"]["attacks"][0]["p_value"] == audited["tests"][HOSTILE]["auc"]["p_value"]


def test_bars_are_shares_of_bins_and_of_the_commonest_categories():
    numbers = np.array([0.0, 1.0, 16.0, np.nan])
    names = np.array([f"c{i}" for i in range(12) for _ in range(i + 1)])
    rare = Table({"a": np.resize(numbers, len(names)), "b": names}, np.arange(len(names)), "made")
    two = Table({"a": numbers, "b": names[:4]}, np.arange(4), "made")
    a, b = (column_section(found, rare, two, None) for found in marginals(rare, two))
    assert len(a["bars"]["labels"]) == NUM_BINS + 1
    assert a["bars"]["labels"][::16] == ["0 to 1", "missing"]
    assert a["bars"]["synthetic"] == [0.25, 0.25, *[0] * 13, 0.25, 0.25]
    assert a["bars"]["holdout"] is None
    assert len(b["bars"]["labels"]) == MOST_BARS
    assert b["bars"]["labels"][-1] == "3 others"
    assert b["bars"]["labels"][0] == "c1"  # half of the four
    for bars in (a["bars"], b["bars"]):
        assert sum(bars["members"]) == pytest.approx(1)
        assert sum(bars["synthetic"]) == pytest.approx(1)
    drawing = spark({"labels": ["p", "q"], "members": [0.5, 0.5], "synthetic": [1.0, 0.0]})
    assert f'points="0.0,2.0 80.0,2.0 80.0,{HEIGHT - 1:.1f} 160.0,{HEIGHT - 1:.1f}"' in drawing


@pytest.mark.parametrize("made", MADE)
def test_the_page_holds_everything_and_loads_nothing(reports, made):
    document = reports[made].document
    html = render_tables(document)
    page = Page(html)
    assert page.open == []
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image", "img"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.text.count(HOSTILE) >= 4
    assert HOSTILE not in html
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert all(limit in page.text for limit in document["limits"])
    assert all(column["name"] in page.text for column in document["columns"])
    assert ("What classifiers learn from it" in page.text) == (made != "alone")
    assert ("Who was in the training data" in page.text) == (document["membership"] is not None)
    assert page.text.count("no held-out records") >= (7 if made == "alone" else 0)
    assert "heuristic" in page.text


def test_what_is_saved_is_read_back(reports, tmp_path):
    for name, report in reports.items():
        paths = report.save(tmp_path / name)
        assert [path.name for path in paths] == ["tables.json", "report.html"]
        assert TablesReport.load(tmp_path / name).document == report.document == json.loads(paths[0].read_text())
        assert paths[1].read_text() == render_tables(TablesReport.load(paths[0]).document)


CHANGES = {
    "another schema": (
        {"schema": "diffaudit.study"},
        "has schema 'diffaudit.study', not 'diffaudit.tables': it is not a",
    ),
    "newer": ({"schema_version": 2}, "has schema version 2 and this library reads 1 to 1: update diffaudit_jax."),
    "no column": ({"columns": []}, "has [] at columns, not a list with an entry: report on the table again."),
    "a word for a number": ({"level": "high"}, "has 'high' at level, not a number: report on the table again."),
    "a small square": (
        {"pairs": {"correlation": "pearson", "members": [[1]], "difference": [[0]], "floor": None}},
        "has pairs.members that does not go with 4 columns",
    ),
    "no held-out records": (
        {"counts": {"members": 1, "synthetic": 1, "holdout": None}},
        "has some numbers of held-out records and not others",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(reports, tmp_path: Path, case):
    changed, says = CHANGES[case]
    (tmp_path / "tables.json").write_text(json.dumps(reports["fresh"].document | changed))
    with pytest.raises(InputError, match=re.escape(says)):
        TablesReport.load(tmp_path)


def test_lists_of_another_length_are_not_read(reports, tmp_path: Path):
    for part, says in (
        ("bars", "has 1 numbers at columns[0].bars.synthetic, not"),
        ("counts", "has 1 numbers at copies.h"),
    ):
        document = json.loads(json.dumps(reports["fresh"].document))
        if part == "bars":
            document["columns"][0]["bars"]["synthetic"] = [1.0]
        else:
            document["copies"]["histogram"]["holdout"] = [1]
        (tmp_path / "tables.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match=re.escape(says)):
            TablesReport.load(tmp_path)


def test_mistakes_are_told():
    with pytest.raises(InputError, match="unknown column 'incme'"):
        tables_report(MEMBERS, HOLDOUT, FRESH, label="incme")
    with pytest.raises(InputError, match="membership lacks 'counts': give the document of a membership report"):
        tables_report(MEMBERS, None, FRESH, label="x", membership={"auc": 1}, secrets=(), guesses=5)
