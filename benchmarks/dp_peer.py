"""The private step of PyTorch + Opacus, on the network of benchmarks/peer.py: by hooks, and by ghost clipping."""

from collections.abc import Callable
from typing import Any

import numpy as np
import opacus  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from opacus.grad_sample import GradSampleModule  # pyright: ignore[reportMissingImports]
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (  # pyright: ignore[reportMissingImports]
    GradSampleModuleFastGradientClipping,
)
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping  # pyright: ignore[reportMissingImports]
from opacus.utils.fast_gradient_clipping_utils import (  # pyright: ignore[reportMissingImports]
    DPLossFastGradientClipping,
)

from benchmarks import peer

VERSION = opacus.__version__
CLIP, NOISE = 1, 1.0


def hooks(built: peer.Peer, x: np.ndarray, learning_rate: float) -> Callable[[], float]:
    """Makes a private step that writes down every example's gradient, by hooks on the layers."""
    module = GradSampleModule(peer.fresh(built))
    optimizer = DPOptimizer(_adamw(module, learning_rate), **_settings(len(x)))
    return _step(built, x, module, optimizer, torch.nn.functional.mse_loss)


def ghost(built: peer.Peer, x: np.ndarray, learning_rate: float) -> Callable[[], float]:
    """Makes a private step that finds the norms first and goes backward again, writing no example's gradient down."""
    module = GradSampleModuleFastGradientClipping(peer.fresh(built), max_grad_norm=CLIP, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(_adamw(module, learning_rate), **_settings(len(x)))
    loss = DPLossFastGradientClipping(module, optimizer, ExampleLoss())
    return _step(built, x, module, optimizer, loss)


class ExampleLoss:
    """The mean squared error of each example, as ghost clipping weighs them one by one."""

    reduction = "mean"

    def __call__(self, out: Any, eps: Any) -> Any:
        """Returns the loss of each example, [n]."""
        return torch.nn.functional.mse_loss(out, eps, reduction="none").mean((1, 2, 3))


def _settings(num: int) -> dict[str, Any]:
    return {"noise_multiplier": NOISE, "max_grad_norm": CLIP, "expected_batch_size": num}


def _adamw(module: Any, learning_rate: float) -> Any:
    return torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.0)


def _step(built: peer.Peer, x: np.ndarray, module: Any, optimizer: Any, loss_of: Any) -> Callable[[], float]:
    images, (alpha, sigma) = peer.channels_last(x), built.alphas
    parameters = list(module.parameters())
    average = [parameter.detach().clone() for parameter in parameters]

    def run() -> float:
        steps = torch.randint(0, 1000, (len(images),))
        eps = torch.randn_like(images)
        xt = alpha[steps].view(-1, 1, 1, 1) * images + sigma[steps].view(-1, 1, 1, 1) * eps
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(module(xt, steps).sample, eps)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.001)
        return float(loss.item())

    return run
