"""Reports of samples that copy, do not, or cannot be judged: what they conclude, keep, show and refuse."""

import json
import re

import numpy as np
import pytest

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.extraction import extract
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.metrics.recall import beyond_chance, recall
from diffaudit_jax.report import redraw
from diffaudit_jax.report.extraction import ExtractionReport, extraction_report
from diffaudit_jax.report.extraction_verdict import LABELS, by_chance
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

RNG = np.random.default_rng(0)
RECORDS, OTHERS, FRESH = (RNG.integers(0, 256, (n, 12, 12, 1), np.uint8) for n in (30, 40, 60))
MEMBERS = np.concatenate([RECORDS, *[RECORDS[:2]] * 9])
COPIED = np.concatenate([FRESH, RECORDS[:6], np.repeat(RECORDS[:1], 20, axis=0)])

WHOSE = np.concatenate([np.arange(30) // 2 % 6, *[[0, 0]] * 9, 100 + np.arange(40) // 4])


def records(images):
    """A table that is hostile in its names and values."""
    columns = {f"{HOSTILE} {i}": images[:, i, 0, 0].astype(float) for i in range(3)}
    return Table(columns | {"kind": np.where(images[:, 5, 5, 0] > 99, HOSTILE, "no")}, np.arange(len(images)), HOSTILE)


MADE = {
    "copied": ((COPIED, MEMBERS, OTHERS), {}, "extracted", "to 6 of 30 training images than to any of 40"),
    "fresh": ((FRESH, MEMBERS, OTHERS), {}, "unseen", "60 samples come closer to 0 of 30 training"),
    "alone": ((COPIED, MEMBERS, None), {}, "unjudged", "come near 6 of 30 training images; there are no held-out ones"),
    "shown": ((COPIED, MEMBERS, OTHERS), {"show_images": 2}, "extracted", "6 of 30 training images"),
    "people": ((COPIED, MEMBERS, OTHERS), {"groups": WHOSE}, "extracted", "to images of 3 of 6 people trained on than"),
    "table": (tuple(map(records, (COPIED, MEMBERS, OTHERS))), {}, "extracted", "of 30 training records"),
}  # fmt: skip


@pytest.fixture(scope="module")
def reports():
    told = {"title": HOSTILE, "provenance": {"by": HOSTILE}}
    return {name: extraction_report(*sides, **told, **settings) for name, (sides, settings, *_) in MADE.items()}


@pytest.mark.parametrize("made", MADE)
def test_the_verdict_follows_from_the_numbers(reports, made):
    level, headline = MADE[made][2:]
    concluded = reports[made].document["verdict"]
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    assert headline in concluded["headline"]


def test_numbers_are_those_of_the_metrics(reports):
    document = reports["copied"].document
    found = extract(COPIED, MEMBERS, OTHERS)
    assert document["counts"] == {"samples": 86, "members": 48, "distinct": 30, "heldout": 40}
    for rule, members, heldout in zip(document["rules"], found.members, found.heldout, strict=True):
        assert (rule["name"], rule["limit"]) == (members.rule, members.limit)
        assert rule["members"] == {"found": 6, "of": 30, "share": clopper_pearson(6, 30)._asdict()}
        assert rule["heldout"]["found"] == heldout.extracted.sum() == 0
        assert rule["copies"]["found"] == members.copies.sum() == 26
        assert rule["p_value"] == beyond_chance(members, heldout)
    rows = recall(found.members[-1], found.times)
    assert [row["share"] for row in document["recall"]] == [row.share._asdict() for row in rows]
    assert [(row["times"], row["extracted"]) for row in document["recall"]] == [(1, 4), (10, 2)]
    assert document["eidetic"] == [{"k": 1, "records": 4}, {"k": 10, "records": 6}]
    assert document["clusters"] == {"found": 1, "right": 1, "listed": [{"centre": 60, "samples": 21, "copies": 21}]}
    assert sorted(pair["row"] for pair in document["pairs"]) == list(range(6))
    assert [pair["ssim"] for pair in document["pairs"]] == pytest.approx([1.0] * 6)
    # Thirty records in the gaps between forty others.
    assert by_chance(document) == pytest.approx(30 / 41)


def test_people_are_counted_where_they_were_dealt(reports):
    document = reports["people"].document
    rule = document["rules"][-1]
    assert (rule["members"]["found"], rule["members"]["of"], rule["records"]) == (3, 6, 6)
    assert rule["members"]["share"] == clopper_pearson(3, 6)._asdict()
    assert (rule["heldout"]["found"], rule["heldout"]["of"]) == (0, 10)
    # Three of sixteen people, all of them on the side of six.
    assert rule["p_value"] == pytest.approx(20 / 560)
    assert [(row["times"], row["records"], row["extracted"]) for row in document["recall"]] == [(1, 6, 2), (10, 1, 1)]
    assert by_chance(document) == pytest.approx(6 / 11)
    said = " ".join(document["verdict"]["sentences"])
    assert "By how often their images are in the training data: 2 of 6 people with some that are there once; 1" in said
    assert not [limit for limit in document["limits"] if "counts as one of its own" in limit]
    assert [limit for limit in reports["copied"].document["limits"] if "counts as one of its own" in limit]


def test_eidetic_memory_is_told_by_distance_alone():
    """A copy that is as near as the l2 rule asks, and not as the others do, counts; what is near for its place not."""
    base = np.full((1, 12, 12, 1), 100, np.uint8)
    members, others = (base + RNG.integers(0, 60, (9, 12, 12, 1), np.uint8) for _ in range(2))
    document = extraction_report(base + 30, members, others, delta=0.08).document
    near = extract(base + 30, members, others, delta=0.08)
    plain, decisive = near.members[0].extracted, near.members[-1].extracted
    assert plain.any()
    assert not decisive.any()
    assert document["eidetic"][-1]["records"] == plain.sum()
    assert document["eidetic"] == [
        {"k": int(k), "records": int((near.near[plain] <= k).sum())} for k in np.unique(near.near[plain])
    ]


def test_nothing_found_bounds_the_rate_by_three_in_n():
    document = extraction_report(FRESH, RECORDS, OTHERS).document
    assert document["rules"][-1]["copies"]["found"] == 0
    (said,) = [sentence for sentence in document["verdict"]["sentences"] if "None of 60" in sentence]
    assert float(re.search(r"fewer than ([\d.]+) %", said)[1]) == pytest.approx(100 * (1 - 0.05 ** (1 / 60)), abs=0.05)


@pytest.mark.parametrize("made", MADE)
def test_the_page_holds_everything_and_loads_nothing(reports, made, tmp_path):
    document = reports[made].document
    _, written = reports[made].save(tmp_path)
    html = written.read_text()
    page = Page(html)
    assert page.open == []
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    assert page.tags.count("img") == (4 if made == "shown" else 0)
    assert len(page.values("id")) == len(set(page.values("id")))
    assert HOSTILE in page.text
    assert HOSTILE not in html
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert all(limit in page.text for limit in document["limits"])
    assert ("Held-out images found by chance" in page.text) == (made in ("copied", "fresh", "shown"))
    assert ("image" in page.text.partition("Extraction of")[2]) == (made != "table")
    written.unlink()
    assert redraw(tmp_path).read_text() == html


DAMAGED = {
    "lacks": (lambda document: document.pop("recall"), "lacks recall"),
    "text": (lambda document: document["rules"][0].update(limit="x"), "has 'x' at rules[0].limit, not a number"),
    "decisive": (lambda document: document.update(decisive="x"), "has 'x' at decisive"),
    "heldout": (lambda document: document["counts"].update(heldout=None), "some numbers of held-out records"),
    "newer": (lambda document: document.update(schema_version=2), "2"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_changed_report_is_refused(reports, case, tmp_path):
    change, says = DAMAGED[case]
    reports["copied"].save(tmp_path)
    document = json.loads((tmp_path / "extraction.json").read_text())
    change(document)
    (tmp_path / "extraction.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as refused:
        ExtractionReport.load(tmp_path)
    assert says in str(refused.value)


def test_records_of_a_table_are_not_shown():
    with pytest.raises(InputError, match="these are records of a table"):
        extraction_report(*map(records, (COPIED, MEMBERS, OTHERS)), show_images=1)
