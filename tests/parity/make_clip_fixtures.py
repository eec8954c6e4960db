"""Writes the committed CLIP and its answers: `python -m tests.parity.make_clip_fixtures`, with torch, transformers."""

from pathlib import Path

import numpy as np

from tests.parity import reference_clip as reference
from tests.parity.clip_cases import CASES

FIXTURES = Path(__file__).parent / "fixtures" / "clip"


def main() -> None:
    theirs, case = reference.tokenizer(), CASES["quick"]
    model = reference.save(reference.build(case, theirs), case, theirs, FIXTURES)
    (FIXTURES / "tokenizer_config.json").unlink()  # not read
    # 77x55 and 20x25: one to be reduced, one to be enlarged, neither square.
    photos = [np.random.default_rng(1).integers(64, 192, shape, np.uint8) for shape in ((77, 55, 3), (20, 25, 3))]
    found = {name: value for i, photo in enumerate(photos) for name, value in _photo(i, photo).items()}
    np.savez_compressed(FIXTURES / "answers.npz", **reference.answers(model, theirs), **found)


def _photo(i: int, photo: np.ndarray) -> dict[str, np.ndarray]:
    return {f"photo{i}": photo, f"pixels{i}": reference.processed(photo)}


if __name__ == "__main__":
    main()
