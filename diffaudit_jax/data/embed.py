"""Makes the embedded samples from the raw data: ``python -m diffaudit_jax.data.embed SOURCE_DIR [OUT_DIR]``.

SOURCE_DIR holds ``images/fashion-train-images-idx3-ubyte.gz`` with its labels, ``images/dicebear_pixelart_5000.npz``
and ``tabular/adult_train.csv.gz``. Every sample is drawn at random without replacement from the distinct records, by
NumPy's `default_rng(SEED)`, and kept in the source's order; each image knows its `source_row`. The same input gives the
same bytes (for one version of zlib).
"""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data import embedded
from diffaudit_jax.data.arrays import read_npz
from diffaudit_jax.data.idx import read_idx_images

SEED = 20_250
NUM_IMAGES = 2_000
NUM_RECORDS = 3_000
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip


def draw(records: np.ndarray, size: int) -> np.ndarray:
    """Returns the sorted positions of `size` random records among the first of each set of equal ones."""
    _, first = np.unique(records, return_index=True)
    return np.sort(np.random.default_rng(SEED).choice(np.sort(first), size, replace=False))


def embed_fashion(source: Path, out: Path, size: int = NUM_IMAGES) -> None:
    """Writes `fashion-mnist-2k`: images, labels and the classes' names."""
    pool = read_idx_images(source / "images" / "fashion-train-images-idx3-ubyte.gz")
    sample = pool.take(draw(pool.hashes(), size))
    np.savez_compressed(
        out / embedded.FILES["fashion-mnist-2k"],
        images=sample.x[..., 0],
        labels=np.asarray(sample.labels, np.uint8),
        label_names=np.array(FASHION),
        source_row=sample.rows.astype(np.int32),
    )


def embed_faces(source: Path, out: Path, size: int = NUM_IMAGES) -> None:
    """Writes `pixel-faces-2k`: images, smile as the label, and every attribute."""
    pool = read_npz(source / "images" / "dicebear_pixelart_5000.npz", "dicebear_pixelart_5000.npz")
    sample = pool.take(draw(pool.hashes(), size))
    arrays: dict[str, Any] = {
        **(sample.attributes or {}),
        "images": sample.x,
        "labels": (sample.attributes or {})["smile"].astype(np.uint8),
        "label_names": np.array(["no smile", "smile"]),
        "source_row": sample.rows.astype(np.int32),
    }
    np.savez_compressed(out / embedded.FILES["pixel-faces-2k"], **arrays)


def embed_adult(source: Path, out: Path, size: int = NUM_RECORDS) -> None:
    """Writes `adult-3k`: the header and the drawn lines, as they are."""
    header, *lines = gzip.decompress((source / "tabular" / "adult_train.csv.gz").read_bytes()).decode().splitlines()
    sample = [header, *(lines[i] for i in draw(np.array(lines), size))]
    # Not gzip.compress: its header names the operating system in some versions of Python and not in others.
    with (out / embedded.FILES["adult-3k"]).open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write("\n".join([*sample, ""]).encode())


def main(arguments: list[str]) -> None:
    """Writes the three samples and prints their sizes."""
    source, out = Path(arguments[0]), Path(arguments[1] if len(arguments) > 1 else Path(embedded.__file__).parent)
    for write in (embed_fashion, embed_faces, embed_adult):
        write(source, out)
    for file in embedded.FILES.values():
        print(f"{file:24} {(out / file).stat().st_size:9,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
