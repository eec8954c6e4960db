"""diffaudit property: shares that are known, what is written and redrawn, and every mistake."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax import data
from diffaudit_jax.cli import property as command
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.values import column_of
from diffaudit_jax.metrics.anytime import anytime
from diffaudit_jax.metrics.corrected import rogan_gladen
from diffaudit_jax.report.property import PropertyReport
from diffaudit_jax.training.discriminator import rates_of
from diffaudit_jax.types import InputError

from .conftest import at

CLIP = Path(__file__).parents[1] / "parity" / "fixtures" / "clip"
HAIR = ("--property", "long_hair", "--discriminator", "logistic")
WEARS = np.array(["nothing", "glasses", "hat", "hat"])


@pytest.fixture(scope="module")
def faces():
    """Embedded faces of 8 x 8 pixels in random order, the first 1000 to be taken for generated."""
    pool = data.load("pixel-faces-2k")
    order = np.random.default_rng(2).permutation(len(pool))
    return data.from_arrays(pool.x[order, ::4, ::4], attributes={k: v[order] for k, v in pool.attributes.items()})


@pytest.fixture(scope="module")
def sets(tmp_path_factory, faces):
    """Files of faces; tests write SETS for their folder."""
    folder, a = tmp_path_factory.mktemp("sets"), faces.attributes
    wears = WEARS[a["glasses"] + 2 * a["hat"]]
    smiles = np.array(["serious", "smiling"])

    def save(name, where, **more):
        arrays = {key: a[key][where] for key in ("long_hair", "smile", "hat", "skin_rgb")}
        shown = {
            "wears": wears[where],
            "looks": smiles[a["smile"][where].astype(int)],
            "same": np.ones(2000, int)[where],
        }
        np.savez(folder / f"{name}.npz", **{"images": faces.x[where], **arrays, **shown, **more})

    first, second = np.arange(2000) < 1000, np.arange(2000) >= 1000
    save("plain", first)
    save("generated", first, labels=a["smile"][first].astype(int), label_names=smiles)
    save("aux", second, number=a["smile"][second].astype(int))
    save("test", np.arange(2000) >= 1600)
    save("few", np.flatnonzero(second)[:60])
    save("teach", (np.arange(2000) >= 1000) & (np.arange(2000) < 1600))
    last = np.arange(2000) >= 1600
    save("blue", last, looks=np.where(a["smile"][last], "smiling", "blue"))
    return folder


@pytest.fixture(scope="module")
def inferred(tmp_path_factory, sets):
    """A finished directory, of shares by class; not to be written to."""
    out = tmp_path_factory.mktemp("inferred") / "out"
    given = (*HAIR, "--by-label", "--aux-label", "looks", "--declared", "0.99")
    main(["property", str(sets / "generated.npz"), "--aux", str(sets / "aux.npz"), "--out", str(out), *given])
    return out


def test_shares_are_those_of_the_images_in_all_and_in_each_class(inferred, sets, faces):
    document = PropertyReport.load(inferred).document
    hair, smile = (faces.attributes[name][:1000] for name in ("long_hair", "smile"))
    for row, has in zip((*document["shares"], *document["classes"]), (hair, hair[~smile], hair[smile]), strict=True):
        assert row["samples"] == len(has)
        assert row["informative"]
        assert row["estimate"]["low"] <= has.mean() <= row["estimate"]["high"]
        assert row["coverage"] is None
    assert [row["name"] for row in document["classes"]] == ["serious", "smiling"]
    # Each class by its own errors, at Bonferroni's level.
    assert document["together"] == pytest.approx(0.975)
    with np.load(inferred / "calls.npz") as arrays:
        calls, labels, values = (arrays[name] for name in ("calls", "labels", "values"))
    assert values.tolist() == ["long_hair = False", "long_hair = True"]
    for y, row in enumerate(document["classes"]):
        rates = rates_of(np.array(row["judged"]["confusion"]))
        expected = rogan_gladen(int(calls[labels == y].sum()), int((labels == y).sum()), rates, document["together"])
        assert row["estimate"] == expected.estimate._asdict()
    both = sum(np.array(row["judged"]["confusion"]) for row in document["classes"])
    np.testing.assert_array_equal(both, document["discriminator"]["judged"]["confusion"])
    # Half of the labelled images of each class and value are held out.
    x, has, smiles = faces.x[1000:], faces.attributes["long_hair"][1000:], faces.attributes["smile"][1000:]
    first = np.unique(x.reshape(1000, -1), axis=0, return_index=True)[1]
    for y, row in enumerate(document["classes"]):
        held = [round((has[first][smiles[first] == y] == value).sum() / 2) for value in (False, True)]
        assert np.sum(row["judged"]["confusion"], axis=1).tolist() == held
    assert document["verdict"]["level"] == "differs"
    assert document["counts"] | {"judged": 0, "taught": 0} == {
        "samples": 1000, "most": 1000, "taught": 0, "judged": 0, "left_out": 0,
    }  # fmt: skip


def test_a_class_may_be_a_bool(diffaudit, inferred, sets, tmp_path):
    """False is class 0 and true class 1, whatever their names are."""
    given = (*HAIR, "--by-label", "--aux-label", "smile", "--declared", "0.99", "--aux", sets / "aux.npz")
    assert diffaudit("property", sets / "generated.npz", *given, "--out", tmp_path).code == 0
    found, by_name = (PropertyReport.load(out).document["classes"] for out in (tmp_path, inferred))
    assert found == by_name


def test_what_the_sample_command_wrote_are_its_samples_and_not_their_picture(diffaudit, sets, tmp_path):
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    shutil.copy(sets / "plain.npz", drawn / "samples.npz")
    Image.new("RGB", (8, 8)).save(drawn / "grid.png")
    given = ("--aux", sets / "aux.npz", *HAIR, "--num", "120", "--out", tmp_path / "out")
    assert diffaudit("property", drawn, *given).code == 0
    assert PropertyReport.load(tmp_path / "out").document["counts"]["samples"] == 120


def test_labelled_images_that_are_samples_teach_nobody(diffaudit, sets, tmp_path):
    with np.load(sets / "plain.npz") as a, np.load(sets / "aux.npz") as b:
        np.savez(tmp_path / "both.npz", **{k: np.concatenate([a[k], b[k]]) for k in ("images", "long_hair")})
        samples = len({image.tobytes() for image in a["images"]})
    given = ("--aux", tmp_path / "both.npz", *HAIR, "--num", "120", "--out", tmp_path / "out")
    assert diffaudit("property", sets / "plain.npz", *given).code == 0
    assert PropertyReport.load(tmp_path / "out").document["counts"]["left_out"] == samples


def test_a_share_of_classes_in_turn_is_not_judged(refused, trained, tmp_path):
    asked = ("--aux", "fashion-mnist-2k", "--value", "Trouser", "--discriminator", "logistic", "--declared", "0.1")
    said = refused("property", trained, *asked, "--out", tmp_path / "out")
    assert said.endswith("show no share of the sharer's: judge --declared of every class, with --by-label.")


def test_a_page_is_drawn_again_as_it_was(inferred, diffaudit):
    before = (inferred / "report.html").read_bytes()
    ended = diffaudit("report", inferred)
    assert ended.code == 0
    assert (inferred / "report.html").read_bytes() == before
    assert "Not what was declared: The share of" in ended.out
    assert re.search(r"serious +\d+ +\d+\s% \[", ended.out)


def test_it_stops_when_calls_are_known_and_errors_may_come_from_elsewhere(diffaudit, sets, tmp_path):
    given = ("--aux", sets / "teach.npz", "--aux-test", sets / "test.npz", "--error", "0.1", "--block", "50")
    ended = diffaudit("property", sets / "plain.npz", *given, *HAIR, "--out", tmp_path, "--declared", "0.46")
    assert ended.code == 0
    document = PropertyReport.load(tmp_path).document
    counts, row = document["counts"], document["shares"][0]
    assert document["stopped"]
    assert counts["samples"] < counts["most"] == 1000
    assert (counts["taught"], counts["judged"]) == (600, 400)
    with np.load(tmp_path / "calls.npz") as arrays:
        calls = arrays["calls"]
    assert len(calls) == counts["samples"]
    narrow = [np.ptp(anytime(calls[:n].sum(), n)) <= 0.2 for n in range(50, len(calls) + 1, 50)]
    assert narrow == [False] * (len(narrow) - 1) + [True]
    rates = rates_of(np.array(document["discriminator"]["judged"]["confusion"]))
    assert row["estimate"] == rogan_gladen(calls.sum(), len(calls), rates, stopped=True).estimate._asdict()
    assert document["verdict"]["level"] in ("agrees", "undecided")


def test_a_property_of_several_values_has_a_share_of_each(diffaudit, sets, faces, tmp_path):
    given = ("--aux", sets / "aux.npz", "--property", "wears", "--discriminator", "logistic", "--out", tmp_path)
    assert diffaudit("property", sets / "plain.npz", *given).code == 0
    document = PropertyReport.load(tmp_path).document
    with np.load(sets / "plain.npz") as arrays:
        wears = arrays["wears"]
    assert [row["name"] for row in document["shares"]] == ["glasses", "hat", "nothing"]
    assert sum(row["estimate"]["value"] for row in document["shares"]) == pytest.approx(1)
    for row in document["shares"]:
        assert row["estimate"]["low"] <= (wears == row["name"]).mean() <= row["estimate"]["high"]
    assert "of “wears” is “nothing”" in document["verdict"]["headline"]


def test_one_value_may_be_asked_for_beside_all_others(diffaudit, sets, tmp_path):
    given = ("--aux", sets / "aux.npz", "--property", "wears", "--value", "glasses", "--discriminator", "logistic")
    assert diffaudit("property", sets / "plain.npz", *given, "--out", tmp_path, "--num", "200").code == 0
    document = PropertyReport.load(tmp_path).document
    assert document["property"] == {"name": "wears", "values": ["not glasses", "glasses"], "called": "glasses"}
    assert document["counts"]["samples"] == 200


def test_clip_tells_without_labels_and_then_its_errors_are_not_known(diffaudit, sets, tmp_path):
    prompts = ("--discriminator", "clip", "--clip", CLIP, "--prompts", "a serious face", "a smiling face")
    ended = diffaudit("property", sets / "plain.npz", *prompts, "--num", "20", "--out", tmp_path / "bare")
    assert ended.code == 0
    document = PropertyReport.load(tmp_path / "bare").document
    assert document["verdict"]["level"] == "unmeasured"
    assert document["discriminator"] == {
        "name": "clip", "prompts": ["a serious face", "a smiling face"], "judged": None,
    }  # fmt: skip
    row = document["shares"][0]
    assert (row["estimate"], row["budget"], row["name"]) == (None, None, "a smiling face")
    assert any("How often the discriminator errs was not measured." in limit for limit in document["limits"])
    aux = ("--aux", sets / "few.npz", "--property", "smile", "--num", "20", "--out", tmp_path / "judged")
    assert diffaudit("property", sets / "plain.npz", *prompts, *aux).code == 0
    document = PropertyReport.load(tmp_path / "judged").document
    assert (document["counts"]["taught"], document["counts"]["judged"]) == (0, 60)
    assert document["shares"][0]["called"] == row["called"]  # the same images, the same texts


def test_the_training_images_of_a_run_are_known(diffaudit, trained, tmp_path):
    record = json.loads((trained / "run.json").read_text())
    pool = data.load("fashion-mnist-2k")
    members = pool.take(np.array(record["split"]["members"]["rows"]))
    value = 1  # trousers, which differ from all else
    has = int((members.labels == value).sum())
    seen = np.union1d(np.arange(600), members.rows)
    np.savez(
        tmp_path / "aux.npz", images=pool.x[seen], labels=pool.labels[seen], label_names=np.array(pool.label_names)
    )
    given = ("--aux", tmp_path / "aux.npz", "--value", pool.label_names[value], "--discriminator", "logistic")
    ended = diffaudit(
        "property", trained, *given, "--num", "8", "--block", "8", "--by-label", "--out", tmp_path / "out"
    )
    assert ended.code == 0
    document = PropertyReport.load(tmp_path / "out").document
    coverage, estimate = document["shares"][0]["coverage"], document["shares"][0]["estimate"]
    assert (coverage["has"], coverage["images"]) == (has, 12)
    assert document["counts"]["left_out"] == 12
    assert document["counts"]["taught"] + document["counts"]["judged"] == len(seen) - 12
    counts = np.bincount(members.labels, minlength=10)[:8]
    assert coverage["weighted"] == bool(counts.all())
    assert coverage["off"]["value"] == pytest.approx(estimate["value"] - coverage["share"])
    assert [row["name"] for row in document["classes"]] == list(pool.label_names[:8])
    known = [row["coverage"] and (row["coverage"]["has"], row["coverage"]["images"]) for row in document["classes"]]
    assert known == [((n if y == value else 0), n) if n else None for y, n in enumerate(counts)]
    assert f"Of the 12 images that trained it {has} have it" in " ".join(document["verdict"]["sentences"])


def test_who_made_the_generator_may_have_no_record_or_other_values(trained):
    from diffaudit_jax.cli.covered import trainers_of, truth_of
    from diffaudit_jax.cli.values import asked_of

    record = json.loads((trained / "run.json").read_text())
    assert trainers_of({}) is None
    assert trainers_of(record | {"data": "nowhere.npz"}) is None
    trainers = trainers_of(record)
    assert len(trainers) == 12
    assert truth_of(None, None, asked_of(("a", "b"), "label", None)) is None
    assert truth_of(trainers, "smile", asked_of(("a", "b"), "smile", None)) is None
    assert truth_of(trainers, None, asked_of(("a", "b"), "label", None)) is None


AUX = ("--aux", "SETS/aux.npz")
LOGISTIC = ("--discriminator", "logistic")
CASES = {
    "unknown property": ((*AUX, "--property", "smle"), "unknown property 'smle': did you mean 'smile'?"),
    "constant": ((*AUX, "--property", "same"), "'same' is 1 for all 1000 images of SETS/aux.npz: a property to tell"),
    "not one number": ((*AUX, "--property", "skin_rgb"), "'skin_rgb' of aux.npz is uint8 (1000, 3): a property is one"),
    "no labels": (AUX, "aux.npz has no labels of its own: name an attribute, one of hat, long_hair, "),
    "no attributes": (("--aux", "BAD/rgb8.npz", "--property", "x"), "rgb8.npz has no attributes, so 'x' cannot be one"),
    "few of a value": (
        ("--aux", "SETS/few.npz", "--property", "hat"),
        "SETS/few.npz has too few labelled images, FEW of 'hat = True': 10 or more of each value are needed.",
    ),
    "another shape": (
        ("--aux", "pixel-faces-2k", "--property", "smile"),
        "pixel-faces-2k has images of (32, 32, 3) and the generator draws (8, 8, 3): resize them.",
    ),
    "a table": (("--aux", "adult-3k"), "adult-3k is a table: a property is told of images."),
    "missing": (("--aux", "SETS/nowhere.npz"), "there is no SETS/nowhere.npz"),
    "unknown value": ((*AUX, "--property", "wears", "--value", "hats"), "unknown value 'hats': did you mean 'hat'?"),
    "no images to learn from": (
        ("--property", "smile"),
        "--discriminator resnet learns from labelled images: give --a",
    ),
    "overlap": (
        (*AUX, "--property", "smile", "--aux-test", "SETS/test.npz"),
        "400 images are both in SETS/aux.npz and in SETS/test.npz (rows 600 = 0, 601 = 1, 602 = 2, ...): errors are",
    ),
    "another value in the test": (
        ("--aux", "SETS/teach.npz", "--property", "looks", "--aux-test", "SETS/blue.npz"),
        "SETS/blue.npz has 'blue' and SETS/teach.npz has not: give the same values.",
    ),
    "test alone": (
        ("--aux-test", "SETS/test.npz", "--discriminator", "clip", "--clip", "TOWERS", "--prompts", "a", "b"),
        "--aux-test goes with --aux: give both, or leave it out.",
    ),
    "unknown discriminator": ((*AUX, "--discriminator", "resnt"), "unknown discriminator 'resnt': did you mean 'resne"),
    "clip without a folder": (
        (*AUX, "--discriminator", "clip"),
        "--discriminator clip takes a folder with --clip, and",
    ),
    "prompts without clip": ((*AUX, "--prompts", "a", "b"), "--clip and --prompts are for --discriminator clip: give"),
    "prompts that do not fit": (
        (*AUX, "--property", "smile", "--discriminator", "clip", "--clip", "TOWERS", "--prompts", "a", "b", "c"),
        "--prompts takes a text for each value of 'smile', which are False, True, got 3.",
    ),
    "equal prompts": (
        (*AUX, "--property", "smile", "--discriminator", "clip", "--clip", "TOWERS", "--prompts", "a", "a"),
        "two of the prompts 'a', 'a' are the same: give each once.",
    ),
    "clip needs no teachers": (
        (*AUX, "--aux-test", "x", "--discriminator", "clip", "--clip", "TOWERS", "--prompts", "a", "b"),
        "--aux-test is for a discriminator that learns from --aux, and CLIP does not: give --aux alone.",
    ),
    "error": ((*AUX, "--error", "0.5"), "--error must lie between 0 and 0.5, such as 0.05, got 0.5."),
    "level": ((*AUX, "--level", "1"), "--level must lie between 0 and 1, such as 0.95, got 1."),
    "declared": ((*AUX, "--declared", "50"), "--declared must be a share from 0 to 1, got 50."),
    "no samples": ((*AUX, "--property", "smile", "--num", "0"), "--num must be at least 1, got 0."),
    "no block": ((*AUX, "--property", "smile", "--block", "0"), "--block must be at least 1, got 0."),
    "no classes": ((*AUX, "--property", "smile", "--by-label"), "SETS/plain.npz has no classes: leave --by-label out."),
    "class of nobody": (
        (*AUX, "--property", "smile", "--aux-label", "looks"),
        "--aux-label tells the class of labelled",
    ),
    "a class without images": (
        ("SETS/generated.npz", *AUX, "--property", "hat", "--by-label", "--aux-label", "wears"),
        "of class 'serious' aux.npz has too few labelled images, 0 of 'hat = False', 0 of 'hat = True': 10 or more",
    ),
    "several and declared": (
        (*AUX, "--property", "wears", "--declared", "0.5"),
        "--declared is about the share of one value, and 'wears' has 3: name one with --value.",
    ),
    "several and an error": (
        (*AUX, "--property", "wears", "--error", "0.1"),
        "--error is about the share of one value",
    ),
    "several by label": ((*AUX, "--property", "wears", "--by-label"), "--by-label is about the share of one value"),
    "a sampler of images": (
        (*AUX, "--property", "smile", "--steps", "9"),
        "holds images, which are not drawn: leave -",
    ),
    "foreign directory": (
        (*AUX, "--out", "BAD/full"),
        "BAD/full holds something else ('thesis.tex'): use another --out",
    ),
    "no generator": (("BAD/none", *AUX, "--property", "smile"), "BAD/none"),
    "seed": ((*AUX, "--seed", "-1"), "--seed must be from 0 to 4294967295, got -1."),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_before_anything_is_taught_or_drawn(refused, bad, sets, tmp_path, monkeypatch, faces, case):
    monkeypatch.setattr(command, "teller_of", lambda *_: pytest.fail("it began"))
    np.savez(bad / "rgb8.npz", images=faces.x[:40])
    few = int(faces.attributes["hat"][1000:1060].sum())
    words, says = CASES[case]
    places = {"SETS": str(sets), "TOWERS": str(CLIP), "FEW": str(few)}
    words, says = at(bad, words), at(bad, [says])[0]
    for name, path in places.items():
        words, says = [word.replace(name, path) for word in words], says.replace(name, path)
    run = [] if not words[0].startswith("--") else [sets / "plain.npz"]
    out = [] if "--out" in words else ["--out", tmp_path / "out"]
    assert says in refused("property", *run, *words, *out)
    assert not (tmp_path / "out").exists()


def test_values_are_numbered_as_they_sort():
    x = np.zeros((4, 2, 2, 1), np.uint8)
    columns = {"number": np.array([10, 9, 9, 10]), "column": np.array([["b"], ["a"], ["b"], ["b"]])}
    pool = data.from_arrays(x, labels=["z", "y", "y", "z"], attributes=columns)
    found = {name: column_of(pool, name) for name in (None, "labels", *columns)}
    assert {name: (codes.tolist(), values) for name, (codes, values) in found.items()} == {
        None: ([1, 0, 0, 1], ("y", "z")),
        "labels": ([1, 0, 0, 1], ("y", "z")),
        "number": ([1, 0, 0, 1], ("9", "10")),
        "column": ([1, 0, 1, 1], ("a", "b")),
    }
    with pytest.raises(InputError, match="is float64"):
        column_of(data.from_arrays(x, attributes={"part": np.zeros(4)}), "part")


def test_a_folder_of_classes_has_their_names(diffaudit, sets, faces, tmp_path):
    for i in range(40):
        kind = tmp_path / "made" / ("long" if faces.attributes["long_hair"][i] else "short")
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.x[i]).save(kind / f"{i}.png")
    given = ("--aux", sets / "aux.npz", *HAIR, "--by-label", "--out", tmp_path / "out")
    assert diffaudit("property", tmp_path / "made", *given).code == 0
    document = PropertyReport.load(tmp_path / "out").document
    assert [row["name"] for row in document["classes"]] == ["long", "short"]
    assert all(row["judged"] is None for row in document["classes"])
    assert document["classes"][0]["estimate"]["low"] > document["classes"][1]["estimate"]["high"]
    assert any("Errors were counted on labelled images of all classes together." in x for x in document["limits"])
