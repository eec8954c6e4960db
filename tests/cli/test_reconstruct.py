"""diffaudit reconstruct: a sweep through the command line, what it keeps and shows, and every mistake."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from diffaudit_jax import data, models
from diffaudit_jax.cli import aimed, reconstruct
from diffaudit_jax.cli.attacker import Attacker, knowledge_of
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.subject import Weights, load_subject
from diffaudit_jax.report.reconstruction import ReconstructionReport
from diffaudit_jax.types import InputError
from tests.parity.guided_cases import FIXTURES

from .conftest import at, scores

QUICK = ("--mu", "5,200", "1", "--num", "2", "--steps", "2", "--num-targets", "6", "--block", "16")
METRICS = ("mse", "ssim", "ncc", "psnr")
METHODS = ("diffusion", "posterior mean", "release", "wiener", "total variation", "non-local means")


@pytest.fixture(scope="module")
def sides(trained):
    """The run's split: members, and those held out."""
    record = json.loads((trained / "run.json").read_text())
    return data.from_record(record["split"], data.load(record["data"]))


@pytest.fixture(scope="module")
def sources(tmp_path_factory, sides):
    """Files of images: ones that the prior has never seen, members, three, blank ones, and of a class it has not."""
    folder = tmp_path_factory.mktemp("sources")
    pool = data.load("fashion-mnist-2k")
    seen = np.isin(pool.hashes(), [*sides.members.hashes(), *sides.nonmembers.hashes()])
    fresh = pool.take(~seen).take(np.arange(8))
    sets = {
        "fresh": fresh,
        "members": sides.members.take(np.arange(6)),
        "three": fresh.take(np.arange(3)),
        "blank": replace(fresh, x=np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones_like(fresh.x)),
        "unlabelled": replace(fresh, labels=None),
    }
    for name, images in sets.items():
        labels = {} if images.labels is None else {"labels": images.labels}
        np.savez(folder / f"{name}.npz", images=images.x, **labels)
    return folder


@pytest.fixture(scope="module")
def swept(tmp_path_factory, trained, sources):
    """A finished directory; not to be written to."""
    out = tmp_path_factory.mktemp("swept") / "out"
    main(["reconstruct", str(trained), "--targets", str(sources / "fresh.npz"), "--out", str(out), *QUICK])
    return out


def pictured(document):
    """The images that a report shows, uint8."""
    shown = [image["target"] for image in document["pictures"]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in shown])[..., None]


def among(images, pool):
    return [bool((image == pool.x).all(axis=(1, 2, 3)).any()) for image in images]


