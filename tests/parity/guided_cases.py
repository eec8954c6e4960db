"""Small models of improved- and guided-diffusion, with weights that are a formula, so that fixtures hold answers only.

A case is a network (as `reference_unet.UNet` takes it) and how it was trained (as `importers.guided.load` takes it).
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE, CHANNELS, IMAGES = 8, 3, 2
FIXTURES = Path(__file__).parent / "fixtures"


class Case(NamedTuple):
    """The network, the flags that its file does not tell, and the 0-based steps it is asked at."""

    network: Mapping[str, Any]
    flags: Mapping[str, Any]
    steps: tuple[int, ...] = (0, 333, 999)

    def told(self, step: int) -> float:
        """What the published wrappers tell the network at this step."""
        return step * (1000 / self.flags.get("num_steps", 1000)) if self.flags.get("rescale_timesteps") else step


CASES = {
    "plain": Case({"channel_mult": (1, 1, 2), "num_heads": 1}, {"num_heads": 1}),
    "improved": Case(
        {
            "channel_mult": (1, 2),
            "attention": (2,),
            "num_heads": 4,
            "num_classes": 10,
            "use_scale_shift_norm": True,
            "learn_sigma": True,
        },
        {"num_heads": 4, "schedule": "cosine", "num_steps": 4000, "rescale_timesteps": True},
        (0, 1234, 3999),
    ),
    "guided": Case(
        {
            "channel_mult": (1, 2),
            "attention": (2,),
            "num_head_channels": 16,
            "use_scale_shift_norm": True,
            "resblock_updown": True,
            "learn_sigma": True,
        },
        {"num_head_channels": 16, "num_steps": 250, "rescale_timesteps": False},
        (0, 17, 249),
    ),
    "new order": Case(
        {
            "channel_mult": (1,),
            "attention": (1,),
            "num_head_channels": 8,
            "new_attention_order": True,
            "num_classes": 3,
            "use_scale_shift_norm": True,  # at one channel a group, the norm takes an added embedding out again
        },
        {"num_head_channels": 8, "new_attention_order": True},
    ),
    "narrow": Case({"width": 64, "channel_mult": (0.5, 1), "num_heads": 1, "learn_sigma": True}, {"num_heads": 1}),
    "deep": Case(
        {"channel_mult": (1, 2), "num_res_blocks": 2, "attention": (1,), "num_heads": 2, "resblock_updown": True},
        {"num_heads": 2, "predict_xstart": True},
    ),
}


def state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of every tensor: numbers that depend on (name, index) alone, on any machine; none is 0 or 1."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def images(case: str) -> np.ndarray:
    """Inputs [n, h, w, c] of about unit variance."""
    return (np.float32(np.sqrt(3)) * _uniform(f"images of {case}", IMAGES * SIDE**2 * CHANNELS)).reshape(
        -1, SIDE, SIDE, CHANNELS
    )


def labels(case: str) -> np.ndarray | None:
    """Classes [n], the last one among them; None for an unconditional model."""
    classes = CASES[case].network.get("num_classes")
    return None if classes is None else np.array([1, classes - 1])


def fixture(case: str) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """The shapes of the reference's tensors, and its answers [steps, n, h, w, out]."""
    with np.load(FIXTURES / f"guided_{case.replace(' ', '_')}.npz") as stored:
        return json.loads(str(stored["shapes"])), stored["answers"]


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Writes float32 or float16 arrays as safetensors."""
    header, offset = {}, 0
    for name, array in tensors.items():
        kind = {"float32": "F32", "float16": "F16"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in tensors.values()))
    return path


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    u = _uniform(name, math.prod(shape)).reshape(shape)
    if name.endswith("bias"):
        return 0.3 * u
    # Matrices and kernels keep the variance of what they are given; norms scale by something near 1.
    return 1 + 0.3 * u if len(shape) == 1 else u * np.float32(np.sqrt(3 / math.prod(shape[1:])))


def _uniform(name: str, size: int) -> np.ndarray:
    """Hashes (name, index) to float32 in [-1, 1), by the mixing function of splitmix64."""
    x = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(zlib.crc32(name.encode()))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)
