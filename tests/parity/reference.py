"""The same models in PyTorch, as diffusers builds them: what they answer, in this library's terms."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import diffusers
    import safetensors.torch

from tests.parity.cases import Case

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def build(config: dict[str, Any], seed: int = 0) -> Any:
    """A UNet2DModel none of whose parameters is 0 or 1, so that each of them shows in the answer."""
    torch.manual_seed(seed)
    model = diffusers.UNet2DModel.from_config(config).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter += 0.1 * torch.randn(parameter.shape)
    return model


def scheduler(config: dict[str, Any]) -> Any:
    if config["_class_name"] == "ScoreSdeVpScheduler":
        # Not from the package, which offers it only where transformers is installed.
        from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler

        return ScoreSdeVpScheduler.from_config(config)
    return getattr(diffusers, config["_class_name"]).from_config(config)


def save(model: Any, case: Case, folder: Path) -> Any:
    """Writes the model as its case says, and returns it with the weights as they were saved."""
    folder.mkdir(parents=True, exist_ok=True)
    if case.weights in TYPES:
        model = model.to(TYPES[case.weights])
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if case.weights == "bin-old":
        state = {_old(name): tensor for name, tensor in state.items()}
    if case.weights == "sharded":
        model.save_pretrained(folder, max_shard_size="50KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    elif case.weights.startswith("bin"):
        torch.save(state, folder / "diffusion_pytorch_model.bin")
    else:
        safetensors.torch.save_file(state, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(case.config, indent=1) + "\n")
    (folder / "scheduler_config.json").write_text(json.dumps(case.scheduler, indent=1) + "\n")
    return model.float()


def _old(name: str) -> str:
    for new, old in OLD.items():
        name = name.replace(f".{new}.", f".{old}.")
    return name


def answers(model: Any, case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Noised images in this library's range, times in its unit, and the noise that the model sees in them.

    Returns:
      xt [n, h, w, c], t [n], label [n], eps (or x0, if that is what the model predicts) [n, h, w, c], and with a
      learned variance v [n, h, w, c].
    """
    rng, kind = np.random.default_rng(seed), case.scheduler["_class_name"]
    t = np.array([0.001, 0.01, 0.25, 0.5, 1.0])
    size = np.broadcast_to(case.config["sample_size"], 2)
    xt = rng.normal(size=(len(t), *size, model.config.in_channels))
    label = rng.integers(0, model.config.num_class_embeds or 1, len(t))
    times = scheduler(case.scheduler)
    if kind == "ScoreSdeVeScheduler":
        level = times.config.sigma_min * (times.config.sigma_max / times.config.sigma_min) ** t
        xt = xt * np.maximum(1, 2 * level)[:, None, None, None]
        out = _call(model, (xt + 1) / 2, level, label)  # the pipeline's images are in [0, 1]
        return {"xt": xt, "t": t, "label": label, "eps": -level[:, None, None, None] * out}
    if kind == "ScoreSdeVpScheduler":
        return {"xt": xt, "t": t, "label": label, "eps": _call(model, xt, 999 * t, label)}
    step = np.round(1000 * t).astype(int) - 1
    out = _call(model, xt, step, label)
    abar = times.alphas_cumprod.double().numpy()[step][:, None, None, None]
    found = {"xt": xt, "t": t, "label": label}
    if out.shape[-1] > xt.shape[-1]:
        out, found["v"] = np.split(out, 2, axis=-1)
    match times.config.prediction_type:
        case "epsilon":
            return {**found, "eps": out}
        case "sample":
            return {**found, "x0": out}
    return {**found, "eps": np.sqrt(abar) * out + np.sqrt(1 - abar) * xt}


@torch.no_grad()
def _call(model: Any, x: np.ndarray, told: np.ndarray, label: np.ndarray) -> np.ndarray:
    images = torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)
    times = torch.tensor(told, dtype=torch.long if told.dtype.kind == "i" else torch.float32)
    classes = torch.tensor(label) if model.config.num_class_embeds else None
    return model(images, times, classes).sample.permute(0, 2, 3, 1).double().numpy()


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model, none of which is made."""
    with torch.device("meta"):
        model = diffusers.UNet2DModel.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def abar(config: dict[str, Any]) -> np.ndarray:
    """The table of cumulative products, float32 [T]."""
    return diffusers.DDPMScheduler(**config).alphas_cumprod.numpy()


@torch.no_grad()
def ddim(model: Any, clip: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """50 steps of DDIM on a linear schedule, with a model, or with random answers if there is none.

    Returns:
      step [50], xt [51, h, w, c], eps [50, h, w, c] and the scheduler's table abar [T].
    """
    torch.manual_seed(seed)
    times = diffusers.DDIMScheduler(clip_sample=clip)
    times.set_timesteps(50)
    side = model.config.sample_size if model else 4
    x, found = torch.randn(1, 3, side, side), {"xt": [], "eps": []}
    for step in times.timesteps:
        eps = model(x, step).sample if model else torch.randn(x.shape)
        found["xt"].append(x)
        found["eps"].append(eps)
        # With the noise derived from the clipped x0, as this library does; diffusers' default keeps the model's.
        x = times.step(eps, int(step), x, use_clipped_model_output=True).prev_sample
    found["xt"].append(x)
    rows = {name: torch.cat(parts).permute(0, 2, 3, 1).numpy() for name, parts in found.items()}
    return {**rows, "step": times.timesteps.numpy(), "abar": times.alphas_cumprod.numpy()}
