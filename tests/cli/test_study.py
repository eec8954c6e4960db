"""diffaudit study: each study through the command line, what it keeps and prints, and every mistake."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.cli import studied, studied_images
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.study import Noise, Priors, Rounds, Seen, Sizes
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.report.studies import StudyReport
from diffaudit_jax.report.studies_found import SEEN, UNSEEN
from diffaudit_jax.types import InputError
from tests.oracles import PROCESSES, gaussian

from .conftest import at, scores
from .test_help import flags

QUICK = ("--mu", "5,200", "1", "--steps", "2", "--num-targets", "6", "--block", "16")
# Exact priors of independent Gaussian pixels, kept as their side and mean; the first is about that of the images.
EXACT = {"own": (28, -0.4), "kin": (28, 0.2), "elsewhere/own": (28, 1.0), "strange": (28, 2.0), "half": (14, -0.4)}
STUDIES = {"noise": Noise, "rounds": Rounds, "seen": Seen, "priors": Priors, "sizes": Sizes}


@pytest.fixture(scope="module")
def sides(trained):
    """The run's split: members, and those held out."""
    record = json.loads((trained / "run.json").read_text())
    return data.from_record(record["split"], data.load(record["data"]))


@pytest.fixture(scope="module")
def sources(tmp_path_factory, trained, sides):
    """Files of images, and paths of exact priors."""
    folder = tmp_path_factory.mktemp("sources")
    pool = data.load("fashion-mnist-2k")
    fresh = pool.take(~np.isin(pool.hashes(), [*sides.members.hashes(), *sides.nonmembers.hashes()]))
    sets = {
        "fresh": fresh.x[:8],
        "public": fresh.x[8:20],
        "three": fresh.x[:3],
        "members": sides.members.x[:6],
        "both": np.concatenate([sides.members.x[:5], sides.nonmembers.x[:4], fresh.x[20:21]]),
        "few": np.concatenate([sides.members.x[:3], sides.nonmembers.x[:4]]),
        "small": studied_images.rounded_down(fresh.take(np.arange(30, 70)), 2).x,
    }
    for name, x in sets.items():
        np.savez(folder / f"{name}.npz", images=x)
    for name, (side, mean) in EXACT.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "exact.json").write_text(json.dumps([side, mean]))
    return folder


@pytest.fixture(scope="module", autouse=True)
def exact_priors():
    """Lets a path lead to an exact prior, as one from elsewhere."""

    def loaded(path, weights):
        if not (path / "exact.json").exists():
            return load_subject(path, weights)
        side, mean = json.loads((path / "exact.json").read_text())
        return Subject(gaussian(PROCESSES["edm"], mean, 0.5, (side, side, 1)), "made up", {}, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studied_images, "load_subject", loaded)
        yield


@pytest.fixture(scope="module")
def studies(tmp_path_factory, trained, sources):
    """Study -> its finished directory; not to be written to."""
    out = tmp_path_factory.mktemp("studies")
    targets, public = ("--targets", sources / "fresh.npz"), ("--public", sources / "public.npz")
    asked = {
        "noise": (trained, *targets),
        "rounds": (trained, "--targets", sources / "members.npz", "--rounds", "4", "1,4"),
        "seen": (trained,),
        "priors": (*(sources / name for name in ("own", "kin", "elsewhere/own", "strange")), *targets, *public),
        "sizes": (sources / "half", trained, *targets),
    }
    for name, words in asked.items():
        main([str(word) for word in ("study", name, *words, *QUICK, "--out", out / name)])
    return {name: out / name for name in asked}


def documents(studies):
    return {name: StudyReport.load(directory).document for name, directory in studies.items()}


VARIANTS = {
    "noise": ("known", "wavelet", "typical", "0.8 sigma", "1.2 sigma"),
    "rounds": ("mean of 1", "one of mu sqrt(1)", "mean of 4", "one of mu sqrt(4)"),
    "seen": (SEEN, UNSEEN),
    "priors": ("own", "kin", "own 2", "strange", "none"),
    "sizes": ("14 pixels", "28 pixels"),
}
PUBLIC = {"noise": 24, "priors": 12}


def test_each_study_is_kept_and_shows_no_image(studies):
    for name, document in documents(studies).items():
        assert sorted(path.name for path in studies[name].iterdir()) == ["report.html", "scores.npz", "study.json"]
        assert document["study"] == name
        assert tuple(each["name"] for each in document["variants"]) == VARIANTS[name]
        assert [row["mu"] for row in document["rows"]] == [1, 5, 200]
        known = {"noise": 0, "rounds": 6}.get(name)
        assert document["counts"] == {"targets": 6, "known": known, "public": PUBLIC.get(name, 0)}
        assert document["attacker"] == {
            "method": "ddim",
            "steps": 2,
            "classes": "none" if name == "priors" else "not told",
        }
        html = (studies[name] / "report.html").read_text()
        assert document["verdict"]["headline"] in html.replace("&#39;", "'")
        assert "<img" not in html
        assert re.findall(r'(?:src|href)="(?!#)[^"]*"', html) == []


