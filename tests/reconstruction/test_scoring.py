"""Scores of many pairs against those of each pair alone, and how often a network is asked for them."""

import jax
import numpy as np
import pytest

from diffaudit_jax.models.lpips import STAGES, Lpips
from diffaudit_jax.reconstruction import scoring
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.reconstruction.scoring import Scorer
from tests.oracles import EPS32

SHAPE = (5, 4, 1)


def pictures(*lead, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).uniform(-1, 1, (*lead, *shape)).astype(np.float32)


def weighted(calls):
    """Is sum |w x - w y| + |sum x - sum y| of two layers, by weights that are told; passes are counted."""

    def features(params, x):
        assert isinstance(params["w"], jax.core.Tracer)  # no constant of the program
        jax.debug.callback(lambda _: calls.append(1), x)
        return {"rows": x[..., 0] * params["w"][:, None], "all": x.sum()}

    def between(params, u, v):
        return abs(u["rows"] - v["rows"]).sum() + abs(u["all"] - v["all"])

    return Perceptual({"w": np.arange(1, 6, dtype=np.float32)}, features, between)


def slow(x, y):
    x, y = np.float64(x)[..., 0], np.float64(y)[..., 0]
    return np.abs((x - y) * np.arange(1, 6)[:, None]).sum() + abs(x.sum() - y.sum())


# Of 20 pixels: three roundings of numbers up to 10 each, 20 of a sum up to 200, and 20 of two sums up to 20.
ATOL = (20 * 3 * 10 + 20 * 200 + 2 * 20 * 20) * EPS32


def blocks(n, size=8):
    """Rows that run for n of them, in blocks of 8."""
    return -(-n // size) * size


@pytest.mark.parametrize(
    ("n", "others", "passes"),
    [
        (5, 50, 8),  # fewer targets than a block
        (8, 50, 8),
        (11, 3, 16),  # a block and those it is set against are all
        (20, 3, 16 + 8 + 8),  # the block that comes next is ahead of all others
        (20, 12, 24),
        (31, 20, 32 + 8 + 8 + 8),  # one block is set against more than the next
    ],
)
def test_perceptual_distances_are_those_of_each_pair_at_one_pass_an_image(monkeypatch, n, others, passes):
    monkeypatch.setattr(scoring, "NUM_UNRELATED", others)
    calls, targets, found = [], pictures(n), pictures(2, 3, n, seed=1)
    scorer = Scorer(weighted(calls), block=8)
    got = scorer(found, targets)["lpips"]
    jax.effects_barrier()
    rows = [min(8, n - start) for start in range(0, n, 8)]
    assert len(calls) == 8 * len(rows) + sum(blocks(6 * row) for row in rows)
    np.testing.assert_allclose(got, [[[*map(slow, x, targets)] for x in row] for row in found], atol=ATOL)
    calls.clear()
    got = scorer.unrelated(targets)["lpips"]
    jax.effects_barrier()
    assert len(calls) == passes
    num = min(others, n - 1)
    want = [np.mean([slow(targets[(i + s) % n], targets[i]) for s in range(1, num + 1)]) for i in range(n)]
    np.testing.assert_allclose(got, want, atol=ATOL)


def test_lpips_of_many_is_lpips_of_each_pair():
    shape, widths = (28, 28, 1), iter(range(2, 9))
    lpips = Lpips("alex", tuple(s._replace(widths=(next(widths),)) for s in STAGES["alex"]))
    x, found = pictures(5, shape=shape), pictures(2, 5, seed=1, shape=shape)
    pairs = [(found[row, i], x[i]) for row in range(2) for i in range(5)]
    pairs += [(x[j], x[i]) for i in range(5) for j in range(5) if j != i]
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, jax.jit(lpips.init)(jax.random.key(0)))
        scorer = Scorer(Perceptual(params, lpips.features, lpips.between), block=8)
        want = np.asarray(
            jax.jit(jax.vmap(lpips.distance, (None, 0, 0)))(params, *map(np.stack, zip(*pairs, strict=True)))
        )
        scores, unrelated = scorer(found, x), scorer.unrelated(x)
    assert want.min() > 1e-3
    # In float64: some thousand roundings of 1e-16 a layer.
    np.testing.assert_allclose(scores["lpips"], want[:10].reshape(2, 5), rtol=1e-10)
    np.testing.assert_allclose(unrelated["lpips"], want[10:].reshape(5, 4).mean(axis=1), rtol=1e-10)
    assert set(scores) == set(unrelated) == {"mse", "psnr", "ssim", "ncc", "lpips"}
