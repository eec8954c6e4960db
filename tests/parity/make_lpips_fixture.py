"""Writes the fixture of `test_lpips`: ``python -m tests.parity.make_lpips_fixture``, with PyTorch and `lpips` 0.1.4."""

import json

from tests.parity.lpips_cases import CASES, FIXTURE, SHAPES, pairs, weights
from tests.parity.reference_lpips import distances, the_package


def main() -> None:
    found = {net: {} for net, _ in CASES}
    for net, name in CASES:
        found[net][name] = distances(the_package, net, weights(net), pairs(SHAPES[name])).tolist()
    FIXTURE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
