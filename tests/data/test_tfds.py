"""TFDS directories that the test builds, read without TensorFlow."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.data import load
from diffaudit_jax.types import InputError

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
pytest.importorskip("array_record", reason="array_record has no wheel here")

N = {"train": 12, "test": 4, "mixed": 2}


def pixels(split: str, i: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng([len(split), i]).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


class TinyFaces(tfds.core.GeneratorBasedBuilder):
    """Faces with what CelebA and CIFAR have: nested attributes and an id."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "id": tfds.features.Text(),
            "attributes": {"hat": np.bool_, "person": np.int64},
            "landmarks": tfds.features.Tensor(shape=(2,), dtype=np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in N}

    def _generate_examples(self, split):
        for i in range(N[split]):
            yield (
                i,
                {
                    "image": png(pixels(split, i, 8 + i if split == "mixed" else 8)),
                    "label": i % 2,
                    "id": f"{split}_{i:05d}",
                    "attributes": {"hat": i % 3 == 0, "person": i // 4},
                    "landmarks": [i, i],
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for version in ("1.0.0", "1.9.0", "1.10.0"):
        TinyFaces.VERSION = tfds.core.Version(version)
        TinyFaces(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def home(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


def numbers(pool) -> np.ndarray:
    return np.array([int(i.split("_")[1]) for i in pool.attributes["id"]])


def test_everything_is_read():
    pool = load("tfds:tiny_faces", groups="attributes/person")
    i = numbers(pool)
    assert sorted(i.tolist()) == list(range(12))
    np.testing.assert_array_equal(pool.x, np.stack([pixels("train", j) for j in i]))
    np.testing.assert_array_equal(pool.labels, i % 2)
    np.testing.assert_array_equal(pool.groups, i // 4)
    np.testing.assert_array_equal(pool.attributes["attributes/hat"], i % 3 == 0)
    assert pool.label_names == ("cat", "dog")
    assert set(pool.attributes) == {"id", "attributes/hat", "attributes/person"}
    assert pool.name == "tfds:tiny_faces/1.10.0:train"
    assert "tensorflow" not in sys.modules


ADDRESSES = {
    "tfds:tiny_faces:test[:2]": ("1.10.0", 2),
    "tfds:tiny_faces:train[:50%]": ("1.10.0", 6),
    "tfds:tiny_faces:1.9.0": ("1.9.0", 12),
    "tfds:tiny_faces:1.0.0:train[:5]": ("1.0.0", 5),
    "tfds:{}/tiny_faces": ("1.10.0", 12),
    "tfds:{}/tiny_faces/1.0.0:train[2:]": ("1.0.0", 10),
    "tfds:{}:train": ("1.10.0", 12),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(data_dir, address):
    pool = load(address.format(data_dir))
    version, size = ADDRESSES[address]
    assert len(pool) == size
    assert f"/{version}:" in pool.name


def test_an_unfinished_version_is_passed_over(data_dir):
    unfinished = data_dir / "tiny_faces" / "2.0.0.incompleteABC"
    unfinished.mkdir()
    (unfinished / "dataset_info.json").write_text("{}")
    assert "/1.10.0:" in load("tfds:tiny_faces").name


MISSING = {
    "tfds:tiny_fces": "at .*tiny_fces: did you mean 'tiny_faces'.*`tfds build tiny_fces --file_format=array_record`",
    "tfds:cifar10": "no prepared TFDS dataset at .*cifar10: prepare it once where TensorFlow is .*TFDS_DATA_DIR",
    "tfds:tiny_faces:3.0.0": "no prepared TFDS dataset at .* in version 3.0.0",
    "tfds:./nowhere": "no prepared TFDS dataset at nowhere",
    "tfds:": "'tfds:' names no dataset",
    "tfds:tiny_faces:val": r"cannot be read .*Unknown split 'val'. Should be one of \['train', 'test', 'mixed'\]",
    "tfds:tiny_faces:mixed": r"mixes sizes: example 0 is \((8, 8|9, 9), 3\) and example 1 is \((9, 9|8, 8), 3\)",
}


@pytest.mark.parametrize("address", MISSING)
def test_what_cannot_be_read_is_said(address):
    with pytest.raises(InputError, match=MISSING[address]):
        load(address)


def test_a_plain_path_to_a_dataset_is_told_the_prefix(data_dir):
    with pytest.raises(InputError, match="is a TFDS directory: write tfds:"):
        load(data_dir / "tiny_faces" / "1.0.0")


def test_several_datasets_in_one_folder_must_be_told_apart(data_dir):
    other = data_dir / "other" / "1.0.0"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds \['other', 'tiny_faces'\]: name one of them"):
        load(f"tfds:{data_dir}")


def test_tfrecord_is_refused_with_the_way_out(data_dir, tmp_path):
    folder = tmp_path / "tiny_faces" / "1.0.0"
    folder.mkdir(parents=True)
    for file in (data_dir / "tiny_faces" / "1.0.0").glob("*.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(
        InputError, match=r"is not stored as array_record: .*tfds build tiny_faces --file_format=array_record"
    ):
        load(f"tfds:{folder}")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    with pytest.raises(InputError, match="needs the package array_record: pip install"):
        load("tfds:tiny_faces")


class Words(tfds.core.GeneratorBasedBuilder):
    """A dataset without images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"word": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"word": "hello"}


def test_a_dataset_without_images_is_refused(tmp_path):
    Words(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    with pytest.raises(InputError, match=r"has image features \[\] among \['word'\]"):
        load(f"tfds:{tmp_path}/words")