def test_a_sweep_is_kept_and_shows_public_images_only(swept, sources, sides):
    assert sorted(path.name for path in swept.iterdir()) == ["reconstruction.json", "report.html", "scores.npz"]
    document = ReconstructionReport.load(swept).document
    assert [row["mu"] for row in document["rows"]] == [1, 5, 200]
    assert tuple(document["rows"][0]["scores"]) == METHODS
    assert tuple(document["unrelated"]) == METRICS
    # 24 were held out, 4 of which are shown.
    assert document["counts"] == {"targets": 6, "known": 0, "public": 20}
    assert document["provenance"]["prior"]["source"] == "diffaudit train"
    assert among(pictured(document), sides.nonmembers) == [True] * 4
    assert among(pictured(document), data.load(str(sources / "fresh.npz"))) == [False] * 4
    html = (swept / "report.html").read_text()
    assert document["verdict"]["headline"] in html
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)[^"]*"', html) == []


def test_scores_are_kept_for_every_target_by_its_hash(swept, sources):
    kept, pool = scores(swept), data.load(str(sources / "fresh.npz"))
    assert kept["mu"].tolist() == [1, 5, 200]
    assert set(kept["hashes"]) < set(pool.hashes())
    for method in METHODS:
        for metric in METRICS:
            assert kept[f"{method}/{metric}"].shape == (3, 6)
    # The noise is max(||x||, 1)/mu of the target of that hash.
    x = pool.x[[pool.hashes().tolist().index(one) for one in kept["hashes"]]] / 127.5 - 1
    norms = np.linalg.norm(x.reshape(6, -1), axis=1)
    np.testing.assert_allclose(kept["sigma"], norms / kept["mu"][:, None], rtol=1e-5)


def test_the_same_command_writes_the_same_again_and_prints_what_it_found(diffaudit, swept, trained, sources):
    before = {name: scores(swept)[name].tobytes() for name in scores(swept)}
    ended = diffaudit("reconstruct", trained, "--targets", sources / "fresh.npz", "--out", swept, *QUICK)
    assert (ended.code, [line for line in ended.err if not line.startswith("reconstructing: ")]) == (0, [])
    assert {name: scores(swept)[name].tobytes() for name in scores(swept)} == before
    words = " ".join(ended.out.split())
    assert ReconstructionReport.load(swept).document["verdict"]["headline"] in words
    assert "mu epsilon error / unrelated target picked SSIM" in words
    assert ended.out.endswith(f"report: {swept / 'report.html'}\n")


@pytest.mark.parametrize("named", ["", "reconstruction.json", "mine.json"], ids=["directory", "file", "renamed"])
def test_the_page_is_drawn_again_from_the_json_alone(diffaudit, swept, tmp_path, named):
    shutil.copy(swept / "reconstruction.json", tmp_path / (named or "reconstruction.json"))
    ended = diffaudit("report", tmp_path / named)
    assert (ended.code, ended.err) == (0, [])
    page = tmp_path / ("mine.html" if named == "mine.json" else "report.html")
    assert ended.out.endswith(f"report: {page}\n")
    assert "target picked" in ended.out
    assert page.read_bytes() == (swept / "report.html").read_bytes()


def test_members_as_targets_are_a_warning_and_shown_where_asked(diffaudit, trained, sources, sides, tmp_path):
    ended = diffaudit(
        *("reconstruct", trained, "--targets", sources / "members.npz", "--out", tmp_path, *QUICK, "--mu", "2,50"),
        *("--show-images", "--clip", "measured", "--noise", "wavelet", "--releases", 4, "--delta", "1e-6"),
        *("--near", "0.1", "--training", "0.1", "20", "--eta", "0.5", "--consistency", "--kappa", "0.5"),
    )
    assert ended.code == 0
    document = ReconstructionReport.load(tmp_path).document
    assert document["verdict"]["level"] == "memory"
    assert document["counts"] == {"targets": 6, "known": 6, "public": 20}
    assert "6 of the 6 targets are images that the prior was trained on." in (tmp_path / "report.html").read_text()
    assert "Measures the prior's memory" in ended.out
    assert among(pictured(document), sides.members) == [True] * 4
    assert (document["releases"], document["delta"]) == (4, 1e-6)
    assert list(document["rows"][0]["rero"]) == ["0.5"]
    assert document["near"]["eta"] == 0.1
    assert document["training"] == {"sampling_prob": 0.1, "num_steps": 20}
    attacker = document["attacker"]
    assert (attacker["eta"], attacker["consistency"]) == (0.5, True)
    assert (attacker["clip"], attacker["noise"]) == ("measured", "wavelet")
    public = sides.nonmembers.x.reshape(24, -1) / 127.5 - 1
    norms = np.linalg.norm(public, axis=1)
    assert norms.min() < attacker["typical_norm"] < norms.max()


def test_a_checkpoint_of_diffusers_is_a_prior(diffaudit, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    for name, x in {"targets": images[:6], "public": images[6:]}.items():
        np.savez(tmp_path / f"{name}.npz", images=x)
    given = ("--targets", tmp_path / "targets.npz", "--public", tmp_path / "public.npz", "--out", tmp_path / "out")
    ended = diffaudit("reconstruct", FIXTURES / "diffusers" / "ddpm", *given, *QUICK)
    assert ended.code == 0
    document = ReconstructionReport.load(tmp_path / "out").document
    assert document["counts"] == {"targets": 6, "known": None, "public": 20}
    assert "A prior comes from elsewhere" in " ".join(document["limits"])
    # Noise of 1/200 of the norm is next to none, for any network.
    assert document["rows"][-1]["retrieval"]["diffusion"]["value"] == 1


MISTAKES = {
    "mu of nothing": (("--mu", "0,1"), "mu is 0: it is the clipping norm over the noise, positive and finite"),
    "negative mu": (("--mu", "5,-1"), "mu is -1: "),
    "infinite mu": (("--mu", "5,inf"), "mu is inf: "),
    "NaN": (("--mu", "nan,5"), "mu is nan: "),
    "no mu": (("--mu",), "--mu takes 2 different values or more, such as 1,5,20, got none."),
    "an empty list": (("--mu", ","), "--mu takes 2 different values or more, such as 1,5,20, got none."),
    "one mu": (("--mu", "5,5"), "--mu takes 2 different values or more, such as 1,5,20, got 5 5."),
    "a word": (("--mu", "5,ten"), "--mu takes numbers such as 1,5,20, got '5 ten'."),
    "one draw": (("--num", "1"), "--num must be at least 2, got 1."),
    "few asked for": (("--num-targets", "1"), "--num-targets must be at least 4, got 1."),
    "no steps": (("--steps", "0"), "--steps must be at least 1, got 0."),
    "no release": (("--releases", "0"), "--releases must be at least 1, got 0."),
    "delta": (("--delta", "0"), "--delta must lie between 0 and 1, got 0."),
    "eta": (("--eta", "0"), "--eta must be above 0, or all draws are the same, got 0."),
    "kappa": (("--kappa", "1"), "kappa is 1: the chance of a guess from the prior lies between 0 and 1."),
    "near": (("--near", "0"), "--near must be a mean squared error above 0 and finite, got 0."),
    "all is near": (("--near", "inf"), "--near must be a mean squared error above 0 and finite, got inf."),
    "mu beyond float32": (("--mu", "1e-9,5"), "mu is 1e-09: beyond 1e-06 and 1e+06 float32 tells no such noise."),
    "chance of a step": (
        ("--training", "2", "10"),
        "--training takes a chance above 0, at most 1, and a number of step",
    ),
    "no step": (("--training", "0.1", "0"), "--training takes a chance above 0, at most 1, and a number of steps"),
    "no block": (("--block", "0"), "--block must be at least 1, got 0."),
    "seed": (("--seed", "-1"), "--seed must be from 0 to 4294967295, got -1."),
    "missing": (("--targets", "BAD/nowhere.npz"), "there is no BAD/nowhere.npz"),
    "a table": (("--targets", "adult-3k"), "adult-3k is a table: reconstructions are of images."),
    "another shape": (
        ("--targets", "BAD/rgb.npz"),
        "BAD/rgb.npz has images of (28, 28, 3) and the prior takes (28, 28, 1): resize them.",
    ),
    "few": (("--targets", "SETS/three.npz"), "SETS/three.npz holds 3 different images: targets are 4 or more."),
    "blank": (("--targets", "SETS/blank.npz"), "SETS/blank.npz holds 0 different images: targets are 4 or more."),
    "no labels": (("--targets", "SETS/unlabelled.npz"), "is conditioned on labels and unlabelled.npz has none: give"),
    "unknown label": (
        ("--targets", "BAD/others.npz", "--num-targets", "20"),
        "others.npz is beyond the 10 classes that the prior was trained",
    ),
    "public of another shape": (("--public", "BAD/rgb.npz"), "has images of (28, 28, 3) and the prior takes"),
    "public without labels": (("--public", "BAD/good.npz"), "conditioned on labels and good.npz has none"),
    "public targets": (("--public", "SETS/fresh.npz"), "2 images of SETS/fresh.npz are neither targets nor what the"),
    "public members": (("--public", "SETS/members.npz"), "0 images of SETS/members.npz are neither targets nor what"),
    "foreign directory": (("--out", "BAD/full"), "BAD/full holds something else ('thesis.tex'): use another --out."),
    "an audit's directory": (
        ("--out", "BAD/half"),
        "BAD/half holds something else ('report.json'): use another --out.",
    ),
    "a file": (("--out", "BAD/notes.txt/out"), "BAD/notes.txt is a file: use another --out."),
    "no model": (("BAD/none",), "BAD/none"),
    "samples": (
        ("BAD/pictures",),
        "a prior is a diffusion model, to be asked at any noise, and this target offers sam",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_the_network_is_asked(refused, bad, trained, sources, tmp_path, monkeypatch, case):
    monkeypatch.setattr(reconstruct, "sweep", lambda *_, **__: pytest.fail("the network was asked"))
    (bad / "pictures").mkdir(exist_ok=True)
    for i in range(4):
        Image.new("L", (28, 28), i).save(bad / "pictures" / f"{i}.png")
    words, says = MISTAKES[case]
    words, says = ([part.replace("SETS", str(sources)) for part in at(bad, group)] for group in (words, [says]))
    given = {"--targets": sources / "fresh.npz", "--out": tmp_path / "out"}
    prior = [trained] if words[0].startswith("--") else []
    rest = [word for flag, value in given.items() if flag not in words for word in (flag, value)]
    assert says[0] in refused("reconstruct", *prior, *rest, *QUICK, *words)
    assert not (tmp_path / "out").exists()


def test_a_damaged_report_is_not_written_over(refused, swept, trained, sources, tmp_path):
    (tmp_path / "reconstruction.json").write_text('{"schema": "diffaudit.recon')
    said = refused("reconstruct", trained, "--targets", sources / "fresh.npz", "--out", tmp_path, *QUICK)
    assert "is not JSON" in said
    assert [path.name for path in tmp_path.iterdir()] == ["reconstruction.json"]


def test_a_prior_from_elsewhere_has_no_public_images_and_no_record_of_members(trained, sources):
    subject = load_subject(trained, Weights())._replace(record={})
    targets, _ = aimed.targets_of(str(sources / "fresh.npz"), 6, subject, 0)
    assert aimed.public_of(None, subject, trained, targets, 0) is None
    assert aimed.known_targets(targets, None) is None
    with pytest.raises(InputError, match="--clip typical takes the norm of public images for typical: give --public"):
        knowledge_of(Attacker(clip="typical"), None)


def test_lpips_has_its_weights_and_tells_to_what_size_it_enlarged(monkeypatch):
    drawn = models.lpips("alex").init(jax.random.key(0))
    monkeypatch.setattr(reconstruct.importers, "lpips_weights", lambda net: {"alex": drawn}[net])
    perceptual, upsampled = reconstruct.perceptual_of("alex", (28, 14, 1))
    assert upsampled == (128, 64)
    assert perceptual.params is drawn
    assert perceptual.features.__self__ == perceptual.between.__self__ == models.lpips("alex")
    assert reconstruct.perceptual_of("none", (28, 14, 1)) == (None, None)


def test_targets_are_drawn_once_each_and_depend_on_the_seed(trained, tmp_path, sources):
    with np.load(sources / "fresh.npz") as arrays:
        twice = {name: np.concatenate([values, values]) for name, values in arrays.items()}
    np.savez(tmp_path / "twice.npz", **twice)
    subject = load_subject(trained, Weights())
    drawn = [aimed.targets_of(str(tmp_path / "twice.npz"), 6, subject, seed)[0].hashes().tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(each)) == 6 for each in drawn)
    assert len(aimed.targets_of(str(tmp_path / "twice.npz"), 99, subject, 0)[0]) == 8


def test_pictures_show_nobody_of_the_source_of_the_targets(sides):
    """Who was not drawn for a target is somebody's all the same."""
    source, others = sides.nonmembers.take(np.arange(10)), sides.members.take(np.arange(5))
    shown, rest = aimed.shown_of(data.concatenate(source, others), source.hashes())
    assert len(shown) == aimed.NUM_SHOWN
    assert not np.isin(shown.hashes(), source.hashes()).any()
    assert sorted([*shown.hashes(), *rest.hashes()]) == sorted([*source.hashes(), *others.hashes()])
    assert aimed.shown_of(source, source.hashes()) == (None, source)
