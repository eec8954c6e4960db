"""TensorFlow Datasets, read without TensorFlow.

TFDS reads datasets stored as array_record by itself; downloading and preparing one needs TensorFlow, and is the user's
to do once, anywhere. The directory is read as it stands: no network, and no dataset code is imported.

    tfds:NAME                   the newest version under TFDS_DATA_DIR (~/tensorflow_datasets if unset), split "train"
    tfds:NAME/CONFIG:1.0.0      one configuration, one version
    tfds:NAME:test[:1000]       a split, in TFDS's own notation
    tfds:/path/to/dir:all       a directory (beginning with /, . or ~), from the dataset's name down
"""

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data.arrays import from_arrays
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.types import InputError

PREFIX = "tfds:"
ADDRESS = re.compile(r"(?P<where>.+?)(:(?P<version>\d+\.\d+\.\d+))?(:(?P<split>[^/]+))?")
VERSION = re.compile(r"\d+\.\d+\.\d+")
PREPARE = "tfds build {name} --file_format=array_record"


def read_tfds(source: str) -> Pool:
    """Reads the images of a prepared TFDS dataset.

    The images are the supervised input, or else the only image feature; labels are the supervised class, or else the
    only class feature. Every other scalar feature becomes an attribute, nested ones as "outer/inner".

    Args:
      source: ``tfds:...`` as the module says.

    Raises:
      InputError: if the dataset is not prepared in a form readable here, the split is unknown, or it has no images of
        one size.
    """
    address = ADDRESS.fullmatch(source.removeprefix(PREFIX))
    if not address:
        raise InputError(f"{source!r} names no dataset: write tfds:NAME, tfds:NAME:SPLIT or tfds:/path/to/dir.")
    folder = _prepared(address["where"], address["version"])
    with _quiet():
        tfds = _tensorflow_datasets()
        try:
            info = (builder := tfds.builder_from_directory(folder)).info
            stored = builder.as_data_source(split=address["split"] or "train")
        except NotImplementedError as error:
            raise InputError(f"{folder} is not stored as array_record: {_mend(info.name)}.") from error
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f"{source!r} cannot be read from {folder}: {' '.join(str(error).split())}") from error
        features = dict(_flat(info.features))
        image, label = _image_and_label(tfds, features, info.supervised_keys, source)
        examples = [dict(_flat(example)) for example in _blocks(stored)]
    columns = {key: [e[key] for e in examples] for key in examples[0] if key not in (image, label)}
    return from_arrays(
        _stacked([e[image] for e in examples], source),
        labels=None if label is None else [e[label] for e in examples],
        label_names=None if label is None else tuple(features[label].names),
        attributes={k: _plain(v) for k, v in columns.items() if all(np.ndim(value) == 0 for value in v)},
        name=f"{PREFIX}{info.full_name}:{address['split'] or 'train'}",
    )


def _prepared(where: str, version: str | None) -> Path:
    """Returns the folder of the wanted or newest version, found by the dataset_info.json in it."""
    home = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    root = Path(where).expanduser() if where.startswith(("/", ".", "~")) or Path(where).is_absolute() else home / where
    if (root / "dataset_info.json").exists():
        return root
    below = [info.parent for depth in ("*", "*/*", "*/*/*") for info in root.glob(f"{depth}/dataset_info.json")]
    found = [path for path in below if VERSION.fullmatch(path.name) and version in (None, path.name)]
    if not found:
        near = difflib.get_close_matches(root.name, [p.name for p in root.parent.glob("*/")], n=1)
        hint = f"did you mean {near[0]!r}? Otherwise " if near and near[0] != root.name else ""
        wanted = f" in version {version}" if version else ""
        raise InputError(f"no prepared TFDS dataset at {root}{wanted}: {hint}{_mend(where)}.")
    if len(parents := {path.parent for path in found}) > 1:
        raise InputError(f"{root} holds {sorted(str(p.relative_to(root)) for p in parents)}: name one of them.")
    return max(found, key=lambda path: [int(part) for part in path.name.split(".")])


def _mend(name: str) -> str:
    return (
        f"prepare it once where TensorFlow is installed, with `{PREPARE.format(name=Path(name).name)}`, "
        "and set TFDS_DATA_DIR to the folder it wrote"
    )


def _image_and_label(tfds: Any, features: dict[str, Any], supervised: Any, source: str) -> tuple[str, str | None]:
    preferred = [key for key in supervised or () if isinstance(key, str)]
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    image = next((key for key in preferred if key in images), images[0] if len(images) == 1 else None)
    if image is None:
        raise InputError(f"{source!r} has image features {images} among {sorted(features)}: one is needed.")
    return image, next((key for key in preferred if key in labels), labels[0] if len(labels) == 1 else None)


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _blocks(stored: Any, block: int = 1024) -> Iterator[dict[str, Any]]:
    for start in range(0, len(stored), block):
        yield from stored.__getitems__(range(start, min(start + block, len(stored))))


def _stacked(images: list[np.ndarray], source: str) -> np.ndarray:
    for i, image in enumerate(images):
        if image.shape != images[0].shape:
            raise InputError(
                f"{source!r} mixes sizes: example 0 is {images[0].shape} and example {i} is {image.shape}: write them "
                "to a folder at one size."
            )
    return np.stack(images)


def _plain(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], bytes):
        return np.array([value.decode(errors="replace") for value in values])
    return np.array(values)


def _tensorflow_datasets() -> Any:
    try:
        import array_record  # noqa: F401
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f"{PREFIX} needs the package {error.name}: pip install tensorflow-datasets array_record "
            "importlib_resources."
        ) from error
    return tensorflow_datasets


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS's log up to warnings (a hint to install OpenCV for speed) while it reads."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        absl.setLevel(level)
