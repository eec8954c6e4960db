"""What the benchmark of reconstruction puts together around attacks and studies, which are tested where they live."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import reconstruction as benchmark
from benchmarks import reconstruction_parts as measuring
from benchmarks import reconstruction_priors as priors
from benchmarks import stopped
from benchmarks.reconstruction_priors import OTHER_CLASSES, Bench, alike, halved, images_of
from benchmarks.reconstruction_table import document, write_tables
from diffaudit_jax import data, models, process
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.training import Recipe
from diffaudit_jax.types import InputError
from tests.oracles import gaussian, images

TINY = replace(
    benchmark.TIERS["cpu"],
    recipe=Recipe(num_steps=2, batch_size=4),
    brief=1,
    few=5,
    targets=6,
    public=6,
    mus=(2.0, 20.0),
    num=2,
    steps=3,
    block=16,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two small sets on disk: one with classes, grey, and one in colour."""
    folder = tmp_path_factory.mktemp("sets")
    np.savez(folder / "grey.npz", x=images(60, shape=(8, 8, 1)), labels=np.arange(60) % 10)
    np.savez(folder / "colour.npz", x=images(40, 1, (12, 12, 3)))
    return str(folder / "grey.npz"), str(folder / "colour.npz")


@pytest.fixture
def bench(sources, tmp_path):
    return Bench(TINY, 0, sources, tmp_path)


def test_no_image_is_on_two_sides(bench):
    for name in bench.data:
        dealt = images_of(bench, name)
        sides = [{image.tobytes() for image in side} for side in (dealt.members.x, dealt.targets, dealt.public)]
        assert [len(side) for side in sides] == [len(data.load(name)) - 12, 6, 6]
        assert len(set.union(*sides)) == len(data.load(name))
    with pytest.raises(InputError, match="give a larger set"):
        images_of(bench._replace(tier=replace(TINY, targets=50)), bench.data[0])


