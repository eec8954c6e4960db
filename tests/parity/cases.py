"""Models of every kind that the importer reads, as diffusers' own configurations, small enough for a test.

A case is a model's configuration, its scheduler's, and how its weights are saved.
"""

from typing import Any, NamedTuple

SMALL = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": None,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
}
ATTENDING = {
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
RESIDUAL = {
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "block_out_channels": [8, 16, 16],
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attention_head_dim": 4,
}
SKIP = {
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"],
    "up_block_types": ["SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"],
    "block_out_channels": [32, 32, 32],
    "norm_num_groups": None,
    "norm_eps": 1e-6,
    "mid_block_scale_factor": 1.41421356237,
    "time_embedding_type": "fourier",
}
DDPM = {"_class_name": "DDPMScheduler", "beta_schedule": "linear"}
VE = {"_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.01, "sigma_max": 1348.0}


class Case(NamedTuple):
    config: dict[str, Any]
    scheduler: dict[str, Any]
    weights: str = "float32"  # or float16, bfloat16: safetensors of that type; bin, bin-old, sharded: float32


CASES = {
    "ddpm": Case(
        # google/ddpm-cifar10-32 at a sixteenth of its width, and one block a level
        {
            **SMALL,
            "block_out_channels": [8, 16, 16, 16],
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
        },
        {**DDPM, "variance_type": "fixed_large"},
        "bin-old",
    ),
    "guided": Case(
        {**SMALL, **RESIDUAL, "out_channels": 6, "num_class_embeds": 5},
        {**DDPM, "beta_schedule": "squaredcos_cap_v2", "variance_type": "learned_range"},
        "bfloat16",
    ),
    "ncsnpp": Case(
        {
            **SMALL,
            **SKIP,
            "down_block_types": ["SkipDownBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D"],
            "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
            "block_out_channels": [8, 32, 32],
        },
        VE,
        "float16",
    ),
    "v-prediction": Case(
        {**SMALL, **ATTENDING, "sample_size": [8, 16], "in_channels": 1, "out_channels": 1},
        {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"},
    ),
    "plain": Case({**SMALL, "block_out_channels": [12, 20], "add_attention": False}, DDPM, "bin"),
    "sample": Case(
        {**SMALL, "attn_norm_num_groups": 2, "center_input_sample": True, "flip_sin_to_cos": False},
        {**DDPM, "prediction_type": "sample"},
    ),
    "heads": Case(
        {**SMALL, **RESIDUAL, "resnet_time_scale_shift": "default", "freq_shift": 1},
        {"_class_name": "PNDMScheduler"},
        "sharded",
    ),
    "mid-groups": Case({**SMALL, **RESIDUAL, "attn_norm_num_groups": 8}, DDPM),
    "vp": Case({**SMALL, **ATTENDING}, {"_class_name": "ScoreSdeVpScheduler"}),
    "fourier": Case({**SMALL, **ATTENDING, "time_embedding_type": "fourier"}, VE),
    "skip-ddpm": Case(
        {
            **SMALL,
            **SKIP,
            "time_embedding_type": "positional",
            "block_out_channels": [64, 32, 64],
            "down_block_types": ["SkipDownBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D"],
            "mid_block_scale_factor": 1,
            "attention_head_dim": 16,
            "resnet_time_scale_shift": "scale_shift",
            "num_class_embeds": 3,
            "norm_num_groups": 8,
        },
        DDPM,
    ),
    "skip-middle": Case({**SMALL, **SKIP}, VE),
    "skip-centered": Case({**SMALL, **SKIP, "center_input_sample": True, "block_out_channels": [32, 32, 64]}, VE),
}

GOOGLE_DDPM = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
PUBLISHED = {
    "google/ddpm-cifar10-32": Case(GOOGLE_DDPM, DDPM),
    "google/ddpm-celebahq-256": Case(
        {
            **GOOGLE_DDPM,
            "sample_size": 256,
            "block_out_channels": [128, 128, 256, 256, 512, 512],
            "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
        },
        DDPM,
    ),
    "google/ncsnpp-celebahq-256": Case(
        {
            **GOOGLE_DDPM,
            "sample_size": 256,
            "block_out_channels": [128, 128, 256, 256, 256, 256, 256],
            "down_block_types": [*["SkipDownBlock2D"] * 4, "AttnSkipDownBlock2D", *["SkipDownBlock2D"] * 2],
            "downsample_padding": 1,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "mid_block_scale_factor": 1.41421356237,
            "norm_num_groups": None,
            "time_embedding_type": "fourier",
            "up_block_types": [*["SkipUpBlock2D"] * 2, "AttnSkipUpBlock2D", *["SkipUpBlock2D"] * 4],
        },
        VE,
    ),
}
PARAMETERS = {
    "google/ddpm-cifar10-32": 35_746_307,
    "google/ddpm-celebahq-256": 113_673_219,
    "google/ncsnpp-celebahq-256": 65_574_549,
}
"""What PyTorch counts."""


def narrowed(name: str) -> Case:
    """A published model with narrower levels, on the smallest images that its levels divide."""
    config, scheduler, _ = PUBLISHED[name]
    by, groups = (4, None) if config["norm_num_groups"] is None else (16, 4)
    widths = [width // by for width in config["block_out_channels"]]
    changes = {"block_out_channels": widths, "norm_num_groups": groups, "sample_size": 2 ** (len(widths) - 1)}
    return Case({**config, **changes}, scheduler)


SCHEDULES = {
    "linear": {"num_train_timesteps": 1000},
    "linear-50": {"num_train_timesteps": 50, "beta_start": 0.001, "beta_end": 0.2},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "trained": {"trained_betas": [0.01, 0.02, 0.05, 0.1, 0.3], "num_train_timesteps": 5},
}
