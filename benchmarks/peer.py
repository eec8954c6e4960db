"""The same U-Net with the same weights in PyTorch + diffusers: what a race needs of the other side.

Both sides do the same work: AdamW with clipping by global norm and averaged weights, the same batch, eps-MSE at random
times. PyTorch runs in channels_last, eager and compiled; whichever is faster is the peer.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers  # pyright: ignore[reportMissingImports]
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from diffaudit_jax.importers import Imported
from diffaudit_jax.importers import diffusers as importer

CONFIG = {
    "sample_size": 32,
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 64,
}


@dataclass(frozen=True)
class Peer:
    """A network in PyTorch, and the same one imported.

    Attributes:
      module: The PyTorch network.
      imported: The same weights here.
      alphas: sqrt of abar at each step, then sqrt(1 - abar), both [T].
    """

    module: Any
    imported: Imported
    alphas: tuple[torch.Tensor, torch.Tensor]


def build(width: int, side: int = 32) -> Peer:
    """Makes a random network for images of a side, none of whose layers is zero, and imports it."""
    torch.manual_seed(0)
    widths, groups = (width, 2 * width), width // 4
    network: Any = diffusers.UNet2DModel
    module = network(block_out_channels=widths, norm_num_groups=groups, **{**CONFIG, "sample_size": side})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        scheduler.save_pretrained(folder)
        imported = importer.load(folder)
    abar = scheduler.alphas_cumprod
    return Peer(module.to(memory_format=torch.channels_last), imported, (abar.sqrt(), (1 - abar).sqrt()))


def compiled(module: Any) -> Any:
    """Returns the network compiled, fixed shapes."""
    return torch.compile(module, mode="max-autotune-no-cudagraphs", dynamic=False)


def forward(module: Any, x: np.ndarray, step: int) -> Callable[[], np.ndarray]:
    """Makes one forward pass over a batch [n, h, w, c] at one step; returns [n, h, w, c]."""
    images = channels_last(x)
    steps = torch.full((len(x),), step)

    def run() -> np.ndarray:
        with torch.no_grad():
            return module(images, steps).sample.permute(0, 2, 3, 1).numpy()

    return run


def training(module: Any, peer: Peer, x: np.ndarray, learning_rate: float) -> Callable[[], float]:
    """Makes one training step on a batch: AdamW, gradients clipped to norm 1, averaged weights."""
    images, (alpha, sigma) = channels_last(x), peer.alphas
    parameters = list(module.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)

    def run() -> float:
        steps = torch.randint(0, 1000, (len(images),))
        eps = torch.randn_like(images)
        xt = alpha[steps].view(-1, 1, 1, 1) * images + sigma[steps].view(-1, 1, 1, 1) * eps
        loss = torch.nn.functional.mse_loss(module(xt, steps).sample, eps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.001)
        return float(loss)

    return run


def trajectory(
    module: Any, peer: Peer, images: np.ndarray, steps: np.ndarray, batch: int
) -> Callable[[], list[np.ndarray]]:
    """Makes the loss trajectory of uint8 images over a grid of 0-based steps, a batch at a time."""
    alpha, sigma = peer.alphas
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((len(steps), *channels_last(images[:1]).shape[1:]), generator=generator)

    def run() -> list[np.ndarray]:
        blocks = []
        with torch.no_grad():
            for start in range(0, len(images), batch):
                x = channels_last(images[start : start + batch].astype(np.float32) / 127.5 - 1)
                losses = []
                for i, step in enumerate(steps):
                    eps = noise[i].expand_as(x)
                    out = module(alpha[step] * x + sigma[step] * eps, torch.full((len(x),), int(step))).sample
                    losses.append(((out - eps) ** 2).mean((1, 2, 3)))
                blocks.append(torch.stack(losses, 1).numpy())
        return blocks

    return run


def fresh(peer: Peer) -> Any:
    """Returns a copy of the network that may be trained."""
    return copy.deepcopy(peer.module)


def channels_last(x: np.ndarray) -> torch.Tensor:
    """Returns images [n, h, w, c] as PyTorch has them, in the same order in memory."""
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
