"""Reports of suspect sets that were trained on, were not, differ by themselves, or differ the other way."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from diffaudit_jax.metrics import dataset_verdict, holm, people_verdicts, power
from diffaudit_jax.report.dataset import DatasetReport, Evidence, dataset_report
from diffaudit_jax.report.dataset_page import render_dataset
from diffaudit_jax.report.dataset_verdict import LABELS, quoted, verdict
from diffaudit_jax.report.redraw import redraw
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

QUICK = {"num_permutations": 99, "repeats": 4, "title": HOSTILE, "provenance": {"by": HOSTILE}, "attacks": [HOSTILE]}


def side(seed, shift=0.0, n=48, first=0, brighter=0, images=True):
    """What a model did with images: errors that are lower by `shift`, and a score that is higher by it."""
    rng = np.random.default_rng(seed)
    features, whose = rng.normal(size=(n, 5)) - shift, first + np.arange(n) // 2
    x = rng.integers(0, 200, (n, 4, 4, 1), dtype=np.uint8) + np.uint8(brighter)
    return Evidence(features, -features[:, :1], whose, x if images else None)


UNPUBLISHED = side(0, first=100)
MADE = {
    "found": ({HOSTILE: side(1, 2.0)}, {"trained": [48]}, "stood out to the model from images it cannot have seen"),
    "unseen": ({HOSTILE: side(2)}, {"trained": [0]}, "did not stand out to the model"),
    "odd": ({HOSTILE: side(3, -2.0)}, {}, "but as what it knows less than unpublished images"),
    "otherwise": (
        {HOSTILE: side(8, 2.0)._replace(scores=UNPUBLISHED.scores)},
        {"trained": [24]},
        "do not say whether as",
    ),
    "differ": ({HOSTILE: side(4, 2.0, brighter=50)}, {}, "differ by themselves, so that the model is not needed"),
    "several": ({HOSTILE: side(5), "b": side(6, 2.0)}, {}, "1 of 2 sets, first of all “b”, stood out"),
    "unchecked": ({HOSTILE: side(7, 2.0, images=False)}, {}, "stood out to the model"),
}
LEVELS = {"several": "found", "unchecked": "found"}
UNJUDGED = ("odd", "otherwise", "differ")


@pytest.fixture(scope="module")
def reports():
    return {
        made: dataset_report(sets, UNPUBLISHED, people=HOSTILE, **settings, **QUICK)
        for made, (sets, settings, _) in MADE.items()
    }


@pytest.mark.parametrize("made", MADE)
def test_the_verdict_follows_from_the_numbers(reports, made):
    concluded, level = reports[made].document["verdict"], LEVELS.get(made, made)
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    assert MADE[made][2] in concluded["headline"]
    said = " ".join(concluded["sentences"])
    assert ("could not be checked" in said) == (made == "unchecked")
    assert ("People are not judged" in said) == (made in UNJUDGED)
    assert ("trained it, byte for byte" in said) == (made in ("found", "unseen", "otherwise"))
    assert ("which the test does not show" in said) == (made == "otherwise")


def test_numbers_are_those_of_the_metrics(reports):
    sets, document = MADE["several"][0], reports["several"].document
    each = [
        dataset_verdict(
            found.features,
            UNPUBLISHED.features,
            groups=np.concatenate([found.groups, UNPUBLISHED.groups]),
            num_permutations=99,
        )
        for found in sets.values()
    ]
    assert [row["p_value"] for row in document["sets"]] == [found.p_value for found in each]
    assert [row["adjusted"] for row in document["sets"]] == holm([found.p_value for found in each]).tolist()
    assert [row["auc"] for row in document["sets"]] == [found.auc._asdict() for found in each]
    joined = (np.concatenate([getattr(found, name) for found in sets.values()]) for name in ("features", "groups"))
    features, whose = joined
    attacks = np.concatenate([each.scores[:, 0] for each in (*sets.values(), UNPUBLISHED)]).argsort().argsort()
    found = people_verdicts(features, UNPUBLISHED.features, whose, UNPUBLISHED.groups, attacks=attacks)
    rows = sorted(document["people"]["rows"], key=lambda row: row["number"])
    assert [row["adjusted"] for row in rows] == found.adjusted.tolist()
    assert document["people"]["flagged"] == found.flagged.sum()


def test_a_claim_that_the_run_contradicts_is_told():
    sentences = dataset_report({"a": side(2)}, UNPUBLISHED, trained=[7], **QUICK).document["verdict"]["sentences"]
    assert sentences[-1].endswith("7 of the 48 images of “a” trained it, byte for byte, which the test does not show.")


@pytest.mark.parametrize("made", MADE)
def test_nobody_is_accused_where_people_cannot_be_judged(reports, made):
    people = reports[made].document["people"]
    assert people["judged"] == (made not in UNJUDGED)
    assert bool(people["rows"]) == people["judged"]
    assert (people["flagged"] > 0) == (made in ("found", "unchecked"))


SAID = {
    "found": ("", ", against this verdict"),
    "unseen": (SHOWS := ", which the test does not show", ""),
    "odd": (SHOWS, ""),
    "otherwise": (SHOWS, ""),
    "differ": (SHOWS, ""),
}


@pytest.mark.parametrize("level", SAID)
def test_what_the_run_says_is_weighed_against_the_verdict(reports, level):
    for trained, end in zip((7, 0), SAID[level], strict=True):
        document = reports[level].document
        rows = [row | {"trained": trained} for row in document["sets"]]
        said = verdict(document | {"sets": rows})["sentences"][-1]
        assert said.endswith(f"{trained} of the 48 images of {quoted(HOSTILE)} trained it, byte for byte{end}.")


def test_a_blind_check_alarms_as_readily_as_a_set_is_found():
    """Sets that happen to differ a little by themselves."""
    row = dataset_report({"a": side(17, 2.0)}, UNPUBLISHED, **QUICK).document["sets"][0]
    assert 0.01 < row["blind"]["p_value"] <= 0.05
    assert row["level"] == "differ"


def test_copies_of_a_record_are_no_people():
    document = dataset_report({"a": side(1, 2.0)}, UNPUBLISHED, **QUICK).document
    assert document["sets"][0]["people"] == 24
    text = Page(render_dataset(document)).text
    text = text[text.index("Verdict on sets of images") :]
    assert "people" not in text
    assert "48 images, 24 of them different" in text
    assert "number of different images" in text


def test_power_is_that_of_sets_judged_together():
    sets = {name: side(seed, 1.0) for seed, name in enumerate("abc")}
    document = dataset_report(sets, UNPUBLISHED, **QUICK).document
    for found, row in zip(sets.values(), document["sets"], strict=True):
        groups = np.concatenate([found.groups, UNPUBLISHED.groups])
        told = {"groups": groups, "repeats": 4, "num_permutations": 119}
        needed = power(found.features, UNPUBLISHED.features, tests=3, **told)
        assert row["power"]["rejected"] == [share._asdict() for share in needed.rejected]
    with pytest.raises(
        InputError, match=re.escape("6 tests at level 0.95 ask for p-values of 0.0083: give at least 119")
    ):
        dataset_report({str(i): side(i) for i in range(6)}, UNPUBLISHED, **QUICK)


def test_sides_that_are_told_completely_have_a_complete_effect():
    one, other = (Evidence(np.full((24, 2), value), np.zeros((24, 1))) for value in (1.0, 0.0))
    document = dataset_report({"a": one}, other, **QUICK).document
    assert document["sets"][0]["effect"] == 100
    assert "complete" in Page(render_dataset(document)).text


@pytest.mark.parametrize("made", MADE)
def test_the_page_holds_everything_and_loads_nothing(reports, made):
    document = reports[made].document
    html = render_dataset(document)
    page = Page(html)
    assert page.open == []
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image", "img"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.text.count(HOSTILE) >= 4
    assert HOSTILE not in html
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert all(limit in page.text for limit in document["limits"])
    # The rate bounds an expectation: it is nowhere said to be one.
    wrong = len(re.findall(r"at most [\d.]+\s%\s+are expected to be wrong", page.text))
    assert wrong == page.text.count("expected to be wrong") == (0 if made in UNJUDGED else 3)
    assert ("No. 1" in page.text) == (made not in UNJUDGED)
    assert ("Of the people flagged" in page.text) == (made not in UNJUDGED)
    assert ("so that people cannot be judged" in page.text) == (made in UNJUDGED)
    assert ("Adjusted by Holm" in page.text) == (made == "several")


def test_what_is_saved_is_read_back_and_drawn_again(reports, tmp_path):
    for name, report in reports.items():
        paths = report.save(tmp_path / name)
        assert [path.name for path in paths] == ["dataset.json", "report.html"]
        assert DatasetReport.load(tmp_path / name).document == report.document == json.loads(paths[0].read_text())
        page = paths[1].read_text()
        paths[1].unlink()
        assert redraw(tmp_path / name).read_text() == page


def test_records_of_tables_are_called_records():
    document = dataset_report({"a": side(1, 2.0)}, UNPUBLISHED, noun="record", own=True, **QUICK).document
    text = Page(render_dataset(document)).text
    text = text[text.index("Verdict on sets of records") :]
    assert "a set of 48 records" in text
    assert "unpublished record" in text
    assert "image" not in text
    assert "accuses nobody" in text


CHANGES = {
    "another schema": ({"schema": "diffaudit.study"}, "has schema 'diffaudit.study', not 'diffaudit.dataset'"),
    "no set": ({"sets": []}, "has [] at sets, not a list with an entry: give the verdict again."),
    "a word for a number": ({"level": "high"}, "has 'high' at level, not a number: give the verdict again."),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(reports, tmp_path: Path, case):
    changed, says = CHANGES[case]
    (tmp_path / "dataset.json").write_text(json.dumps(reports["found"].document | changed))
    with pytest.raises(InputError, match=re.escape(says)):
        DatasetReport.load(tmp_path)


def test_parts_that_do_not_go_together_are_not_read(reports, tmp_path: Path):
    for change, says in (
        (lambda d: d["sets"][0]["power"]["median"].append(1.0), "numbers at sets[0].power.median, not one for each"),
        (lambda d: d["people"].update(flagged=0), "says that 0 people are flagged at people, and flags others"),
    ):
        document = json.loads(json.dumps(reports["found"].document))
        change(document)
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match=re.escape(says)):
            DatasetReport.load(tmp_path)


def test_no_set_is_no_claim():
    with pytest.raises(InputError, match=r"there is no suspect set: give one at least\."):
        dataset_report({}, UNPUBLISHED, **QUICK)
