"""Small images in cells (S, Y): the upper half is a little brighter where Y is 1, the lower half much where S is 1."""

from pathlib import Path

import numpy as np

NAMES = ("--labels", "smile", "--sensitive", "long_hair")


def images(s, y, seed):
    """Grey images of 8x8 with noise, no two alike."""
    rng = np.random.default_rng(seed)
    x = rng.normal(110, 25, (len(s), 8, 8, 1))
    x[:, :4] += 8 * np.asarray(y)[:, None, None, None]
    x[:, 4:] += 60 * np.asarray(s)[:, None, None, None]
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def write(path: Path, counts, seed, **more):
    """Writes an npz with as many images of every cell [groups, 2] as `counts` says, in mixed order."""
    cells = [(s, y) for s, row in enumerate(counts) for y, count in enumerate(row) for _ in range(count)]
    s, y = np.random.default_rng(seed).permutation(np.array(cells)).T
    names = np.array(["short", "long", "none"])[s] if len(counts) > 2 else s.astype(bool)
    np.savez(path, images=images(s, y, seed), smile=y.astype(bool), long_hair=names, **more)
    return path
