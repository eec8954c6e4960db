"""Reports of a property from calls that were made up: what they conclude, keep, show and refuse."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats

from diffaudit_jax.metrics import plan_samples
from diffaudit_jax.metrics.corrected import Rates, rogan_gladen, unmixed
from diffaudit_jax.report.property import PropertyReport, property_report
from diffaudit_jax.report.property_page import half, offset, render_property, rest
from diffaudit_jax.report.property_shares import Training, against_n, points
from diffaudit_jax.report.property_verdict import LABELS
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

GOOD = np.array([[950, 50], [100, 900]])
FAIR = np.array([[45, 5], [8, 42]])
BLIND = np.array([[10, 10], [9, 11]])
NBSP, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"
VALUES = ("no smile", "smile")


def calls(k, n, seed=0):
    """Calls of which k of n are positive, in random order."""
    return np.random.default_rng(seed).permutation(np.arange(n) < k).astype(int)


def reported(has=None, values=VALUES, **settings):
    has = calls(560, 1000) if has is None else has
    return property_report(has, values, **{"name": "smile", "called": "smile", "confusion": GOOD, **settings})


CLASSES = {"labels": np.arange(1000) % 2, "names": ("cats", "dogs")}
THREE = np.array([[90, 5, 5], [10, 80, 10], [0, 10, 90]])
SEVERAL = {
    "has": np.arange(900) % 9 // 4,
    "values": ("x", "y", "z"),
    "called": None,
    "confusion": THREE,
}
VERDICTS = {
    "share": ({}, "inferred", r"The share of “smile” is 60 % \[53, 67\], by 1,000 samples\."),
    "rough": ({"has": calls(30, 50), "confusion": FAIR}, "rough", r"The share of “smile” is 68 % \[25, 100\]"),
    "agrees": ({"declared": 0.6}, "agrees", r"60 % \[53, 67\], which agrees with the 60 % that was declared"),
    "differs": ({"declared": 0.5}, "differs", r"60 % \[53, 67\], and not the 50 % that was declared\."),
    "undecided": (
        {"has": calls(30, 50), "confusion": FAIR, "declared": 0.5},
        "undecided",
        "too wide to judge the 50 % that was declared",
    ),
    "blind": (
        {"confusion": BLIND, "declared": 0.5},
        "blind",
        "tells “smile” no better than chance, so samples tell no",
    ),
    "unmeasured": (
        {"confusion": None, "declared": 0.9},
        "unmeasured",
        r"56 % \[53, 59\] of 1,000 samples are called “sm",
    ),
    "classes agree": ({**CLASSES, "declared": 0.6}, "agrees", "agrees in all 2 classes with the 60 % that was"),
    "a class differs": (
        {**CLASSES, "has": np.where(CLASSES["labels"], calls(560, 1000), calls(300, 1000)), "declared": 0.6},
        "differs",
        r"is not the 60 % that was declared in 1 of 2 classes: “cats” 29 % \[20, 38\]\.$",
    ),
    "all classes are unclear": (
        {**CLASSES, "by": {0: BLIND, 1: BLIND}, "declared": 0.6},
        "undecided",
        "too uncertain in 2 of 2 classes to judge the 60 % that was declared",
    ),
    "a class is unclear": (
        {**CLASSES, "by": {0: BLIND, 1: GOOD}, "declared": 0.6},
        "undecided",
        "is too uncertain in 1 of 2 classes to judge",
    ),
    "several": (
        SEVERAL,
        "inferred",
        r"The shares of the 3 values of “smile” are known within \d\.\d points up and down",
    ),
    "one of several": ({**SEVERAL, "has": np.repeat([0, 1, 2], (600, 200, 100))}, "inferred", r"is “x”, with 7\d % \["),
    "several unmeasured": (
        {**SEVERAL, "confusion": None},
        "unmeasured",
        r"called is “x”: 44 % \[41, 48\] of 900 samples",
    ),
    "several blind": ({**SEVERAL, "confusion": np.full((3, 3), 9)}, "blind", "tells the values of “smile” no better"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_follows_from_the_numbers(case):
    settings, level, headline = VERDICTS[case]
    concluded = reported(**settings).document["verdict"]
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    assert re.search(headline, concluded["headline"].replace(NBSP, " ")), concluded["headline"]


def test_the_interval_of_a_share_is_that_of_its_counts():
    document = reported(calls(30, 50), error=0.1, most=80, level=0.9).document
    rates = Rates(900, 1000, 50, 1000)
    row, expected = document["shares"][0], rogan_gladen(30, 50, rates, 0.9, stopped=True)
    assert row["estimate"] == expected.estimate._asdict()
    assert row["raw"]["anytime"] == pytest.approx(expected.raw._asdict())
    assert (row["called"], row["samples"], document["counts"]["most"]) == (30, 50, 80)
    assert row["unclipped"] == pytest.approx((0.6 - 0.05) / 0.85)
    width = row["estimate"]["high"] - row["estimate"]["low"]
    assert sum(row["budget"].values()) == pytest.approx(width / 2)
    assert not document["stopped"]
    assert reported(calls(450, 900), error=0.1).document["stopped"]
    # Rogan and Gladen's formula, hand-written; exact limits as scipy has them.
    for v, (k, n) in enumerate(((950, 1000), (900, 1000))):
        exact = stats.binomtest(k, n).proportion_ci(0.9)
        right = document["discriminator"]["judged"]["right"][v]
        assert (right["low"], right["high"]) == pytest.approx((exact.low, exact.high))
    each = reported(**SEVERAL).document["shares"]
    assert [row["estimate"] for row in each] == [found._asdict() for found in unmixed([400, 400, 100], THREE)]


def test_coverage_is_what_the_training_images_say():
    """By hand: 30 of 80 images of class 0 and 10 of 20 of class 1; 3 of 4 samples are of class 0."""
    training = Training(np.array([60, 40]), {0: np.array([50, 30]), 1: np.array([10, 10])})
    labels = np.arange(1000) % 4 // 3
    plain = reported(training=training, labels=labels).document["shares"][0]
    assert (plain["coverage"]["has"], plain["coverage"]["images"], plain["coverage"]["share"]) == (40, 100, 0.4)
    assert plain["coverage"]["off"]["value"] == pytest.approx(plain["estimate"]["value"] - 0.4)
    document = reported(training=training, labels=labels, names=("cats", "dogs"), in_turn=True).document
    found = document["shares"][0]["coverage"]
    assert found["weighted"]
    assert found["share"] == pytest.approx(0.75 * 30 / 80 + 0.25 * 10 / 20)
    assert [row["coverage"]["share"] for row in document["classes"]] == [30 / 80, 0.5]
    assert "which is 40.6 % for classes as in the samples: the estimate is +1" in document["verdict"]["sentences"][-1]
    lacking = Training(np.array([60, 40]), {0: np.array([60, 40])})
    document = reported(training=lacking, labels=labels, names=("cats", "dogs"), in_turn=True).document
    assert not document["shares"][0]["coverage"]["weighted"]
    assert document["classes"][1]["coverage"] is None
    assert any("some have no training image" in limit for limit in document["limits"])
    blind = reported(training=training, confusion=BLIND).document["shares"][0]["coverage"]
    assert blind["off"] is None


def test_classes_share_the_error_and_have_errors_of_their_own():
    document = reported(**CLASSES, by={0: FAIR}, level=0.9).document
    assert document["together"] == pytest.approx(0.95)
    for y, (row, confusion) in enumerate(zip(document["classes"], (FAIR, GOOD), strict=True)):
        (negative, fp), (fn, tp) = confusion
        k = int(calls(560, 1000)[y::2].sum())
        expected = rogan_gladen(k, 500, Rates(tp, fn + tp, fp, negative + fp), 0.95)
        assert row["estimate"] == expected.estimate._asdict()
        assert (row["judged"] is None) == (confusion is GOOD)
    assert any("of all classes together. Where they go with" in limit for limit in document["limits"])
    assert not any("of all classes" in limit for limit in reported(**CLASSES, by={0: FAIR, 1: FAIR}).document["limits"])


def test_the_curve_holds_the_share_after_n_samples():
    has = calls(300, 1000) == 1
    counts = points(1000)
    assert counts[0] == 10
    assert counts[-1] == 1000
    assert len(counts) <= 200
    assert points(3) == [3]
    rates = Rates(90, 100, 5, 100)
    corrected, bare = against_n(has, rates, 0.95, counts), against_n(has, None, 0.95, counts)
    assert bare["estimate"] is None
    for i, n in enumerate(counts):
        k = int(has[:n].sum())
        assert corrected["raw"][i] == bare["raw"][i] == k / n
        found = rogan_gladen(k, n, rates, stopped=True)
        assert (corrected["estimate"][i], corrected["low"][i], corrected["high"][i]) == found.estimate
        assert (bare["low"][i], bare["high"][i]) == pytest.approx(found.raw[1:])


def test_the_plan_is_that_of_the_level():
    rows = {row["error"]: row for row in reported(level=0.9).document["plan"]}
    assert set(rows) == {0.1, 0.05, 0.03, 0.02, 0.01}
    for error, row in rows.items():
        assert row["hoeffding"] == math.ceil(math.log(2 / 0.1) / (2 * error**2))
        assert row["exact"] == plan_samples(error, 0.9, rule="exact") < row["hoeffding"] < row["bernstein"]


def test_a_share_that_cannot_be_is_told():
    document = reported(calls(20, 1000)).document
    assert document["shares"][0]["unclipped"] == pytest.approx((0.02 - 0.05) / 0.85)
    assert f"would be {MINUS}3.5 %, which cannot be: by luck" in " ".join(document["verdict"]["sentences"])


MADE = {
    "one": {"declared": 0.5, "training": Training(np.array([6, 4]), {}), "error": 0.05},
    "classes": {**CLASSES, "by": {0: FAIR}, "declared": 0.6, "in_turn": True, "names": (HOSTILE, "dogs")},
    "several": {**SEVERAL, "values": ("x", HOSTILE, "z"), "training": Training(np.array([6, 4, 1]), {})},
    "blind": {"confusion": BLIND},
    "unmeasured": {"confusion": None, "discriminator": {"name": "clip", "prompts": [HOSTILE, "b"]}},
}


@pytest.mark.parametrize("made", MADE)
def test_the_page_holds_everything_and_loads_nothing(made):
    settings = {"title": HOSTILE, "provenance": {"aux": {"source": HOSTILE}}, "name": HOSTILE, **MADE[made]}
    document = reported(**settings).document
    html = render_property(document)
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
    assert all(row["name"] in page.text for row in (*document["shares"], *document["classes"]))
    assert all(f"{row['exact']:,}" in page.text for row in document["plan"])
    assert ("Where the error comes from" in page.text) == (document["property"]["called"] is not None)
    assert ("The share in each class" in page.text) == bool(document["classes"])
    assert ("called what they are" in page.text) == (made != "unmeasured")
    if made == "one":
        assert offset(document["shares"][0]["coverage"]["off"]) in page.text
        assert "4 of 10" in page.text


def test_what_is_saved_is_read_back(tmp_path):
    for name, settings in MADE.items():
        report = reported(**settings)
        paths = report.save(tmp_path / name)
        assert [path.name for path in paths] == ["property.json", "report.html"]
        assert PropertyReport.load(tmp_path / name).document == report.document == json.loads(paths[0].read_text())
        assert paths[1].read_text() == render_property(PropertyReport.load(paths[0]).document)


CHANGES = {
    "another schema": ({"schema": "diffaudit.study"}, "has schema 'diffaudit.study', not 'diffaudit.property': it is"),
    "newer": ({"schema_version": 2}, "has schema version 2 and this library reads 1 to 1: update diffaudit_jax."),
    "a part is lacking": (
        {"plan": [{}]},
        "lacks plan[0].error, plan[0].hoeffding, plan[0].exact, plan[0].bernstein: inf",
    ),
    "no share": ({"shares": []}, "has [] at shares, not a list with an entry: infer the property again."),
    "a word for a number": ({"level": "high"}, "has 'high' at level, not a number: infer the property again."),
    "a value too many": (
        {"property": {"name": "a", "values": ["a", "b", "c"], "called": "b"}},
        "has discriminator.judged that does not go with 3 values: infer the property again.",
    ),
    "shares of each": (
        {"property": {"name": "a", "values": ["a", "b"], "called": None}},
        "has 1 entries at shares, not 2: infer the property again.",
    ),
    "a number too few": (
        {"against_n": {"n": [1, 2], "curves": [{"raw": [1], "estimate": None, "low": [0, 0], "high": [1, 1]}]}},
        "has 1 numbers at against_n.curves[0].raw, not one for each n: infer the property again.",
    ),
    "a row too short": (
        {"discriminator": {"name": "x", "prompts": [], "judged": {"confusion": [[1], [1, 2]], "right": [{}, {}]}}},
        "lacks discriminator.judged.right[0].value",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(tmp_path, case):
    changed, says = CHANGES[case]
    reported().save(tmp_path)
    path = tmp_path / "property.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match=re.escape(says)):
        PropertyReport.load(tmp_path)


def test_points_of_percent_are_written_with_their_sign():
    found = {"value": -0.0001, "low": -0.123, "high": 0.05}
    assert offset(found) == f"0.0 [{MINUS}12.3, +5.0]"
    assert offset(None) == "\N{EN DASH}"
    assert half({"value": 0.2, "low": 0.1, "high": 0.34}) == "12.0"
    assert rest({"value": 0.2, "low": 0.1, "high": 0.34}) == pytest.approx({"value": 0.8, "low": 0.66, "high": 0.9})


def test_samples_that_say_it_themselves_are_counted_exactly():
    report = reported(calls(300, 1000), confusion=None, noun="record", read=True, declared=0.31)
    row, exact = report.document["shares"][0], stats.binomtest(300, 1000).proportion_ci(0.95, "exact")
    assert row["estimate"] == pytest.approx({"value": 0.3, "low": exact.low, "high": exact.high}, abs=1e-9)
    assert row["budget"] == {"sampling": pytest.approx((exact.high - exact.low) / 2, abs=1e-9), "discriminator": 0.0}
    assert report.document["verdict"]["level"] == "agrees"
    stopped = reported(calls(300, 1000), confusion=None, noun="record", read=True, error=0.1).document["shares"][0]
    assert stopped["estimate"] == stopped["raw"]["anytime"]
    each = reported(**{**SEVERAL, "confusion": None}, noun="record", read=True).document["shares"]
    assert [share["estimate"] for share in each] == [share["raw"]["exact"] for share in each]


@pytest.mark.parametrize("settings", [{"confusion": None, "read": True}, {}, {"confusion": BLIND}, {**CLASSES}])
def test_records_are_called_so_and_names_are_left_as_they_are(settings):
    training = Training(np.array([40, 60]), {})
    report = reported(
        **{"name": "image", "called": "an image of images", "training": training, **settings}, noun="record"
    )
    page = re.sub(r"<(style|svg).*?</\1>", "", render_property(report.document), flags=re.DOTALL)
    assert "an image of images" in page
    assert "of 100" in page
    assert "image" not in page.replace("an image of images", "").replace("“image”", "").replace(">image<", "")
    assert "records" in page
