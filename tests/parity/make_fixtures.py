"""Makes the fixtures of this folder with PyTorch and diffusers: python -m tests.parity.make_fixtures."""

from pathlib import Path

import numpy as np

from tests.parity import reference
from tests.parity.cases import CASES, SCHEDULES

FIXTURES = Path(__file__).parent / "fixtures" / "diffusers"
COMMITTED = ("ddpm", "guided", "ncsnpp", "v-prediction")


def main() -> None:
    for name in COMMITTED:
        model = reference.save(reference.build(CASES[name].config), CASES[name], FIXTURES / name)
        _save(f"{name}/answers", {key: np.float32(rows) for key, rows in reference.answers(model, CASES[name]).items()})
        if name == "ddpm":
            _save("ddim-model", reference.ddim(model, clip=True))
    for clip in (False, True):
        _save(f"ddim-{'clipped' if clip else 'free'}", reference.ddim(None, clip))
    _save("abar", {name: reference.abar(options) for name, options in SCHEDULES.items()})


def _save(name: str, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(FIXTURES / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
