"""The samples that come with the package; `diffaudit_jax.data.embed` made them, THIRD_PARTY.md holds their notices.

| name             | records                                                       | from                            |
| ---------------- | ------------------------------------------------------------- | ------------------------------- |
| fashion-mnist-2k | 2,000 of the 60,000 training images, 28x28 grey, 10 classes   | Fashion-MNIST, Zalando, MIT     |
| pixel-faces-2k   | 2,000 drawn faces, 32x32 RGB, seven exact attributes          | DiceBear pixel-art, CC0 1.0     |
| adult-3k         | 3,000 of the 32,561 training records, 15 columns              | UCI Adult, CC BY 4.0            |
"""

from importlib.resources import as_file, files

from diffaudit_jax.data.arrays import read_npz
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.data.table import Table, read_csv

FILES = {
    "fashion-mnist-2k": "fashion-mnist-2k.npz",
    "pixel-faces-2k": "pixel-faces-2k.npz",
    "adult-3k": "adult-3k.csv.gz",
}


def read_embedded(name: str) -> Pool | Table:
    """Reads the sample of this name, one of `FILES`."""
    with as_file(files(__name__) / FILES[name]) as path:
        return read_npz(path, name) if path.suffix == ".npz" else read_csv(path, name)
