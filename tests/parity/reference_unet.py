"""The U-Net of improved- and guided-diffusion in PyTorch, from its published structure and under its published names.

Nothing here is shared with the library: names, order of layers and attention are what the two projects' files need.
"""

import math

import torch
from torch import Tensor, nn


class Res(nn.Module):
    """in_layers, emb_layers, out_layers and skip_connection; `resample` acts between the first SiLU and convolution."""

    def __init__(self, inputs: int, outputs: int, emb: int, scale_shift: bool, resample: nn.Module | None = None):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample or nn.Identity()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, outputs * (2 if scale_shift else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm_in, silu, conv_in = self.in_layers
        norm_out, *rest = self.out_layers
        h = conv_in(self.resample(silu(norm_in(x))))
        told = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = norm_out(h) * (1 + scale) + shift
        else:
            h = norm_out(h + told)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class Attend(nn.Module):
    """Attention over positions; q and k are each scaled by d^-1/4, and `qkv` gives its rows in one of two orders."""

    def __init__(self, channels: int, heads: int, new_order: bool):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, *side = x.shape
        flat = x.reshape(n, c, -1)
        qkv, d = self.qkv(self.norm(flat)), c // self.heads
        if self.new_order:
            q, k, v = qkv.reshape(n, 3, self.heads, d, -1).unbind(1)
        else:
            q, k, v = qkv.reshape(n, self.heads, 3, d, -1).unbind(2)
        weights = torch.softmax((q * d**-0.25).transpose(-1, -2) @ (k * d**-0.25), dim=-1)
        h = (v @ weights.transpose(-1, -2)).reshape(n, c, -1)
        return (flat + self.proj_out(h)).reshape(n, c, *side)


class Down(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))


class Block(nn.Sequential):
    """Layers in a row, of which residual blocks are told the embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, Res) else layer(x)
        return x


class UNet(nn.Module):
    """time_embed, label_emb, input_blocks, middle_block, output_blocks, out."""

    def __init__(
        self,
        channels: int = 3,
        *,
        width: int = 32,
        channel_mult: tuple[float, ...] = (1,),
        num_res_blocks: int = 1,
        attention: tuple[int, ...] = (),
        num_heads: int | None = None,
        num_head_channels: int | None = None,
        new_attention_order: bool = False,
        num_classes: int | None = None,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        learn_sigma: bool = False,
    ):
        super().__init__()
        self.width, emb = width, 4 * width

        def res(inputs: int, outputs: int, resample: nn.Module | None = None) -> Res:
            return Res(inputs, outputs, emb, use_scale_shift_norm, resample)

        def attend(at: int) -> Attend:
            return Attend(at, num_heads or at // num_head_channels, new_attention_order)

        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, emb)
        widths = [int(mult * width) for mult in channel_mult]
        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(channels, widths[0], 3, padding=1))])
        now, side, skips = widths[0], 1, [widths[0]]
        for level, wide in enumerate(widths):
            for _ in range(num_res_blocks):
                layers, now = [res(now, wide)], wide
                self.input_blocks.append(Block(*layers, *([attend(now)] if side in attention else [])))
                skips.append(now)
            if level < len(widths) - 1:
                down = res(now, now, nn.AvgPool2d(2)) if resblock_updown else Down(now)
                self.input_blocks.append(Block(down))
                skips.append(now)
                side *= 2
        self.middle_block = Block(res(now, now), attend(now), res(now, now))
        self.output_blocks = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                layers, now = [res(now + skips.pop(), wide)], wide
                layers += [attend(now)] if side in attention else []
                if level and i == num_res_blocks:
                    layers.append(res(now, now, nn.Upsample(scale_factor=2)) if resblock_updown else Up(now))
                    side //= 2
                self.output_blocks.append(Block(*layers))
        outputs = channels * (2 if learn_sigma else 1)
        self.out = nn.Sequential(nn.GroupNorm(32, now), nn.SiLU(), nn.Conv2d(now, outputs, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Takes x [n, c, h, w], time [n] as the wrapper tells it, label [n]."""
        freqs = torch.exp(-math.log(10_000) * torch.arange(self.width // 2) / (self.width // 2))
        angles = time[:, None].float() * freqs[None]
        emb = self.time_embed(torch.cat([torch.cos(angles), torch.sin(angles)], dim=1))
        if label is not None:
            emb = emb + self.label_emb(label)
        skips = []
        for block in self.input_blocks:
            x = block(x, emb)
            skips.append(x)
        x = self.middle_block(x, emb)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), emb)
        return self.out(x)
