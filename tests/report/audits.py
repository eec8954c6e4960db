"""Five small audits, one for each verdict, with names that try to break out of the page."""

from typing import Any

import numpy as np

from diffaudit_jax.report import Trajectory

HOSTILE = "<script>alert('1')</script> & $\\alpha_{$ \N{SNOWMAN}"
SIZES = {
    "detected": (40, 1000),
    "split-leaks": (60, 60),
    "wrong-way": (40, 60),
    "too-small": (12, 12),
    "not-detected": (60, 400),
}


def audit(level: str) -> dict[str, Any]:
    """Arguments of `membership_report` for an audit that ends in `level`."""
    rng = np.random.default_rng(3)
    m, n = SIZES[level]
    member = np.arange(m + n) < m
    gap = {"detected": 3.0, "split-leaks": 1.5, "wrong-way": -2.0}.get(level, 0.0) * member
    times = np.linspace(0.1, 1.0, 5)
    images = rng.integers(0, 200, (m + n, 6, 6, 1)).astype(np.uint8)
    if level == "split-leaks":
        images[member] += 50
    return {
        "scores": {HOSTILE: rng.normal(size=m + n) + gap, "weak": rng.normal(size=m + n) + gap / 3},
        "member": member,
        "images": images,
        "trajectory": Trajectory(times, {"eps": np.exp(rng.normal(size=(m + n, 5)) - gap[:, None] * times)}),
        "attacks": {HOSTILE: {"access": "grey box", "paper": "https://arxiv.org/abs/2302.07801", "calls": 50}},
        "provenance": {"data": {"name": HOSTILE, "hashes": ["9f86d0", "81884c"]}, "seeds": {"audit": 0}},
        "title": f"Audit of {HOSTILE}",
    }