def test_scores_are_kept_for_every_target_by_its_hash(studies, sources, sides):
    fresh = data.load(str(sources / "fresh.npz"))
    of = dict.fromkeys(STUDIES, fresh) | {"rounds": sides.members}
    for name, document in documents(studies).items():
        kept = scores(studies[name])
        assert kept["mu"].tolist() == [1, 5, 200]
        for variant in document["variants"]:
            called = variant["name"]
            pool = {SEEN: sides.members, UNSEEN: sides.nonmembers}.get(called, of[name])
            assert set(kept[f"{called}/hashes"]) <= set(pool.hashes())
            assert len(set(kept[f"{called}/hashes"])) == 6
            for metric, values in variant["scores"].items():
                assert kept[f"{called}/{metric}"].shape == (3, 6)
                means = kept[f"{called}/{metric}"].mean(axis=1)
                np.testing.assert_allclose(means, [each["value"] for each in values])


def test_priors_are_told_apart_and_ordered_by_their_distance(studies):
    document = documents(studies)["priors"]
    distance = {each["of"]: each["value"]["value"] for each in document["facts"]}
    assert distance["own"] == 0 < distance["kin"] < distance["own 2"]
    assert list(document["provenance"]["priors"]) == ["own", "kin", "own 2", "strange"]
    errors = [variant["scores"]["mse"][0]["value"] for variant in document["variants"][:3]]
    assert errors == sorted(errors)


def test_what_is_not_brought_down_is_attacked_as_in_other_studies(studies):
    sizes, noise = scores(studies["sizes"]), scores(studies["noise"])
    assert sizes["28 pixels/hashes"].tolist() == sizes["14 pixels/hashes"].tolist() == noise["known/hashes"].tolist()
    np.testing.assert_array_equal(sizes["28 pixels/mse"], noise["known/mse"])
    note = documents(studies)["sizes"]["notes"]
    assert note == ["Targets of 28 pixels a side are brought down to 14 by the exact mean over blocks of 2 x 2."]


def test_the_same_command_writes_the_same_again_and_prints_what_it_found(diffaudit, studies, trained):
    before = {name: values.tobytes() for name, values in scores(studies["seen"]).items()}
    ended = diffaudit("study", "seen", trained, *QUICK, "--out", studies["seen"])
    assert (ended.code, ended.err) == (0, [])
    assert {name: values.tobytes() for name, values in scores(studies["seen"]).items()} == before
    words = " ".join(ended.out.split())
    assert StudyReport.load(studies["seen"]).document["verdict"]["headline"] in words
    assert f"mean squared error mu {SEEN} {UNSEEN}" in words
    assert ended.out.endswith(f"report: {studies['seen'] / 'report.html'}\n")


def test_targets_that_trained_the_prior_are_told(studies):
    document = documents(studies)["rounds"]
    assert (document["verdict"]["level"], document["counts"]["known"]) == ("memory", 6)
    assert "6 of the 6 targets are images that a prior was trained on." in document["verdict"]["sentences"][0]


def test_a_record_divides_images_by_whether_they_trained_the_prior(trained, sources, sides):
    subject = load_subject(trained, Weights())
    both, public = (str(sources / f"{name}.npz") for name in ("both", "public"))

    def hashes(*words):
        return [set(pool.hashes()) for pool in studied_images.sides_of(trained, subject, *words)]

    assert hashes(None, None) == [set(sides.members.hashes()), set(sides.nonmembers.hashes())]
    members, pool = set(sides.members.hashes()), set(data.load(both).hashes())
    assert hashes(both, None) == [pool & members, pool - members]
    assert hashes(both, public) == [pool & members, set(data.load(public).hashes())]
    assert hashes(None, both) == [members, pool - members]
    elsewhere = subject._replace(record={})
    seen, unseen = studied_images.sides_of(trained, elsewhere, both, public)
    assert (len(seen), len(unseen)) == (10, 12)
    for words in ((None, None), (both, None), (None, public)):
        with pytest.raises(InputError, match="has no record of what trained it: name images that did with --targets"):
            studied_images.sides_of(trained, elsewhere, *words)


