"""LPIPS in PyTorch: a network written here from torchvision's layers, and the package `lpips` itself, in float64."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from diffaudit_jax.models.lpips import Net, lpips
from diffaudit_jax.types import Params

LAYERS: dict[Net, list] = {
    "vgg": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512],
    "alex": [(64, 11, 4, 2), "M", (192, 5, 1, 2), "M", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)],
}
"""torchvision's `features` up to the last layer that LPIPS looks at."""
LOOKED_AT = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}


def written_here(net: Net):
    """Returns LPIPS of batches [n, 3, h, w], its convolutions, and its heads."""
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


def the_package(net: Net):
    """The same of the package `lpips`, 0.1.4."""
    import lpips as package  # needs torchvision too

    network = package.LPIPS(net=net, pnet_rand=True, use_dropout=False, verbose=False)
    slices = [getattr(network.net, f"slice{i}") for i in range(1, 6)]
    convs = [layer for part in slices for layer in part if isinstance(layer, torch.nn.Conv2d)]
    return lambda x, y: network(x, y).flatten(), convs, [head.model[0] for head in network.lins]


def distances(reference: Callable[[Net], Any], net: Net, params: Params, pairs: np.ndarray) -> np.ndarray:
    """Returns what a reference says of pairs [2, n, h, w, c] with our weights, float64 [n]."""
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
