"""Writes the fixtures of `test_guided`: ``python -m tests.parity.make_guided_fixtures``, with PyTorch.

A npz per case holds the reference's tensor names, their shapes, and its answers; weights and inputs are formulas.
guided.pt is one whole checkpoint as PyTorch saves it, small because its tensors are windows of one row of numbers.
"""

import json

import numpy as np
import torch

from tests.parity.guided_cases import CASES, FIXTURES, images, labels, state
from tests.parity.reference_unet import UNet

ROW = 24_000  # numbers, a little more than the largest tensor of the model in guided.pt


def answers(model: UNet, case: str) -> np.ndarray:
    """The reference's answers [steps, n, h, w, out]."""
    x = torch.from_numpy(images(case)).permute(0, 3, 1, 2)
    label = None if labels(case) is None else torch.from_numpy(labels(case))
    with torch.no_grad():
        times = [torch.full((len(x),), CASES[case].told(step)) for step in CASES[case].steps]
        return np.stack([model(x, time, label).permute(0, 2, 3, 1).numpy() for time in times])


def with_formula(case: str) -> UNet:
    """The reference with the formula's weights."""
    model = UNet(**CASES[case].network).eval()
    weights = state({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    return model


def windows(model: UNet) -> dict[str, torch.Tensor]:
    """Weights that all lie in one storage, each at an offset of its own."""
    row = torch.from_numpy(state({"row": (1, ROW)})["row"])[0] * (ROW**0.5 / 15)
    found = {}
    for i, (name, tensor) in enumerate(model.state_dict().items()):
        start = 97 * i % (ROW - tensor.numel())
        found[name] = row[start : start + tensor.numel()].view(tensor.shape)
    return found


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    for case in CASES:
        model = with_formula(case)
        shapes = json.dumps({name: list(tensor.shape) for name, tensor in model.state_dict().items()})
        path = FIXTURES / f"guided_{case.replace(' ', '_')}.npz"
        np.savez_compressed(path, shapes=np.array(shapes), answers=answers(model, case))
    case = "new order"
    model = UNet(**CASES[case].network).eval()
    saved = windows(model)
    torch.save(saved, FIXTURES / "guided.pt")
    model.load_state_dict(saved)
    np.save(FIXTURES / "guided.npy", answers(model, case))


if __name__ == "__main__":
    main()
