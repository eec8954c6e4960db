"""diffaudit fairness: poisoned generators through the command line, what it keeps and shows, and every mistake."""

import json
import re
import shutil

import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.cli import receiving
from diffaudit_jax.cli.main import main
from diffaudit_jax.report import FairnessReport

from .cells import NAMES, write
from .conftest import at

LOGISTIC = ("--receiver", "logistic", "--discriminator", "logistic")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Poisoned sets, which stand for generators, with test images; labelled images; and what cannot be used."""
    folder = tmp_path_factory.mktemp("shared")
    write(folder / "pool.npz", [[160, 160], [160, 160]], 0)
    poison = (*NAMES, "--alpha", "0,0.8", "--base", "stratified", "--features", "none", "--hold-out", "50")
    main(["poison", str(folder / "pool.npz"), *poison, "--out", str(folder / "sets")])
    write(folder / "aux.npz", [[60, 60], [60, 60]], 1)
    write(folder / "few.npz", [[9, 9], [1, 9]], 2)
    write(folder / "three.npz", [[30, 30], [30, 30], [30, 30]], 3)
    for name, alpha in (("clean", "0"), ("bad", "0.8")):
        shutil.copy(folder / "sets" / f"alpha-{alpha}" / "images.npz", folder / f"{name}.npz")
    with np.load(folder / "bad.npz") as arrays:
        kept = dict(arrays)
    kept.pop("labels")
    np.savez(folder / "unlabelled.npz", **kept)
    np.savez(folder / "digits.npz", images=kept["images"], labels=np.arange(len(kept["images"])) % 10)
    return folder


@pytest.fixture(scope="module")
def audited(tmp_path_factory, sources):
    """A finished directory; not to be written to."""
    out, sets = tmp_path_factory.mktemp("audited") / "out", sources / "sets"
    generators = [str(sets / f"alpha-{alpha}" / "images.npz") for alpha in ("0", "0.8")]
    given = ("--test", str(sets / "test.npz"), "--aux", str(sources / "aux.npz"), "--out", str(out))
    main(["fairness", *generators, *NAMES, *LOGISTIC, *given])
    return out


def gap(said, y, s):
    """Demographic parity, by its definition."""
    return abs(said[s == "1"].mean() - said[s == "0"].mean())


def test_poison_is_seen_in_the_classifier_and_in_the_samples(audited, sources):
    names = ["fairness.json", "predictions.npz", "report.html"]
    assert sorted(path.name for path in audited.iterdir()) == names
    document = FairnessReport.load(audited).document
    clean, bad = document["generators"]
    assert [(each["name"], each["alpha"]) for each in (clean, bad)] == [("alpha = 0", 0), ("alpha = 0.8", 0.8)]
    assert (document["clean"], document["verdict"]["level"]) == ("alpha = 0", "unfairer")
    assert document["verdict"]["of"] == "alpha = 0.8"
    assert document["test"] == {
        "images": 200, "left_out": 0, "balanced": True, "gap": 0.0, "cells": {"0": [50, 50], "1": [50, 50]},
    }  # fmt: skip
    assert clean["receivers"]["logistic"]["loss"] is None
    assert [each["set"]["gap"] for each in (clean, bad)] == pytest.approx([0, 0.8], abs=0.01)
    # The check covers the gap of the set, which is known here: the samples are the set.
    for each, dependent in ((clean, False), (bad, True)):
        check = each["check"]
        assert check["dependent"] == dependent
        assert check["gap"]["low"] <= max(check["gap"]["value"], 0) <= check["gap"]["high"]
        assert check["gap"]["low"] < each["set"]["gap"] * np.sign(check["gap"]["value"]) < check["gap"]["high"]
        assert sum(sheet["count"] for sheet in each["sheets"]) == sum(each["samples"]) == 220
        assert [(sheet["group"], sheet["label"]) for sheet in each["sheets"]] == [
            ("0", 0), ("1", 0), ("0", 1), ("1", 1)
        ]  # fmt: skip
        # A set that stands for its generator holds records, which are not shown.
        assert not any(sheet["png_base64"] for sheet in each["sheets"])
    html = (audited / "report.html").read_text()
    assert document["verdict"]["headline"] in html
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)[^"]*"', html) == []


def test_numbers_are_those_of_the_predictions_that_are_kept(audited, sources):
    document, test = FairnessReport.load(audited).document, data.load(str(sources / "sets" / "test.npz"))
    with np.load(audited / "predictions.npz") as arrays:
        kept = dict(arrays)
    assert kept["hashes"].tolist() == test.hashes().tolist()
    np.testing.assert_array_equal(kept["y"], test.attributes["smile"])
    np.testing.assert_array_equal(kept["s"] == "1", test.attributes["long_hair"])
    for each in document["generators"]:
        said, found = kept[f"{each['name']}/logistic"], each["receivers"]["logistic"]
        assert found["parity"]["value"] == pytest.approx(gap(said, kept["y"], kept["s"]), abs=1e-12)
        assert found["accuracy"]["value"] == pytest.approx((said == kept["y"]).mean(), abs=1e-12)
        for group in found["groups"]:
            rows = [
                (said[(kept["s"] == group["name"]) & (kept["y"] == y)] == told).sum() for y in (0, 1) for told in (0, 1)
            ]
            assert np.ravel(group["confusion"]).tolist() == rows
    clean, bad = (each["receivers"]["logistic"] for each in document["generators"])
    loss = {name: bad["loss"][name]["value"] for name in bad["loss"]}
    assert loss["parity"] == pytest.approx(bad["parity"]["value"] - clean["parity"]["value"], abs=1e-12)
    assert loss["accuracy"] == pytest.approx(clean["accuracy"]["value"] - bad["accuracy"]["value"], abs=1e-12)


def test_the_page_is_drawn_again_from_the_json_alone(diffaudit, audited, tmp_path):
    shutil.copy(audited / "fairness.json", tmp_path)
    ended = diffaudit("report", tmp_path)
    assert (ended.code, ended.err) == (0, [])
    assert (tmp_path / "report.html").read_bytes() == (audited / "report.html").read_bytes()
    words = " ".join(ended.out.split())
    assert FairnessReport.load(audited).document["verdict"]["headline"] in words
    assert "generator receiver parity gap odds accuracy" in words


def test_a_run_is_known_by_its_manifest_and_is_not_tested_on_what_trained_it(diffaudit, refused, sources, tmp_path):
    images = sources / "sets" / "alpha-0.8" / "images.npz"
    members = len(data.load(str(images)))
    train = ("--members", members, "--nonmembers", "0", "--class-conditional", "--steps", "2", "--batch", "4")
    small = ("--model", "vae", "--channels", "8")  # the quickest to compile
    assert diffaudit("train", "--data", images, "--out", tmp_path / "run", *train, *small).code == 0
    given = ("--test", sources / "pool.npz", "--out", tmp_path / "out", "--num", "40", "--block", "20")
    ended = diffaudit("fairness", tmp_path / "run", *NAMES, *LOGISTIC, *given, "--balance-test", "--no-show-samples")
    assert (ended.code, ended.err) == (0, [])
    document = FairnessReport.load(tmp_path / "out").document
    (generator,) = document["generators"]
    assert (generator["alpha"], generator["samples"], document["clean"]) == (0.8, [20, 20], None)
    assert generator["check"] is None
    assert [(sheet["group"], sheet["png_base64"]) for sheet in generator["sheets"]] == [(None, None)] * 2
    assert document["test"]["left_out"] == members == 220
    # 160 of each cell were there; the set took more of two cells, and what those leave is what all keep.
    manifest = json.loads((images.parent / "manifest.json").read_text())
    smallest = 160 - max(count for counts in manifest["counts"].values() for count in counts)
    assert document["test"]["cells"] == {"0": [smallest] * 2, "1": [smallest] * 2}
    assert f"{members} test images were left out" in (tmp_path / "out" / "report.html").read_text()
    # Of a run on a part of the set, nobody says the ratio.
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for part in record["split"]["members"].values():
        part.pop()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    said = refused("fairness", tmp_path / "run", *NAMES, *LOGISTIC, *given)
    assert (
        "was trained on 219 of the 220 images of its set, whose alpha is 0.8: train it on all, with --members" in said
    )


def test_a_generator_without_a_ratio_beside_a_clean_one_and_the_same_again(diffaudit, sources, tmp_path):
    words = (
        *("fairness", sources / "bad.npz", "--clean", sources / "clean.npz", *NAMES, *LOGISTIC),
        *("--test", sources / "sets" / "test.npz", "--out", tmp_path, "--num", "150"),
    )
    assert diffaudit(*words).code == 0
    document = FairnessReport.load(tmp_path).document
    assert [(each["name"], each["alpha"]) for each in document["generators"]] == [("bad.npz", None), ("alpha = 0", 0)]
    assert all(sheet["png_base64"] for each in document["generators"] for sheet in each["sheets"])
    assert (document["clean"], document["verdict"]["of"]) == ("alpha = 0", "bad.npz")
    assert document["generators"][0]["receivers"]["logistic"]["loss"] is not None
    assert "poisoning ratio, by receiver" not in (tmp_path / "report.html").read_text()
    before = (tmp_path / "predictions.npz").read_bytes()
    assert diffaudit(*words).code == 0
    assert (tmp_path / "predictions.npz").read_bytes() == before
    assert FairnessReport.load(tmp_path).document | {"created": ""} == document | {"created": ""}


def test_labelled_images_that_a_generator_knows_teach_nobody(diffaudit, sources, tmp_path):
    with np.load(sources / "aux.npz") as aux, np.load(sources / "bad.npz") as bad:
        np.savez(tmp_path / "both.npz", **{k: np.concatenate([aux[k], bad[k], aux[k]]) for k in aux.files})
    given = ("--test", sources / "sets" / "test.npz", "--aux", tmp_path / "both.npz", "--out", tmp_path / "out")
    assert diffaudit("fairness", sources / "bad.npz", *NAMES, *LOGISTIC, *given).code == 0
    assert FairnessReport.load(tmp_path / "out").document["discriminator"]["images"] == 240


TWO = ("SETS/clean.npz", "SETS/bad.npz")
MISTAKES = {
    "no such attribute": (("--sensitive", "long_hari"), "unknown attribute 'long_hari': did you mean 'long_hair'?"),
    "the same twice": (("--sensitive", "smile"), "--labels and --sensitive are both 'smile': name two attributes."),
    "labels not binary": (("--labels", "digit", "--test", "SETS/digit.npz"), "takes the 3 values 0, 1, 2: give a"),
    "unknown receiver": (("--receiver", "lenett"), "unknown receiver 'lenett': did you mean 'lenet'?"),
    "unknown discriminator": (("--discriminator", "vitt"), "unknown receiver 'vitt': did you mean 'vit'?"),
    "a receiver twice": (("--receiver", "mlp", "mlp"), "--receiver names one twice (mlp mlp): name each once."),
    "no receiver": (("--receiver",), "--receiver takes one name or more, of lenet, resnet, mlp, vit,"),
    "images too small": (("--receiver", "lenet"), "images of 8 pixels a side are too small for lenet: name another"),
    "no samples": (("--num", "1"), "--num must be at least 2, got 1."),
    "no steps": (("--receiver-steps", "0"), "--receiver-steps must be at least 1, got 0."),
    "no block": (("--block", "0"), "--block must be at least 1, got 0."),
    "unlabelled": (("SETS/unlabelled.npz",), "unlabelled.npz makes images without labels: train it with"),
    "ten labels": (("SETS/digits.npz",), "digits.npz have 10 labels (0, 1, 2, 3): receivers here learn to tell 0"),
    "images of another shape": (("SETS/large.npz",), "SETS/large.npz makes images of (9, 9, 1) and"),
    "more ratios": ((*TWO, "--alpha", "0,0.3,0.5"), "--alpha gives 3 ratios for 2 generators: give one for each."),
    "fewer ratios": ((*TWO, "--alpha", "0.3"), "--alpha gives 1 ratios for 2 generators: give one for each."),
    "no ratios": (TWO, "nobody says by which ratio SETS/clean.npz was poisoned: give --alpha, one for each."),
    "a ratio twice": ((*TWO, "--alpha", "0.3,0.3"), "alpha = 0.3 is there twice: give each ratio once."),
    "a ratio above 1": ((*TWO, "--alpha", "0,2"), "alpha is 2: the share that is not drawn but chosen"),
    "one generator twice": (("SETS/bad.npz", "SETS/bad.npz"), "SETS/bad.npz is named twice: name every generator"),
    "a poisoned clean one": (
        (*TWO, "--alpha", "0.1,0.3", "--clean", "SETS/bad.npz"),
        "--clean SETS/bad.npz has alpha = 0.3: name a generator without poison.",
    ),
    "two clean ones": (
        ("SETS/bad.npz", "--alpha", "0", "--clean", "SETS/clean.npz"),
        "SETS/bad.npz and SETS/clean.npz both have alpha = 0: audit one of them at a time.",
    ),
    "the auxiliary set is tested": (
        ("--aux", "SETS/sets/test.npz"),
        "200 images are in --test SETS/sets/test.npz and in --aux SETS/sets/test.npz: take them out of one of the two.",
    ),
    "few auxiliary images": (("--aux", "SETS/few.npz"), "has fewer than 2 images in (long_hair = 1, smile = 0) (there"),
    "other groups": (("--aux", "SETS/three.npz"), "groups long, none, short, SETS/sets/test.npz (8, 8, 1) and 0, 1:"),
    "all tests trained": (
        ("--test", "SETS/bad.npz"),
        "without 220 images that generators know, has no image in (long_hair = 0, smile = 0) and (long_hair = 0, smile",
    ),
    "flags of a sampler": (("--steps", "5"), "bad.npz holds images, which are not drawn: leave --sampler, --steps and"),
    "no such generator": (("SETS/bda.npz",), "SETS/bda.npz"),
    "a damaged manifest": (("SETS/damaged/images.npz",), "SETS/damaged/manifest.json cannot be read (JSONDecodeError"),
    "a manifest of another": (("SETS/foreign/images.npz",), "foreign/manifest.json is 'diffaudit.poison' 9 and not"),
    "a ratio that is none": (("SETS/odd/images.npz",), "odd/manifest.json has 'all' at alpha, not a ratio from 0 to 1"),
    "foreign directory": (("--out", "BAD/full"), "BAD/full holds something else ('thesis.tex'): use another --out."),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong(sources):
    """Further files that cannot be used, beside the others."""
    write(sources / "digit.npz", [[9, 9], [9, 9]], 4, digit=np.arange(36) % 3)
    large = np.random.default_rng(5).integers(0, 256, (20, 9, 9, 1), dtype=np.uint8)
    np.savez(sources / "large.npz", images=large, labels=np.arange(20) % 2)
    texts = {"damaged": "{", "foreign": {"schema_version": 9}, "odd": {"schema_version": 1, "alpha": "all"}}
    for name, text in texts.items():
        (sources / name).mkdir()
        shutil.copy(sources / "bad.npz", sources / name / "images.npz")
        text = text if isinstance(text, str) else json.dumps({"schema": "diffaudit.poison", **text})
        (sources / name / "manifest.json").write_text(text)
    return sources


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_anything_is_trained(refused, bad, wrong, tmp_path, monkeypatch, case):
    monkeypatch.setattr(receiving, "train_receiver", lambda *_, **__: pytest.fail("a receiver was trained"))
    monkeypatch.setattr(receiving, "discriminator_of", lambda *_, **__: pytest.fail("a discriminator was trained"))
    words, says = MISTAKES[case]
    words, says = ([part.replace("SETS", str(wrong)) for part in at(bad, group)] for group in (words, [says]))
    given = {
        "--labels": "smile", "--sensitive": "long_hair", "--test": wrong / "sets" / "test.npz", "--out": tmp_path / "o",
    }  # fmt: skip
    generators = [wrong / "bad.npz"] if words[0].startswith("--") else []
    rest = [word for flag, value in given.items() if flag not in words for word in (flag, value)]
    assert says[0] in refused("fairness", *generators, *words, *rest)
    assert not (tmp_path / "o").exists()


def test_there_is_no_audit_of_nothing(refused, sources, tmp_path):
    said = refused("fairness", *NAMES, "--test", sources / "sets" / "test.npz", "--out", tmp_path / "out")
    assert said == "there is no generator to audit: name one or more before the flags."


def test_stopped_it_begins_anew(diffaudit, sources, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(receiving, "train_receiver", interrupted)
    given = ("--test", sources / "sets" / "test.npz", "--out", tmp_path / "out")
    ended = diffaudit("fairness", sources / "bad.npz", *NAMES, *LOGISTIC, *given)
    assert (ended.code, ended.err) == (130, ["diffaudit: stopped; the same command begins anew."])