def test_images_are_brought_down_by_exact_means():
    x = np.random.default_rng(0).integers(0, 256, (3, 12, 8, 2), dtype=np.uint8)
    pool = data.from_arrays(x, name="made up")
    want = np.array([
        [[[x[n, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, c].sum() for c in range(2)] for j in range(2)] for i in range(3)]
        for n in range(3)
    ])  # fmt: skip
    assert studied_images.factor_of(pool, (3, 2, 2), Path("p")) == 4
    np.testing.assert_allclose(studied_images.brought_down(pool, 4), want / 16 / 127.5 - 1, rtol=0, atol=2**-51)
    assert studied_images.brought_down(pool, 1) is pool.x
    assert np.abs(studied_images.rounded_down(pool, 4).x - want / 16).max() <= 0.5
    checked = np.indices((4, 4)).sum(0)[None, :, :, None] % 2 * np.uint8(255)
    flat = data.from_arrays(checked.astype(np.uint8), name="checks")
    assert [studied_images.varied(flat, factor).tolist() for factor in (1, 2)] == [[True], [False]]


def test_a_prior_that_only_knows_classes_is_refused(monkeypatch, trained):
    subject = load_subject(trained, Weights())
    assert subject.target.num_classes == 10
    network = replace(subject.target.network, config={**subject.target.network.config, "null_class": False})
    told = subject._replace(target=replace(subject.target, network=network))
    assert studied_images.prior_at(trained, Weights()).target.num_classes == 10
    monkeypatch.setattr(studied_images, "load_subject", lambda *_: told)
    with pytest.raises(InputError, match="is conditioned on 10 classes and has none that stands for no class: studies"):
        studied_images.prior_at(trained, Weights())


def test_nobody_knows_of_a_prior_from_elsewhere_whom_it_has_seen(trained, sides):
    subject = load_subject(trained, Weights())
    elsewhere, few = subject._replace(record={}), sides.members.take(np.arange(3))
    for attacked, known in (
        ([(subject, few)], 3),
        ([(subject, sides.nonmembers)], 0),
        ([(elsewhere, few)], None),
        ([(subject, sides.nonmembers), (elsewhere, few)], None),
        ([(elsewhere, few), (subject, few)], 3),
    ):
        assert studied_images.known_of(attacked) == known


