"""One door: the embedded samples, dispatch, what is missing; and how the samples are made."""

import gzip
import hashlib

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.data import Pool, Table, embed, load
from diffaudit_jax.types import InputError

IMAGES = {
    "fashion-mnist-2k": ((2000, 28, 28, 1), 10),
    "pixel-faces-2k": ((2000, 32, 32, 3), 2),
}


@pytest.mark.parametrize("name", IMAGES)
def test_embedded_images(name):
    pool = load(name)
    shape, num_classes = IMAGES[name]
    assert isinstance(pool, Pool)
    assert (pool.x.shape, pool.num_classes, pool.name) == (shape, num_classes, name)
    assert len(set(pool.hashes())) == 2000
    assert set(pool.labels.tolist()) == set(range(num_classes))
    assert (np.diff(pool.attributes["source_row"]) > 0).all()


def test_embedded_classes_are_a_plain_random_draw():
    counts = np.bincount(load("fashion-mnist-2k").labels)
    # Each class is a tenth of the source; drawn without replacement, so four binomial errors are generous.
    assert np.abs(counts - 200).max() < 4 * np.sqrt(2000 * 0.1 * 0.9)


def test_embedded_faces_know_their_attributes():
    pool = load("pixel-faces-2k", groups="glasses")
    assert set(pool.attributes) == {
        "smile",
        "glasses",
        "hat",
        "beard",
        "long_hair",
        "skin_rgb",
        "hair_rgb",
        "source_row",
    }
    np.testing.assert_array_equal(pool.labels, pool.attributes["smile"])
    np.testing.assert_array_equal(pool.groups, pool.attributes["glasses"])
    # The attribute is of the picture: its skin's colour is in it, but for 213 of the source's 5,000 faces, whose whole
    # face is a shade off; four binomial errors below that share.
    own = [(image == rgb).all(-1).any() for image, rgb in zip(pool.x, pool.attributes["skin_rgb"], strict=True)]
    p = 213 / 5000
    assert np.mean(own) > 1 - p - 4 * np.sqrt(p * (1 - p) / 2000)
    assert load("pixel-faces-2k", labels="hat").num_classes == 2
    with pytest.raises(InputError, match=r"labels='skin_rgb' must be one value an image, got shape \(2000, 3\)"):
        load("pixel-faces-2k", labels="skin_rgb")


def test_embedded_table():
    table = load("adult-3k", groups="sex")
    assert isinstance(table, Table)
    assert (len(table), len(table.columns), len(set(table.hashes()))) == (3000, 15, 3000)
    assert table.numeric == ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
    assert set(table.columns["income"]) == {"<=50K", ">50K"}
    np.testing.assert_array_equal(table.groups, table.columns["sex"] == "Male")


def test_a_path_wins_when_written_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adult-3k").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "adult-3k" / "a.png")
    assert isinstance(load("adult-3k"), Table)
    assert isinstance(load("./adult-3k"), Pool)


MISSING = {
    "fashion-mnist": "there is no fashion-mnist: did you mean fashion-mnist-2k?",
    "trian.npz": "there is no trian.npz: did you mean train.npz?",
    "faces/trian.npz": "there is no faces/trian.npz: did you mean faces/train.npz?",
    "zzz": "there is no zzz: no file, folder or embedded set .for images fashion-mnist-2k, pixel-faces-2k. has",
    "nowhere/zzz": "there is no nowhere/zzz: no file, folder or embedded set",
}


@pytest.mark.parametrize("source", MISSING)
def test_what_is_missing_is_said_with_what_is_near(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    for path in (tmp_path / "train.npz", tmp_path / "faces" / "train.npz"):
        path.touch()
    with pytest.raises(InputError, match=MISSING[source].replace("?", r"\?")):
        load(source)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.png", "a.png is one image: name the folder it is in"), ("a.bin", "a.bin is no npz, IDX, CSV or Parquet file")],
)
def test_other_files_are_refused(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(InputError, match=message):
        load(tmp_path / name)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A small source folder in the layout `embed` reads, with records that occur twice."""
    source, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for folder in ("images", "tabular"):
        (source / folder).mkdir()
    x = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    x[7] = x[3]
    for kind, code, array in (("images", "idx3", x), ("labels", "idx1", np.arange(30, dtype=np.uint8) % 10)):
        head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
        name = f"fashion-train-{kind}-{code}-ubyte.gz"
        (source / "images" / name).write_bytes(gzip.compress(head + array.tobytes()))
    np.savez(
        source / "images" / "dicebear_pixelart_5000.npz",
        images=rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8),
        smile=np.arange(30) % 2 == 0,
        skin_rgb=rng.integers(0, 256, (30, 3), dtype=np.uint8),
    )
    lines = ["age,sex", *(f"{i % 25},F" for i in range(30))]
    (source / "tabular" / "adult_train.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return source


MAKERS = {"fashion-mnist-2k": embed.embed_fashion, "pixel-faces-2k": embed.embed_faces, "adult-3k": embed.embed_adult}


@pytest.mark.parametrize("name", MAKERS)
def test_samples_are_made_alike_twice_without_duplicates(raw, tmp_path, name):
    file = tmp_path / embed.embedded.FILES[name]
    digests = set()
    for _ in range(2):
        MAKERS[name](raw, tmp_path, 20)
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1
    data = load(file)
    assert len(set(data.hashes())) == len(data) == 20


def test_every_distinct_record_can_be_drawn_once(raw, tmp_path):
    embed.embed_fashion(raw, tmp_path, 29)
    pool = load(tmp_path / "fashion-mnist-2k.npz")
    assert sorted(pool.attributes["source_row"].tolist()) == [i for i in range(30) if i != 7]
    np.testing.assert_array_equal(pool.labels, pool.attributes["source_row"] % 10)
    assert pool.label_names[9] == "Ankle boot"