def test_images_are_made_to_fit(bench):
    x = images(3, shape=(6, 4, 2))
    slow = x.astype(float).reshape(3, 3, 2, 2, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(3, 3, 2, 2, 4).mean(-1)
    np.testing.assert_array_equal(halved(x), np.round(slow))
    colour = data.load(bench.data[1])
    np.testing.assert_array_equal(alike(colour, colour.shape).x, colour.x)
    assert alike(colour, (8, 8, 1)).x.shape == (40, 8, 8, 1)
    flat = replace(colour, x=np.full_like(colour.x, 200))
    assert (alike(flat, (8, 8, 1)).x == 200).all()
    padded = images_of(bench._replace(tier=replace(TINY, cell=16)), bench.data[0]).targets
    np.testing.assert_array_equal(padded[:, 4:12, 4:12], images_of(bench, bench.data[0]).targets)
    assert padded.shape == (6, 16, 16, 1)
    assert not padded[:, :4].any()


@pytest.mark.parametrize("tier", benchmark.TIERS)
def test_every_network_takes_the_images_it_is_given(tier):
    each = benchmark.TIERS[tier]
    for name in ("fashion-mnist-2k", "pixel-faces-2k"):
        small = replace(each, targets=20, public=20, few=20)
        shape = images_of(Bench(small, 0, (name, name), Path()), name).members.shape
        half = (shape[0] // 2, shape[1] // 2, shape[2])
        assert models.build("ddpm", shape, size=each.size).shape == shape
        assert models.build("ddpm", half, size=each.size, **each.halved).shape == half


def test_priors_go_from_the_targets_own_to_none(bench, monkeypatch):
    asked = {}

    def trained(bench, name, pool, *, steps=None, **options):
        asked[name] = (pool, steps)
        return name

    monkeypatch.setattr(priors, "trained", trained)
    found = priors.priors(bench)
    assert list(found) == [
        "matched", "trained briefly", "few images", "bags and shoes", "faces", "untrained", "none (Wiener)",
    ]  # fmt: skip
    assert found["none (Wiener)"] is None
    assert len(set(found.values())) == len(found)
    assert set(asked["other-classes"][0].labels) == set(OTHER_CLASSES)
    assert asked["untrained"][1] == 0
    assert {pool.shape for pool, _ in asked.values()} == {(8, 8, 1)}


def run(tmp_path, sources, **changed):
    options = {"data": sources, "out": tmp_path / "out", "work": tmp_path / "work", **changed}
    benchmark.main(benchmark.Options(**options))


def seen(net, shape):
    """A distance of grey images that takes no weights, as if they were enlarged; none of images in colour."""
    if shape[2] > 1:
        return None, None
    return Perceptual((), lambda params, x: x, lambda params, u, v: abs(u - v).mean()), (64, 80)


def test_every_part_is_measured_once_and_said(tmp_path, sources, monkeypatch, capsys):
    exact = lambda bench, name, pool, *, steps=None, **options: gaussian(  # noqa: E731
        process.ddpm_linear(), 0.0, 0.1 + len(name) / 100, pool.shape
    )
    monkeypatch.setattr(priors, "trained", exact)
    monkeypatch.setattr(measuring, "perceptual_of", seen)
    monkeypatch.setattr(measuring, "find_spec", lambda package: package)  # as if it were there
    monkeypatch.setitem(benchmark.TIERS, "cpu", TINY)
    monkeypatch.setattr(stopped.jax, "clear_caches", lambda: None)  # of all tests
    run(tmp_path, sources)
    path = tmp_path / "out" / "reconstruction-cpu.json"
    measured = json.loads(path.read_text(), parse_constant=pytest.fail)
    names = [name for name, _ in benchmark.parts(Bench(TINY, 0, sources, tmp_path), tmp_path)]
    assert list(measured["parts"]) == names
    assert all(part["seconds"] > 0 and "cpu" in part["hardware"] for part in measured["parts"].values())
    text = (tmp_path / "out" / "reconstruction-cpu.md").read_text()
    assert text.count("\n## ") == len(names)
    assert measured["parts"]["sweep-grey"]["lpips"] == {"net": "alex", "enlarged": [64, 80]}
    assert measured["parts"]["sweep-colour"]["lpips"] is None
    assert text.count("| LPIPS |") == 2  # scores, and transitions
    assert text.count("LPIPS 0.") == text.count("LPIPS with AlexNet, of images enlarged to 64x80 pixels") == 1
    del measured["parts"]["sweep-colour"]["lpips"]  # as in results of before it was measured
    assert document("cpu", measured) == text
    measured["parts"]["sweep-colour"]["lpips"] = None
    assert "Not measured" in (tmp_path / "out" / "reconstruction-gpu.md").read_text()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert len(tables) == 2 * 3 + 4 + 2
    for name, (side, colours) in {"grey": (10, "L"), "colour": (14, "RGB")}.items():
        with Image.open(tmp_path / "out" / f"reconstruction-cpu-{name}.png") as picture:
            assert picture.mode == colours
            # Two targets in seven pictures each, a row for each mu, twice the size and framed.
            assert picture.size == (2 * 14 * side + 2, 2 * 2 * side + 2)
    capsys.readouterr()
    monkeypatch.setattr(priors, "trained", None)  # nothing is left to be trained
    run(tmp_path, sources)
    assert "hold every part" in capsys.readouterr().out
    assert json.loads(path.read_text()) == measured
    with pytest.raises(InputError, match="was measured otherwise"):
        run(tmp_path, sources, seed=1)


def test_a_prior_is_trained_and_found_again(bench):
    few, pool = priors.few_images(bench)
    assert len(pool) == 5
    again, _ = priors.few_images(bench)
    assert few.config == again.config


def test_nothing_measured_is_said(tmp_path):
    write_tables(tmp_path)
    for tier in benchmark.TIERS:
        assert (tmp_path / f"reconstruction-{tier}.md").read_text() == document(tier, None)
        assert "Not measured." in document(tier, None)


def test_two_sets_have_two_names(tmp_path, sources):
    with pytest.raises(InputError, match="have one name"):
        run(tmp_path, (sources[0], "elsewhere/grey.npz"))


def test_an_accelerator_is_asked_for_by_name(tmp_path, sources):
    with pytest.raises(InputError, match="there is no accelerator here: use --tier cpu"):
        run(tmp_path, sources, tier="gpu")
