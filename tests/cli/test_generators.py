"""--model vae and gan: trained, sampled and audited with the same commands, and refused what they cannot answer."""

import json

import numpy as np
import pytest

from .conftest import scores

DATA = ("--data", "fashion-mnist-2k", "--members", "12", "--nonmembers", "24")
SMALL = ("--channels", "4", "--batch", "4", "--warmup", "1", "--steps", "1")
MODELS = {
    "vae": (*DATA, *SMALL, "--model", "vae", "--mults", "1"),
    "gan": (*DATA, *SMALL, "--model", "gan", "--patch", "7", "--critic-steps", "1", "--class-conditional"),
}
BLACK = ("--access", "black", "--attack", "nearest", "--bank", "6", "--block", "36")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A VAE and a GAN of one step; not to be written to."""
    from diffaudit_jax.cli import main

    out = tmp_path_factory.mktemp("generators")
    for name, words in MODELS.items():
        main(["train", *words, "--out", str(out / name)])
    return out


def specs(directory):
    document = json.loads((directory / "report.json").read_text())
    return document["provenance"], {attack["name"]: attack["spec"] for attack in document["attacks"]}


@pytest.mark.parametrize("name", MODELS)
def test_a_generator_is_sampled_and_audited_by_its_samples(diffaudit, refused, run, tmp_path, name):
    assert diffaudit("sample", run / name, "--out", tmp_path / "drawn", "--num", 6).code == 0
    with np.load(tmp_path / "drawn" / "samples.npz") as arrays:
        assert arrays["images"].shape == (6, 28, 28, 1)
        assert ("labels" in arrays) == (name == "gan")
    assert refused("sample", run / name, "--out", tmp_path / "x", "--steps", 3).endswith(
        "draws in one step: leave --sampler, --steps and --guidance out."
    )
    assert diffaudit("audit", run / name, "--out", tmp_path / "audit", *BLACK).code == 0
    provenance, found = specs(tmp_path / "audit")
    assert provenance["bank"] == {"images": 6}
    assert provenance["model"]["name"] == name
    assert found["nearest"]["config"]["samples"] == 6


def test_a_vae_is_audited_by_its_bound(diffaudit, run, tmp_path):
    words = ("--draws", 3, "--block", 36, "--by", "value", "--truncate", 0.4)
    assert diffaudit("audit", run / "vae", "--out", tmp_path, *words).code == 0
    found = specs(tmp_path)[1]["elbo"]
    assert (found["access"], found["calls"], found["config"]["truncate"]) == ("white", 3, 0.4)
    assert list(scores(tmp_path)) == ["member", "elbo"]


REFUSED = {
    "a GAN's weights": ("gan", (), "eps-loss asks a diffusion model, and this one only draws images: give --access"),
    "a GAN's bound": ("gan", ("--attack", "elbo"), "elbo asks the encoder of a VAE, and this model has none: leave"),
    "a VAE's noise": (
        "vae",
        ("--attack", "pia"),
        "pia asks a diffusion model, and this one only draws images: give --",
    ),
    "a VAE's steps": ("vae", ("--access", "gray"), "images: give --attack elbo or --access black."),
    "no draws": ("vae", ("--draws", "0"), "at least 1 draw of the code is needed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_they_cannot_answer_is_refused_before_anything_is_asked(refused, run, tmp_path, case):
    name, words, message = REFUSED[case]
    assert message in refused("audit", run / name, "--out", tmp_path / "audit", *words)
    assert not (tmp_path / "audit").exists()


def test_all_attacks_of_a_diffusion_model_leave_the_bound_of_a_vae_out(refused, trained, tmp_path):
    assert "elbo asks the encoder of a VAE" in refused("audit", trained, "--out", tmp_path, "--attack", "elbo")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("vae", ("--dp",), "--dp trains diffusion models: leave it out with --model vae."),
        ("gan", ("--dp",), "--dp trains diffusion models: leave it out with --model gan."),
        ("gan", ("--mults", "1"), "--mults says nothing to --model gan: leave it out."),
        ("vae", ("--schedule", "ddpm-linear"), "--schedule says nothing to --model vae: leave it out."),
        ("vae", ("--critic-steps", "2"), "--critic-steps says nothing to --model vae: leave it out."),
        (
            "vae",
            ("--model", "ddpm", "--critic-steps", "2"),
            "--critic-steps says nothing to --model ddpm: leave it out.",
        ),
        ("gan", ("--patch", "8"), "do not divide into the critic's cells of 16"),
        ("vae", ("--model", "vea"), "unknown model 'vea': did you mean 'vae'?"),
        ("vae", ("--lr", "1e30", "--steps", "3"), "training diverged: at step 3"),
    ],
)
def test_what_cannot_be_trained_is_refused(refused, tmp_path, name, words, message):
    assert message in refused("train", *MODELS[name], *words, "--out", tmp_path / "run")
