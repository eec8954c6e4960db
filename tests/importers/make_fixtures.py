"""Writes tests/importers/fixtures with real PyTorch, which the tests themselves do not need.

    python tests/importers/make_fixtures.py

Every array is `values(shape)` in some dtype, so that the tests can state what each file holds.
"""

from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "fixtures"


def values(*shape: int) -> torch.Tensor:
    """Returns 0, 1/2, 1, ... in C order: exact in every floating dtype, and whole when doubled."""
    return (torch.arange(torch.Size(shape).numel()) / 2).reshape(shape)


def state(dtype: torch.dtype) -> dict:
    """Returns tensors that share, skip and turn their storage."""
    base = values(4, 6).to(dtype)
    return {
        "base": base,
        "shared": base,
        "part": base[1:3, 2:],
        "turned": base.t(),
        "every other": base[::2, ::3],
        "parameter": torch.nn.Parameter(values(3).to(dtype)),
        "scalar": values(2)[1].to(dtype),
        "empty": torch.zeros(0, 3, dtype=dtype),
        "step": 7,
        "note": "not a tensor",
        "nothing": None,
        "kind": dtype,
        "size": base.shape,
    }


def network() -> torch.nn.Module:
    """Returns a module whose state_dict carries `_metadata`, an int64 buffer and nested names."""
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(values(*tensor.shape).to(tensor.dtype))
    return module


def training() -> dict:
    """Returns a whole checkpoint of a training: the network, an average, the optimizer and a counter."""
    module = network()
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2, 5, 5)).sum().backward()
    optimizer.step()
    return {
        "step": 12,
        "model": network().state_dict(),
        "ema": {"decay": 0.5, "shadow_params": [values(2, 2), values(3)]},
        "optimizer": optimizer.state_dict(),
    }


DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
INTEGERS = (torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, dtype in DTYPES.items():
        torch.save(state(dtype), FOLDER / f"zip_{name}.pt")
        torch.save(state(dtype), FOLDER / f"legacy_{name}.pt", _use_new_zipfile_serialization=False)
    for name, options in {
        "zip": {},
        "zip_protocol4": {"pickle_protocol": 4},
        "legacy": {"_use_new_zipfile_serialization": False},
        "legacy_protocol4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
    }.items():
        torch.save(network().state_dict(), FOLDER / f"{name}_network.pt", **options)
        others = {str(dtype).removeprefix("torch."): (2 * values(2, 2)).to(dtype) for dtype in INTEGERS}
        torch.save(others, FOLDER / f"{name}_dtypes.pt", **options)
    torch.save(training(), FOLDER / "zip_training.pt")
    torch.save(network(), FOLDER / "zip_module.pt")


if __name__ == "__main__":
    main()