PRIORS = ("priors", "RUN", "SETS/kin", "SETS/own", "SETS/strange")
MISTAKES = {
    "mu of nothing": (("noise", "RUN", "--mu", "0,1"), "mu is 0: it is the clipping norm over the noise, positive and"),
    "negative mu": (("seen", "RUN", "--mu", "5,-1"), "mu is -1: "),
    "one mu": (("rounds", "RUN", "--mu", "5"), "--mu takes 2 different values or more, such as 1,5,20, got 5."),
    "a word for mu": (("sizes", "RUN", "SETS/half", "--mu", "5,ten"), "--mu takes numbers such as 1,5,20, got '5 t"),
    "few asked for": (("noise", "RUN", "--num-targets", "1"), "--num-targets must be at least 4, got 1."),
    "no steps": (("noise", "RUN", "--steps", "0"), "--steps must be at least 1, got 0."),
    "no block": (("noise", "RUN", "--block", "0"), "--block must be at least 1, got 0."),
    "delta": (("noise", "RUN", "--delta", "1"), "--delta must lie between 0 and 1, got 1."),
    "seed": (("noise", "RUN", "--seed", "-1"), "--seed must be from 0 to 4294967295, got -1."),
    "one round": (("rounds", "RUN", "--rounds", "1"), "--rounds takes a number above 1, of releases that"),
    "no round": (("rounds", "RUN", "--rounds"), "--rounds takes a number above 1, of releases that are averaged, such"),
    "half a round": (("rounds", "RUN", "--rounds", "2.5"), "--rounds takes whole numbers from 1 such as 1,4,16, got"),
    "round 0": (("rounds", "RUN", "--rounds", "0,4"), "--rounds takes whole numbers from 1 such as 1,4,16, got '0 4'."),
    "missing": (("noise", "RUN", "--targets", "BAD/nowhere.npz"), "there is no BAD/nowhere.npz"),
    "a table": (("noise", "RUN", "--targets", "adult-3k"), "adult-3k is a table: reconstructions are of images."),
    "a table at sizes": (("sizes", "RUN", "SETS/half", "--targets", "adult-3k"), "adult-3k is a table: reconstruct"),
    "another shape": (("noise", "RUN", "--targets", "BAD/rgb.npz"), "has images of (28, 28, 3) and the prior takes"),
    "others of another shape": (("seen", "RUN", "--others", "BAD/rgb.npz"), "has images of (28, 28, 3) and the prior"),
    "few": (("rounds", "RUN", "--targets", "SETS/three.npz"), "holds 3 different images: targets are 4 or more."),
    "few at sizes": (("sizes", "RUN", "SETS/half", "--targets", "SETS/three.npz"), "holds 3 different images: targets"),
    "few seen": (
        ("seen", "RUN", "--targets", "SETS/few.npz"),
        "there are 3 different images that trained the prior: name 4 or more with --targets or --others.",
    ),
    "none unseen": (
        ("seen", "RUN", "--targets", "SETS/members.npz"),
        "there are 0 different images that did not train the prior: name 4 or more with --targets or --others.",
    ),
    "two priors": (PRIORS[:3], "4 priors or more are compared, got 2: name models, the one of the"),
    "no prior": (("priors",), "4 priors or more are compared, got 0: name models"),
    "one size": (("sizes", "RUN"), "2 priors or more are compared, got 1: name models, each of another"),
    "twice": (("priors", "RUN", "SETS/own", "SETS/kin", "SETS/kin/../own"), "own is named twice: name different ones."),
    "other shapes": (
        (*PRIORS, "SETS/half"),
        "SETS/half takes images of (14, 14, 1) and RUN of (28, 28, 1): name priors of one shape.",
    ),
    "equal sizes": (("sizes", "RUN", "SETS/kin"), "SETS/kin and run both take images of 28 pixels a side: name one"),
    "sides do not divide": (
        ("sizes", "RUN", "SETS/half", "--targets", "SETS/small.npz"),
        "has images of (14, 14, 1), and no whole number brings their sides to the (28, 28, 1) that RUN takes: give im",
    ),
    "public targets": ((*PRIORS, "--public", "SETS/fresh.npz"), "2 images of SETS/fresh.npz are neither targets nor"),
    "public members": ((*PRIORS, "--public", "SETS/members.npz"), "0 images of SETS/members.npz are neither targets"),
    "foreign directory": (("noise", "RUN", "--out", "BAD/full"), "BAD/full holds something else ('thesis.tex'): use"),
    "a file": (("noise", "RUN", "--out", "BAD/notes.txt/out"), "BAD/notes.txt is a file: use another --out."),
    "no model": (("noise", "BAD/none"), "BAD/none"),
    "unknown": (("nose", "RUN"), "unknown study 'nose': did you mean 'noise'? There are noise, priors, rounds, se"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_the_network_is_asked(refused, bad, trained, sources, tmp_path, monkeypatch, case):
    for call in ("unknown_noise", "rounds", "seen_by_prior", "prior_dial", "image_sizes"):
        monkeypatch.setattr(studied, call, lambda *_, **__: pytest.fail("the network was asked"))
    words, says = MISTAKES[case]
    (kind, *words), (says,) = (
        [part.replace("SETS", str(sources)).replace("RUN", str(trained)) for part in at(bad, group)]
        for group in (words, [says])
    )
    given = {"--targets": sources / "fresh.npz", "--public": sources / "public.npz", "--out": tmp_path / "out"}
    lacks = {"rounds": ("--public",), "sizes": ("--public",), "seen": ("--public", "--targets")}.get(kind, ())
    rest = [word for flag, value in given.items() if flag not in (*words, *lacks) for word in (flag, value)]
    # What a test says comes last, and priors before all flags.
    named = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    assert says in refused("study", kind, *words[:named], *rest, *QUICK, *words[named:])
    assert not (tmp_path / "out").exists()


def test_a_damaged_report_is_not_written_over(refused, trained, tmp_path):
    (tmp_path / "study.json").write_text('{"schema": "diffaudit.stu')
    assert "is not JSON" in refused("study", "seen", trained, *QUICK, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize("name", STUDIES)
def test_help_explains_every_flag(diffaudit, name):
    ended = diffaudit("study", name, "--help")
    assert ended.code == 0
    _, listed = re.split(r" (?:positional arguments|options) ", ended.out, maxsplit=1)
    options = " ".join(listed.replace("│", " ").split())
    for field in flags(STUDIES[name]):
        flag = {"prior": "PATH", "priors": "PATH PATH ..."}.get(field.name, f"--{field.name.replace('_', '-')}")
        # At least one sentence between the flag, with what it takes, and its default.
        assert re.search(rf"{re.escape(flag)} .*?\b[A-Z][a-z]+ .*? \((required|default: .*?)\)", options), flag


def test_help_names_every_study(diffaudit):
    ended = diffaudit("study", "--help")
    assert ended.code == 0
    words = " ".join(ended.out.replace("│", " ").split())
    for name, options in STUDIES.items():
        assert f"• {name} {options.__doc__.split(':')[0].split(',')[0]}" in words
    assert "study" in diffaudit("--help").out
