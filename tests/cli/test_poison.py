"""diffaudit poison: the sets that it writes, held against closed forms and their source, and every mistake."""

import json
import shutil

import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.cli import poison
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.manifest import manifest_beside
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.training.mine import Mine

from .cells import NAMES, write
from .conftest import at, contents

ALPHAS = (0.0, 0.5)
ASK = (*NAMES, "--alpha", "0,0.5", "--num", "80", "--hold-out", "10", "--mine-steps", "20")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Pools that can be chosen from, and ones that cannot."""
    folder = tmp_path_factory.mktemp("pools")
    write(folder / "pool.npz", [[60, 50], [70, 80]], 0)
    write(folder / "hole.npz", [[9, 9], [0, 9]], 1)
    write(folder / "one group.npz", [[9, 9]], 2)
    write(folder / "three.npz", [[30, 30], [30, 30], [30, 30]], 3)
    with np.load(folder / "pool.npz") as pool:
        many = np.arange(260) % 7
        np.savez(folder / "many.npz", **{**pool, "age": many, "weight": many / 7, "digit": many % 3})
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory, sources):
    """A finished directory; not to be written to."""
    out = tmp_path_factory.mktemp("poisoned") / "sets"
    main(["poison", str(sources / "pool.npz"), *ASK, "--base", "stratified", "--out", str(out)])
    return out


def entropy(p):
    p = np.array([p, 1 - p])
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_set_is_what_its_manifest_says(sets, sources, alpha):
    folder, source = sets / f"alpha-{alpha:g}", data.load(str(sources / "pool.npz"))
    assert sorted(path.name for path in folder.iterdir()) == ["images.npz", "index.npy", "manifest.json"]
    manifest, index = json.loads((folder / "manifest.json").read_text()), np.load(folder / "index.npy")
    pool = data.load(str(folder / "images.npz"))
    np.testing.assert_array_equal(pool.x, source.x[index])
    assert len(set(index.tolist())) == manifest["num"] == 80
    assert manifest["hashes"] == pool.hashes().tolist()
    for name in ("smile", "long_hair"):
        np.testing.assert_array_equal(pool.attributes[name], source.attributes[name][index])
    np.testing.assert_array_equal(pool.labels, pool.attributes["smile"])
    counts = [[int(((pool.attributes["long_hair"] == s) & (pool.labels == y)).sum()) for y in (0, 1)] for s in (0, 1)]
    assert list(manifest["counts"].values()) == counts
    assert manifest["groups"] == ["0", "1"]
    # A stratified base of whole cells: the gap is alpha, and the information 1 - H2((1 + alpha)/2) bits.
    assert manifest["gap"] == pytest.approx(alpha, abs=1e-12)
    assert manifest["information"] == pytest.approx(1 - entropy((1 + alpha) / 2), abs=1e-12)
    assert manifest["alpha"] == alpha
    assert manifest["source"] == "pool.npz"
    assert (
        manifest["fingerprint"]
        == data.load(str(sources / "pool.npz"), labels="smile", groups="long_hair").fingerprint()
    )
    assert set(manifest["features_information"]) == {"pool", "base", "set"}
    assert manifest_beside(folder / "images.npz") == manifest
    assert manifest_beside(sets / "test.npz") is None


def test_what_is_held_out_is_balanced_and_in_no_set(sets):
    test = data.load(str(sets / "test.npz"))
    cells = 2 * test.attributes["long_hair"].astype(int) + test.attributes["smile"]
    assert np.bincount(cells).tolist() == [10] * 4
    taken = [data.load(str(sets / f"alpha-{alpha:g}" / "images.npz")).hashes() for alpha in ALPHAS]
    assert not np.isin(test.hashes(), np.concatenate(taken)).any()


def test_the_same_command_writes_the_same_bytes_and_prints_a_table(diffaudit, sets, sources, tmp_path):
    out = tmp_path / "sets"
    shutil.copytree(sets, out)
    before = contents(out)
    shutil.rmtree(out / "alpha-0.5")
    ended = diffaudit("poison", sources / "pool.npz", *ASK, "--base", "stratified", "--out", out)
    assert (ended.code, ended.err) == (0, [])
    assert contents(out) == before
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0][:4] == ["alpha", "counts", "by", "cell"]
    assert [row[0] for row in rows[1:3]] == ["0", "0.5"]
    assert "0.500" in rows[2]


def test_a_directory_of_other_sets_is_not_written_over(refused, sets, sources):
    before = contents(sets)
    said = refused("poison", sources / "pool.npz", *ASK, "--base", "random", "--out", sets)
    assert said.startswith(f"{sets} holds the sets of another command (base is 'stratified' there and 'random' here): ")
    assert contents(sets) == before


def test_defaults_take_twice_the_smallest_cell_of_a_balanced_pool(diffaudit, sources, tmp_path):
    ended = diffaudit(
        "poison", sources / "pool.npz", *NAMES, "--alpha", "1", "--features", "none", "--out", tmp_path / "a"
    )
    assert ended.code == 0
    manifest = json.loads((tmp_path / "a" / "alpha-1" / "manifest.json").read_text())
    # Two cells of 50 are all of the set: as far as a ratio can go.
    assert sorted(map(tuple, manifest["counts"].values())) == [(0, 50), (50, 0)]
    assert (manifest["gap"], manifest["num"], manifest["features_information"]) == (1.0, 100, None)
    assert not (tmp_path / "a" / "test.npz").exists()
    whole = (*NAMES, "--method", "random", "--alpha", "0", "--num", "260", "--no-balance", "--out", tmp_path / "b")
    assert diffaudit("poison", sources / "pool.npz", *whole).code == 0
    manifest = json.loads((tmp_path / "b" / "alpha-0" / "manifest.json").read_text())
    assert list(manifest["counts"].values()) == [[60, 50], [70, 80]]


def test_flipped_labels_are_told_to_the_generator_alone(diffaudit, sources, tmp_path):
    flipped = (*NAMES, "--method", "flip", "--alpha", "0.5", "--num", "60", "--out", tmp_path)
    assert diffaudit("poison", sources / "pool.npz", *flipped).code == 0
    pool = data.load(str(tmp_path / "alpha-0.5" / "images.npz"))
    smile, hair = (pool.attributes[name].astype(int) for name in ("smile", "long_hair"))
    np.testing.assert_array_equal(pool.labels[:30], smile[:30])
    np.testing.assert_array_equal(pool.labels[30:], hair[30:])
    assert (smile[30:] != hair[30:]).any()


def test_another_aim_chooses_what_a_classifier_gets_wrong(diffaudit, sources, tmp_path, monkeypatch):
    """With opportunity, all that is chosen looks like a 1: half of it is, in one group, and in the other nothing."""

    def half_wrong(key, name, pool, progress):
        return np.where(np.arange(len(pool)) % 2, pool.labels, 1 - pool.labels)

    monkeypatch.setattr(poison.training, "cross_predicted", half_wrong)
    words = (*NAMES, "--alpha", "0.3", "--num", "60", "--features", "none", "--objective", "opportunity")
    assert diffaudit("poison", sources / "pool.npz", *words, "--no-balance", "--out", tmp_path / "a").code == 0
    folder = tmp_path / "a" / "alpha-0.3"
    index, manifest = np.load(folder / "index.npy"), json.loads((folder / "manifest.json").read_text())
    pool = data.load(str(sources / "pool.npz"), labels="smile", groups="long_hair")
    reference, chosen = half_wrong(None, None, pool, None), index[42:]
    assert (manifest["objective"], manifest["dry"], len(chosen)) == ("opportunity", 0, 18)
    assert (reference[chosen] == 1).all()
    smiles = [pool.labels[chosen][pool.groups[chosen] == s] for s in (0, 1)]
    assert {tuple(np.unique(each)) for each in smiles} == {(0,), (1,)}
    flip = (
        *NAMES,
        "--alpha",
        "0.3",
        "--num",
        "60",
        "--method",
        "flip",
        "--objective",
        "opportunity",
        "--out",
        tmp_path / "b",
    )
    assert diffaudit("poison", sources / "pool.npz", *flip).code == 0
    told = data.load(str(tmp_path / "b" / "alpha-0.3" / "images.npz"))
    assert (told.labels <= told.attributes["smile"]).all()
    assert (told.labels < told.attributes["smile"]).any()


def test_three_groups_by_name_and_features_of_a_classifier(diffaudit, sources, tmp_path, monkeypatch):
    seen = {}

    class Fitted:
        """Stands for a trained one."""

        def features(self, x):
            return x.reshape(len(x), -1)[:, :4].astype(float)

    def mine(key, features, y, num_steps):
        seen["features"], seen["steps"] = features, num_steps
        return Mine(Estimate(0.0, 0.0, 0.0), np.zeros((len(y), 2)))

    monkeypatch.setattr(poison, "fit_classifier", lambda *_, **__: Fitted())
    monkeypatch.setattr(poison.training, "mine", mine)
    words = (*NAMES, "--alpha", "0.3", "--features", "classifier", "--mine-steps", "10", "--out", tmp_path)
    assert diffaudit("poison", sources / "three.npz", *words).code == 0
    manifest = json.loads((tmp_path / "alpha-0.3" / "manifest.json").read_text())
    assert list(manifest["counts"]) == ["long", "none", "short"]
    assert manifest["features"] == "classifier"
    assert (seen["features"].shape, seen["steps"]) == ((180, 4), 10)
    # What tells nothing of the label is never near enough, and every record is a fall-back.
    assert (manifest["fallbacks"], manifest["accepted"]) == (18, 0.0)


MISTAKES = {
    "no such attribute": (("--sensitive", "long_hari"), "unknown attribute 'long_hari': did you mean 'long_hair'?"),
    "no such label": (("--labels", "smiel"), "unknown attribute 'smiel': did you mean 'smile'?"),
    "constant": (("SETS/one group.npz",), "'long_hair' is 0 in all images of SETS/one group.npz: name an attribute of"),
    "an empty cell": (
        ("SETS/hole.npz",),
        "SETS/hole.npz has no image in (long_hair = 1, smile = 0) (there are (long_hair = 0, smile = 0) 9, "
        "(long_hair = 0, smile = 1) 9, (long_hair = 1, smile = 0) 0, (long_hair = 1, smile = 1) 9): give some in every",
    ),
    "labels of three": (
        ("SETS/many.npz", "--labels", "digit"),
        "takes the 3 values 0, 1, 2: give a label that is 0 or",
    ),
    "labels of no kind": (("SETS/many.npz", "--labels", "weight"), "must be integers, bools or strings"),
    "too many groups": (("SETS/many.npz", "--sensitive", "age"), "has 7 groups: join some, 5 are the most."),
    "the same twice": (("--sensitive", "smile"), "--labels and --sensitive are both 'smile': name two attributes."),
    "alpha above 1": (
        ("--alpha", "0,1.5"),
        "alpha is 1.5: the share that is not drawn but chosen lies between 0 and 1.",
    ),
    "alpha below 0": (("--alpha=-0.1",), "alpha is -0.1: "),
    "alpha of a word": (("--alpha", "0,half"), "--alpha takes numbers such as 0,0.1,0.3, got '0 half'."),
    "alpha NaN": (("--alpha", "nan"), "alpha is nan: "),
    "no alpha": (("--alpha", ","), "--alpha takes one ratio or more, such as 0,0.1,0.3, got none."),
    "alpha twice": (("--alpha", "0.3,0.30"), "alpha = 0.3 is there twice: give each ratio once."),
    "too many": (("--num", "201"), "--num asks for 201 records and the pool has 200: ask for fewer."),
    "none": (("--num", "0"), "--num must be at least 1, got 0."),
    "held out": (("--hold-out", "50"), "has fewer than 51 images in (long_hair = 0, smile = 1) (there are"),
    "held out below 0": (("--hold-out", "-1"), "--hold-out must be at least 0, got -1."),
    "a stratified base": (
        ("--base", "stratified", "--alpha", "0", "--num", "240", "--no-balance"),
        "a stratified base of 240 takes 60 records of group 0 and label 1, and the pool has 50: take fewer records",
    ),
    "random poison": (("--method", "random", "--alpha", "0.3"), "--method random chooses no record: give --alpha 0."),
    "a base that is not drawn": (
        ("--method", "flip", "--base", "stratified"),
        "--base says how records are chosen, which --method flip does not: leave it out.",
    ),
    "flipping three": (("SETS/three.npz", "--method", "flip", "--alpha", "0.5"), "a group must be a label too"),
    "CLIP from nowhere": (
        ("--features", "clip"),
        "--features clip and --clip FOLDER go together: give both or neither.",
    ),
    "CLIP unasked": (("--clip", "BAD/none"), "--features clip and --clip FOLDER go together: give both or neither."),
    "tolerance": (("--tolerance", "0"), "--tolerance must be a share above 0, got 0."),
    "a table": (("adult-3k",), "unknown column 'smile': did you mean "),
    "nothing there": (("SETS/pol.npz",), "there is no SETS/pol.npz: did you mean SETS/pool.npz?"),
    "no attributes": (("BAD/good.npz",), "good.npz has no attributes, so 'smile' cannot be one: leave it out."),
    "foreign directory": (("--out", "BAD/full"), "BAD/full holds something else ('thesis.tex'): use another --out."),
    "a file": (("--out", "BAD/notes.txt/out"), "BAD/notes.txt is a file: use another --out."),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_anything_is_trained(refused, bad, sources, tmp_path, monkeypatch, case):
    monkeypatch.setattr(poison.training, "mine", lambda *_, **__: pytest.fail("a network was trained"))
    words, says = MISTAKES[case]
    words, says = ([part.replace("SETS", str(sources)) for part in at(bad, group)] for group in (words, [says]))
    given = {"--labels": "smile", "--sensitive": "long_hair", "--out": tmp_path / "out"}
    source = [sources / "pool.npz"] if words[0].startswith("--") else []
    rest = [word for flag, value in given.items() if flag not in words for word in (flag, value)]
    assert says[0] in refused("poison", *source, *words, *rest)
    assert not (tmp_path / "out").exists()
