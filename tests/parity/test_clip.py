"""An imported CLIP answers as it does in PyTorch: on committed answers, and live where transformers is installed."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from diffaudit_jax.importers.clip import load
from diffaudit_jax.importers.clip_tokens import token_rows
from diffaudit_jax.importers.zero_shot import zero_shot
from tests.parity.clip_cases import CASES, PROMPTS

FIXTURES = Path(__file__).parent / "fixtures" / "clip"
PARITY = 1e-5  # of the answer's scale: what an import may cost in float32
EXACT = 1e-11  # of the answer's scale, both in float64: some ten thousand roundings of 1e-16
BICUBIC = 1.25  # the greatest sum of the kernel's weights without their signs: half way between two pixels


@functools.cache
def committed():
    with np.load(FIXTURES / "answers.npz") as file:
        return dict(file)


@functools.cache
def imported():
    return load(FIXTURES)


def check(got, want, tolerance):
    np.testing.assert_array_less(np.abs(np.asarray(got) - want), tolerance * np.abs(want).max())


def check_exactly(clip, want):
    """Features and logits, with all arithmetic in float64."""
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, clip.params)
        signed = want["images"] / np.float32(127.5) - np.float32(1)
        image = jax.jit(jax.vmap(clip.model.image_features, (None, 0)))(params, signed)
        text = jax.jit(jax.vmap(clip.model.text_features, (None, 0)))(params, want["ids"].astype(np.int32))
        logits = np.exp(params["logit_scale"]["scale"][0]) * np.asarray(image) @ np.asarray(text).T
    check(image, want["image_features"], EXACT)
    check(text, want["text_features"], EXACT)
    check(logits, want["logits"], EXACT)


def test_the_committed_model_answers_as_in_pytorch():
    check_exactly(imported(), committed())


def test_bytes_in_float32_and_over_devices_are_as_near_as_they_can_be():
    clip, want = imported(), committed()
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(clip.params))
    check(clip.image_features(want["images"]), want["image_features"], PARITY)


def test_texts_have_the_tokens_the_features_and_the_probabilities_that_they_have_there():
    pytest.importorskip("tokenizers")
    clip, want = imported(), committed()
    np.testing.assert_array_equal(token_rows(FIXTURES, PROMPTS, clip.model), want["ids"])
    tells = zero_shot(clip, PROMPTS)
    check(tells.features, want["text_features"], PARITY)
    # Of a softmax's logarithm: what two logits are off by.
    allowed = 2 * PARITY * np.abs(want["logits"]).max()
    np.testing.assert_allclose(np.log(tells(want["images"])), log_softmax(want["logits"], axis=1), rtol=0, atol=allowed)


@pytest.mark.parametrize("i", [0, 1])
def test_photos_of_another_size_are_seen_as_there_but_for_its_rounding_to_bytes(i):
    photo, want = (committed()[f"{name}{i}"] for name in ("photo", "pixels"))
    model = imported().model
    levels = (np.asarray(jax.jit(model.pixels)(photo)) - want) * np.array(model.std) * 255
    # Half a level after each axis, of which the second weighs what the first left.
    np.testing.assert_array_less(np.abs(levels), 0.5 + 0.5 * BICUBIC)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("name", CASES)
def test_every_case_answers_as_in_pytorch(name, tmp_path):
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    from tests.parity import reference_clip as reference

    theirs, case = reference.tokenizer(), CASES[name]
    model = reference.save(reference.build(case, theirs), case, theirs, tmp_path)
    want, clip = reference.answers(model, theirs), load(tmp_path)
    np.testing.assert_array_equal(token_rows(tmp_path, PROMPTS, clip.model), want["ids"])
    check_exactly(clip, want)
