"""What it costs in memory to load a checkpoint: the peak of anonymous memory over the size of the parameters.

python -m benchmarks.loading      # 2.3 GB of parameters, from three types; saves benchmarks/results/loading.json

The network is that of the published 256x256 DDPM (diffusers' google/ddpm-celebahq-256), 2.25 times as wide. Each file
is loaded in a process of its own, which watches itself in /proc. Pages of the file are not counted: the kernel takes
them back at will.
"""

import json
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import tyro

from benchmarks import timing
from diffaudit_jax.importers import diffusers

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
SCHEDULER = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear"}
WATCH = """
import json, sys, threading, time
import jax
from diffaudit_jax.importers import load

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

jax.devices()
start = peak = anonymous()
loaded = threading.Event()

def watch():
    global peak
    while not loaded.wait(0.002):
        peak = max(peak, anonymous())

thread = threading.Thread(target=watch)
thread.start()
begin = time.perf_counter()
params = load(sys.argv[1]).params
seconds = time.perf_counter() - begin
loaded.set()
thread.join()
size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
peak = max(peak, anonymous())
print(json.dumps({"parameters_bytes": size, "peak_bytes": peak - start, "seconds": round(seconds, 1)}))
"""


@dataclass(frozen=True)
class Options:
    """Measure what loading a large checkpoint costs in memory."""

    width: int = 288
    """Channels of the first level, a multiple of 32; 288 make 575 million parameters, 128 the published 114 million."""


def main(options: Options) -> None:
    """Writes, loads and measures each type; saves."""
    config = described(options.width)
    rows: dict[str, Any] = {}
    for name, dtype in DTYPES.items():
        with tempfile.TemporaryDirectory() as folder:
            written = write(Path(folder), config, name, np.dtype(dtype))
            words = [sys.executable, "-c", WATCH, folder]
            row = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        rows[name] = {"file_bytes": written, **row, "ratio": round(row["peak_bytes"] / row["parameters_bytes"], 3)}
        print(f"{name}: {rows[name]}")
    print(f"saved {timing.save('loading', {'width': options.width, 'types': rows})}")


def described(width: int) -> dict[str, Any]:
    """Returns the configuration, as diffusers keeps it."""
    down, attend, up = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D"
    return {
        "_class_name": "UNet2DModel",
        "sample_size": 256,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": [width * mult for mult in (1, 1, 2, 2, 4, 4)],
        "down_block_types": [down, down, down, down, attend, down],
        "up_block_types": [up, "AttnUpBlock2D", up, up, up, up],
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    }


def write(folder: Path, config: dict[str, Any], name: str, dtype: np.dtype) -> int:
    """Writes a checkpoint of random weights tensor by tensor; returns the size of its file in bytes."""
    model, _ = diffusers.architecture(config, SCHEDULER)
    shapes, header, end = diffusers.tensor_shapes(model), {}, 0
    for tensor, shape in shapes.items():
        start, end = end, end + int(np.prod(shape)) * dtype.itemsize
        header[tensor] = {"dtype": name, "shape": list(shape), "data_offsets": [start, end]}
    for file, content in (("config.json", config), ("scheduler_config.json", SCHEDULER)):
        (folder / file).write_text(json.dumps(content))
    words, draws = json.dumps(header).encode(), np.random.default_rng(0)
    with (folder / diffusers.WEIGHTS[0]).open("wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        for shape in shapes.values():
            file.write(draws.standard_normal(shape, np.float32).astype(dtype).tobytes())
    return (folder / diffusers.WEIGHTS[0]).stat().st_size


if __name__ == "__main__":
    main(tyro.cli(Options))
