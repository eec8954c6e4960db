"""Tensors stay on disk and in their region: reading a file of 64 MB costs next to no memory."""

import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffaudit_jax.importers.tensors import MAX_RANK, Region, mapped, stored
from diffaudit_jax.types import InputError
from tests.importers import torchfiles as tf

COUNT, LENGTH = 16, 1_000_000  # tensors of 4 MB
STATUS = Path("/proc/self/status")
BLOCK = np.ones(LENGTH, np.float32).tobytes()
PICKLE = tf.mapping({f"x{i}": tf.tensor(tf.storage(str(i), LENGTH), (LENGTH,), (1,)) for i in range(COUNT)})


# Measured in a process of its own: this one has freed memory to hand out again, which would not show.
MEASURE = """
import sys
from pathlib import Path
from diffaudit_jax.importers import pickles, safetensors

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

reader = {"safetensors": safetensors.read_safetensors, "torch": pickles.read_torch}[sys.argv[1]]
before = anonymous()
views = [tensor.read() for tensor in reader(sys.argv[2]).values()]
assert all(view.max() == view.min() == 1 for view in views)
viewed = anonymous() - before
copies = [view.copy() for view in views]
print(len(views), viewed, anonymous() - before)
"""


def write_safetensors(path: Path) -> None:
    size = len(BLOCK)
    entries = [
        f'"x{i}":{{"dtype":"F32","shape":[{LENGTH}],"data_offsets":[{i * size},{(i + 1) * size}]}}'
        for i in range(COUNT)
    ]
    header = ("{" + ",".join(entries) + "}").encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.writelines(BLOCK for _ in range(COUNT))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", tf.whole(PICKLE))
        for i in range(COUNT):
            archive.writestr(f"a/data/{i}", BLOCK)


def write_legacy(path: Path) -> None:
    head = tf.legacy_file(PICKLE, {})[: -len(pickle.dumps([], 2))]
    with path.open("wb") as file:
        file.write(head + pickle.dumps([str(i) for i in range(COUNT)], 2))
        for _ in range(COUNT):
            file.write(struct.pack("<q", LENGTH) + BLOCK)


@pytest.mark.skipif(not STATUS.exists() or "RssAnon" not in STATUS.read_text(), reason="needs /proc/self/status")
@pytest.mark.parametrize(
    ("write", "reader"), [(write_safetensors, "safetensors"), (write_zip, "torch"), (write_legacy, "torch")]
)
def test_reading_costs_no_memory(tmp_path, write: Callable, reader: str):
    write(tmp_path / "x")
    words = [sys.executable, "-c", MEASURE, reader, str(tmp_path / "x")]
    found = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    count, viewed, copied = map(int, found.stdout.split())
    assert count == COUNT
    assert viewed < len(BLOCK)  # not one of the sixteen tensors
    assert copied > 0.9 * COUNT * len(BLOCK)  # what is held does count


def test_a_tensor_lies_in_its_region(tmp_path):
    (tmp_path / "x").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    region, float32 = Region(tmp_path / "x", mapped(tmp_path / "x"), 4, 16), np.dtype(np.float32)
    np.testing.assert_array_equal(stored(region, "x", float32, (2, 2)).read(), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(stored(region, "x", float32, (2,), (2,), 1).read(), [2, 4])
    assert stored(region, "x", float32, (1,) * MAX_RANK).read().ndim == MAX_RANK
    for shape, strides in [((5,), None), ((3,), (2,)), ((1,) * (MAX_RANK + 1), None)]:
        with pytest.raises(InputError, match="tensor x of shape"):
            stored(region, "x", float32, shape, strides)


def test_a_region_before_the_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(bytes(64))
    with pytest.raises(InputError, match="begins at byte -54: copy the file again"):
        stored(Region(tmp_path / "x", mapped(tmp_path / "x"), -54, 24), "x", np.dtype("<f4"), (2, 3))
