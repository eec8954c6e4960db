"""Reports of fairness, from classifiers that were made up: what they conclude, keep, show and refuse."""

import io
import json
import re

import numpy as np
import pytest

from diffaudit_jax.metrics import Corrected, Estimate, fairness_of
from diffaudit_jax.report import FairnessReport, fairness_report, redraw
from diffaudit_jax.report.fairness import Audited, Checked, RealImages, Sheet, predictions_npz
from diffaudit_jax.report.fairness_page import render_fairness
from diffaudit_jax.report.fairness_verdict import LABELS
from diffaudit_jax.types import InputError

from .audits import HOSTILE
from .test_page import Page

N = 400


def cells(groups=2, each=N // 4):
    """Test images of equal cells: labels and names of groups."""
    s, y = (part.ravel() for part in np.meshgrid(np.arange(groups), np.arange(2), indexing="ij"))
    return np.repeat(y, each), np.repeat(np.array(["0", "1", HOSTILE])[s], each)


def said(rates, groups=2):
    """Predictions with exactly these shares of 1 in the cells (0, 0), (0, 1), (1, 0), ..."""
    each = N // 4
    return np.concatenate([np.arange(each) < round(rate * each) for rate in rates]).astype(int)


FAIR, UNFAIR, WRONG = (0.1, 0.9, 0.1, 0.9), (0.05, 0.7, 0.3, 0.95), (0.9, 0.1, 0.9, 0.1)


def corrected(value, low, high, informative=True):
    return Corrected(Estimate(value, low, high), Estimate(value, low, high), value, informative)


def checked(one, zero):
    return Checked({("1", 0): corrected(*zero), ("1", 1): corrected(*one)}, Estimate(0.4, 0.2, 0.6))


def generator(name, alpha, rates, clean=None, receivers=("lenet",), **more):
    y, s = cells(len(rates) // 2)
    stats = {each: fairness_of(said(rates), y, s, None if clean is None else said(clean)) for each in receivers}
    told = {"gap": alpha, "information": 0.1, "method": "select"} if alpha is not None else None
    return Audited(name, alpha, (100, 100), told, stats, **more)


def reported(generators, clean="alpha = 0", **settings):
    groups = {group.name: (N // 4, N // 4) for group in next(iter(generators[0].receivers.values())).groups}
    test = settings.pop("test", RealImages(groups, 0.0, 0))
    settings = {"labels": "smile", "sensitive": "long_hair", **settings}
    return fairness_report(generators, test, clean=clean, **settings)


def pair(rates=UNFAIR, **more):
    return [generator("alpha = 0", 0.0, FAIR, **more), generator("alpha = 0.5", 0.5, rates, clean=FAIR, **more)]


VERDICTS = {
    "less fair": (
        pair(),
        "alpha = 0",
        "unfairer",
        r"0\.25 \[.*\] at alpha = 0\.5 and 0\.00 .* with the clean generator",
    ),
    "as fair": (pair((0.08, 0.9, 0.1, 0.92)), "alpha = 0", "as-fair", r"a difference of 0\.02 \[-0\."),
    "fairer": (
        [generator("alpha = 0", 0.0, UNFAIR), generator("alpha = 0.5", 0.5, FAIR, clean=UNFAIR)],
        "alpha = 0",
        "as-fair",
        r"a difference of -0\.25",
    ),
    "alone with a gap": (
        [generator("run", None, UNFAIR)],
        None,
        "gap",
        r"By lenet, the parity gap is 0\.25 .* by run, and",
    ),
    "alone without": ([generator("run", None, FAIR)], None, "no-gap", r"0\.00 \[0\.00, .* told rightly\."),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_follows_from_the_numbers(case):
    generators, clean, level, headline = VERDICTS[case]
    concluded = reported(generators, clean).document["verdict"]
    assert (concluded["level"], concluded["label"]) == (level, LABELS[level])
    assert re.search(headline, concluded["headline"]), concluded["headline"]
    assert concluded["of"] == generators[-1].name


def test_the_verdict_is_of_the_greatest_ratio_and_the_first_receiver_wherever_they_stand():
    both = ("mlp", "lenet")
    fair = generator("alpha = 0.3", 0.3, FAIR, clean=FAIR, receivers=both)
    document = reported([*pair(receivers=both)[::-1], fair]).document
    assert document["verdict"]["of"] == "alpha = 0.5"
    assert document["verdict"]["headline"].startswith("By mlp, ")
    text = " ".join(document["verdict"]["sentences"])
    assert "By lenet, the parity gap is 0.25" in text
    assert "Of 2 ratios, the gap by mlp is above that of the clean generator at alpha = 0.5, each" in text


def test_sentences_tell_what_else_was_found():
    known = RealImages({"0": (20, 180), "1": (100, 100)}, 0.4, 7)
    check = {"discriminator": {"name": "mlp", "accuracy": 0.9, "images": 50, "level": 0.975}}
    apart, joint = checked((0.7, 0.6, 0.8), (0.3, 0.2, 0.4)), checked((0.55, 0.45, 0.65), (0.5, 0.4, 0.6))
    seen = [each._replace(check=found) for each, found in zip(pair(), (joint, apart), strict=True)]
    document = reported(seen, test=known, **check).document
    text = " ".join(document["verdict"]["sentences"])
    assert "show that their labels go with long_hair: those of alpha = 0.5 (a gap of 0.40 [0.20, 0.60] in" in text
    assert "own labels have a parity gap of 0.40" in text
    assert "7 test images were left out" in text
    assert [each["check"]["dependent"] for each in document["generators"]] == [False, True]
    none = reported([each._replace(check=joint) for each in pair()], **check).document
    assert (
        "Of the samples themselves, it is not seen that their labels go with long_hair." in none["verdict"]["sentences"]
    )
    assert "Less than half" not in text
    turned = reported(pair(WRONG)).document["verdict"]["sentences"]
    assert any(each.startswith("Less than half of the test images are told rightly by lenet at") for each in turned)


def test_limits_go_with_what_was_done():
    plain = " ".join(reported([generator("run", None, FAIR)], None).document["limits"])
    assert "Without a clean generator" in plain
    assert "Pictures" not in plain
    assert "alpha" not in plain
    shown = pair(sheets=[Sheet(None, 0, 1, np.zeros((1, 4, 4, 1), np.uint8)), Sheet(None, 1, 0, None)])
    known = RealImages({"0": (20, 180), "1": (100, 100)}, 0.4, 0)
    text = " ".join(reported(shown, test=known).document["limits"])
    for part in (
        "It can repeat images that trained it",
        "nobody checked it here",
        "not equally large",
        "two generators",
    ):
        assert part in text


def test_the_page_holds_everything_and_loads_nothing():
    rates = (*UNFAIR, 0.2, 0.8)
    shares = {
        (group, y): corrected(0.3, 0.2, 0.4, informative=group != "1") for group in ("0", "1", HOSTILE) for y in (0, 1)
    }
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    more = {
        "check": Checked(shares, None),
        "sheets": [Sheet(group, y, 1234, images) for y in (0, 1) for group in ("0", "1", HOSTILE)],
        "receivers": (HOSTILE, "mlp"),
    }
    generators = [
        generator(HOSTILE, 0.0, rates, **more),
        generator("alpha = 0.3", 0.3, rates, clean=rates, **more),
        generator("alpha = 0.5", 0.5, rates, clean=rates, **more)._replace(told=None),
    ]
    document = reported(
        generators,
        HOSTILE,
        labels=HOSTILE,
        sensitive=HOSTILE,
        title=HOSTILE,
        discriminator={"name": HOSTILE, "accuracy": 0.9, "images": 50, "level": 0.99},
        provenance={"test": {"source": HOSTILE}},
    ).document
    html = render_fairness(document)
    page = Page(html)
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert len(page.values("src")) == 3 * 6
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.text.count(HOSTILE) >= 20
    assert html.count("<title id=") == 2
    places = [page.text.index(part) for part in (document["verdict"]["headline"], *document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert all(limit in page.text for limit in document["limits"])
    assert "cannot be told" in page.text
    assert "no manifest" in page.text
    assert "1,234 samples" in page.text
    # One line a receiver in each figure, told apart by its key.
    assert html.count("stroke-dasharray") >= 4


def test_without_ratios_there_are_no_curves():
    for generators, clean in (([generator("run", None, FAIR)], None), ([generator("alpha = 0", 0.0, FAIR)], None)):
        html = render_fairness(reported(generators, clean).document)
        assert "<title id=" not in html
        assert "Lost against the clean generator" not in html


def test_what_is_saved_is_read_back_and_drawn_again(tmp_path):
    report = reported(pair())
    paths = report.save(tmp_path)
    assert [path.name for path in paths] == ["fairness.json", "report.html"]
    text = paths[0].read_text()
    assert not re.search(r"\b(NaN|-?Infinity)\b", text)
    assert FairnessReport.load(tmp_path).document == report.document == json.loads(text)
    before = paths[1].read_bytes()
    paths[1].unlink()
    assert redraw(tmp_path) == paths[1]
    assert paths[1].read_bytes() == before


def test_predictions_of_every_test_image_are_kept():
    y, s = cells()
    hashes = [f"{i:064x}" for i in range(N)]
    with np.load(io.BytesIO(predictions_npz({"a": {"mlp": said(FAIR)}}, y, s.tolist(), hashes))) as arrays:
        kept = dict(arrays)
    assert sorted(kept) == ["a/mlp", "hashes", "s", "y"]
    np.testing.assert_array_equal(kept["a/mlp"], said(FAIR))
    assert (kept["s"].tolist(), kept["hashes"].tolist()) == (s.tolist(), hashes)


def changed(*path, value):
    """A function that puts a value at a place of a document."""

    def change(document):
        at = document
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = value

    return change


RESULT = ("generators", 0, "receivers", "lenet")
CHANGES = {
    "another schema": (changed("schema", value="diffaudit.study"), "has schema 'diffaudit.study', not 'diffaudit.fair"),
    "newer": (changed("schema_version", value=2), "has schema version 2 and this library reads 1 to 1: update"),
    "no generator": (changed("generators", value=[]), "has [] at generators, not a list with an entry: audit fairness"),
    "a word": (
        changed(*RESULT, "parity", "low", value="x"),
        "has 'x' at generators[0].receivers.lenet.parity.low, not",
    ),
    "a receiver is lacking": (changed("receivers", value=["lenet", "mlp"]), "lacks generators[0].receivers.mlp: audit"),
    "no such clean one": (changed("clean", value="gone"), "has 'gone' at clean, which is no generator"),
    "a verdict of nobody": (changed("verdict", "of", value="gone"), "has 'gone' at verdict.of, which is no generator"),
    "one label": (
        changed("generators", 1, "samples", value=[5]),
        "has 1 numbers at generators[1].samples, not one for",
    ),
    "three labels": (changed("test", "cells", "0", value=[1, 2, 3]), "has 3 numbers at test.cells.0, not one for each"),
    "a small table": (
        changed(*RESULT, "groups", 0, "confusion", value=[[1, 2], [3]]),
        "has no table of 2 x 2 at generators[0].receivers.lenet.groups",
    ),
    "a discriminator alone": (
        changed("discriminator", value={"name": "mlp", "accuracy": 1, "images": 9, "level": 0.9}),
        "has a discriminator without generators[0].check, or the check without",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_no_such_report_is_not_read(tmp_path, case):
    change, says = CHANGES[case]
    path = reported(pair()).save(tmp_path)[0]
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=re.escape(says)):
        FairnessReport.load(tmp_path)
