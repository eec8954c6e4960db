"""CLIP folders: what is read of them, what is refused in one sentence, and zero-shot probabilities."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from diffaudit_jax.importers.clip import load
from diffaudit_jax.importers.clip_tokens import token_rows
from diffaudit_jax.importers.safetensors import read_safetensors, write_safetensors
from diffaudit_jax.importers.zero_shot import zero_shot
from diffaudit_jax.models.clip import MEAN
from diffaudit_jax.models.clip_towers import Tower
from diffaudit_jax.types import InputError

FIXTURE = Path(__file__).parents[1] / "parity" / "fixtures" / "clip"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
PROMPTS = ("a photo of a smiling face", "a photo of a serious face")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the committed model, to be changed."""
    for name in FILES:
        shutil.copy(FIXTURE / name, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def clip():
    return load(FIXTURE)


def edit(path: Path, **changes) -> None:
    """Changes entries of a JSON file; "a__b" names entry b of a, and None removes it."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
        if value is None:
            del place[last]
    path.write_text(json.dumps(content))


def rewrite(folder: Path, change) -> None:
    """Writes the weights again, after a change to the dictionary of them."""
    tensors = {name: np.float32(it.read()) for name, it in read_safetensors(folder / FILES[1]).items()}
    change(tensors)
    (folder / FILES[1]).unlink()
    write_safetensors(folder / FILES[1], tensors)


def same(one, other) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


# What is read.


def test_the_committed_folder_is_read(clip):
    assert (clip.model.side, clip.model.dim, clip.model.context, clip.model.eot) == (32, 20, 64, 572)
    assert clip.model.vision.width == 32
    assert clip.model.text.width == 24
    tensor = read_safetensors(FIXTURE / FILES[1])["logit_scale"].read()
    assert clip.logit_scale == np.exp(np.float64(tensor))


def test_shards_are_one_model(clip, folder):
    tensors = {name: np.float32(it.read()) for name, it in read_safetensors(folder / FILES[1]).items()}
    (folder / FILES[1]).unlink()
    parts = {f"model-{i}.safetensors": dict(list(tensors.items())[i::2]) for i in range(2)}
    for file, part in parts.items():
        write_safetensors(folder / file, part)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(load(folder).params, clip.params)


def test_numbers_of_positions_in_older_files_are_not_parameters(clip, folder):
    name = "text_model.embeddings.position_ids"
    rewrite(folder, lambda tensors: tensors.update({name: np.arange(64, dtype=np.float32)[None]}))
    assert same(load(folder).params, clip.params)
    rewrite(folder, lambda tensors: tensors.update({name: np.ones((1, 64))}))
    with pytest.raises(InputError, match=rf"tensor {name} is not 0, 1, 2, \.\.\.: the file is damaged, so copy it"):
        load(folder)


def test_what_a_configuration_leaves_out_is_transformers_default(folder):
    (folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(InputError, match=r"lacks 320 of 398 tensors, first 'text_model\.encoder"):
        load(folder)


def test_what_no_shape_shows_is_read_too(folder):
    edit(folder / "config.json", vision_config__layer_norm_eps=1e-3, vision_config__hidden_act="gelu")
    edit(folder / "config.json", text_config__eos_token_id=2)
    model = load(folder).model
    assert (model.vision, model.text) == (Tower(32, 2, 4, 48, "gelu", 1e-3), Tower(24, 2, 3, 40, "quick_gelu", 1e-5))
    assert model.eot is None


def test_the_configuration_that_an_older_version_was_made_of_holds(clip, folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config_dict=text, text_config={"hidden_size": 48})
    assert load(folder).model == clip.model


def test_images_are_normalised_as_the_folder_says(clip, folder):
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}')
    model = load(folder).model
    assert (model.mean, model.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert clip.model.mean == MEAN
    edit(folder / "preprocessor_config.json", image_std=[0, 1, 1])
    with pytest.raises(InputError, match=r"image_std is \[0, 1, 1\], not three numbers: copy it again"):
        load(folder)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "siglip"}, r"config\.json: unknown model type 'siglip': did you mean 'clip'"),
        ({"projection_dim": 0}, r"projection_dim is 0, which a CLIP cannot have"),
        ({"projection_dim": 21}, r"'text_projection.weight' has shape \(20, 24\) and this model needs \(21, 24\)"),
        ({"text_config": [1]}, r"text_config is \[1\], not a JSON object: copy the file again"),
        ({"text_config__hidden_size": "x\x1b"}, r"text_config\.hidden_size is 'x\\x1b', which a CLIP cannot have"),
        ({"text_config__layer_norm_eps": -1.0}, r"text_config\.layer_norm_eps is -1\.0, which a CLIP cannot have"),
        ({"text_config__num_hidden_layers": 10**8}, r"num_hidden_layers is 100000000, and 100 are read at most"),
        ({"text_config__hidden_act": "relu"}, r"unknown activation 'relu': did you mean 'gelu'"),
        ({"text_config__num_attention_heads": 5}, r"text_config\.hidden_size is 24, which 5 heads do not divide"),
        ({"vision_config__num_channels": 1}, r"vision_config\.num_channels is 1, and only 3 is read"),
        ({"vision_config__image_size": [32, 32]}, r"vision_config\.image_size is \[32, 32\], which a CLIP cannot"),
        ({"vision_config__image_size": 10**6}, r"an image of side 1000000 in patches of side 8 is not read"),
        ({"vision_config__patch_size": 33}, r"an image of side 32 in patches of side 33 is not read"),
        (
            {"vision_config__image_size": 64},
            r"'vision_model\.embeddings\.position_embedding\.weight' has shape \(17, 32\) and this",
        ),
        ({"vision_config__num_hidden_layers": 1}, r"has 16 tensors too many, first 'vision_model.encoder.layers.1"),
    ],
)
def test_configurations_that_are_not_read_say_why(folder, changes, message):
    edit(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["logit_scale", "vision_model.pre_layrnorm.bias", "visual_projection.weight"])
def test_a_missing_tensor_is_named(folder, name):
    rewrite(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(InputError, match=rf"model\.safetensors lacks .*'{name}'.*: the file is incomplete"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "shape", "needs"),
    [
        ("logit_scale", (2,), (1,)),
        ("vision_model.embeddings.class_embedding", (31,), (32,)),
        ("vision_model.embeddings.patch_embedding.weight", (32, 3, 8, 7), (32, 3, 8, 8)),
        ("text_model.encoder.layers.1.self_attn.v_proj.weight", (24, 23), (24, 24)),
    ],
)
def test_a_tensor_of_another_shape_is_named(folder, name, shape, needs):
    rewrite(folder, lambda tensors: tensors.update({name: np.zeros(shape)}))
    shown = (r"\(" + ", ".join(map(str, s)) + (r",\)" if len(s) == 1 else r"\)") for s in (shape, needs))
    with pytest.raises(InputError, match=r"tensor '{}' has shape {} and this model needs {}".format(name, *shown)):
        load(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, r"config\.json is not there: name the folder of a CLIP model"),
        ("config.json", b"{", r"config\.json is not JSON \(JSONDecodeError\): copy it again"),
        ("config.json", b"[]", r"config\.json is not a JSON object: copy it again"),
        ("model.safetensors", None, r"has no weights: none of model\.safetensors, .*pytorch_model\.bin is there"),
        ("model.safetensors", b"\x80\x02cposix\nsystem\n(U\x05falseRp0\n.", r"asks to run posix\.system: refused"),
    ],
)
def test_files_that_are_missing_or_damaged_or_hostile_say_so(folder, file, content, message):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(folder)


# Texts.


def split_up(folder: Path) -> list[str]:
    """Writes vocab.json and merges.txt as older versions do, in place of tokenizer.json; returns the merges."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), "utf-8")
    return lines


def test_a_vocabulary_and_its_merges_are_a_tokenizer_too(clip, folder):
    pytest.importorskip("tokenizers")
    want = token_rows(FIXTURE, PROMPTS, clip.model)
    assert len(set(want[0])) < 12  # words, not letters
    lines = split_up(folder)
    np.testing.assert_array_equal(token_rows(folder, PROMPTS, clip.model), want)
    # Without the line that says the version, the first line is a merge.
    (folder / "merges.txt").write_text("\n".join(lines), "utf-8")
    np.testing.assert_array_equal(token_rows(folder, PROMPTS, clip.model), want)
    # Older versions wrote a pair as one string.
    shutil.copy(FIXTURE / "tokenizer.json", folder)
    edit(folder / "tokenizer.json", model__merges=lines)
    np.testing.assert_array_equal(token_rows(folder, PROMPTS, clip.model), want)


def test_a_text_of_as_many_tokens_as_there_is_room_for_is_read_and_one_more_is_refused(clip):
    pytest.importorskip("tokenizers")
    row = token_rows(FIXTURE, ["1 " * 62], clip.model)[0]
    assert (row[0], row[-2] == row[1], row[-1]) == (571, True, 572)
    with pytest.raises(
        InputError, match=r"^'(1 ){50}\.\.\.' has 65 tokens with start and end, and this model reads 64"
    ):
        token_rows(FIXTURE, ["a face", "1 " * 63], clip.model)


@pytest.mark.parametrize("texts", [[], "a face"])
def test_texts_are_a_list(clip, texts):
    with pytest.raises(InputError, match=r"^texts are .*: give a list with at least one\.$"):
        clip.text_features(texts)


def test_without_a_tokenizer_images_have_features_and_texts_say_what_is_missing(folder):
    (folder / "tokenizer.json").unlink()
    clip = load(folder)
    assert clip.params
    with pytest.raises(InputError, match=r"has no tokenizer: tokenizer\.json, or vocab\.json with merges\.txt"):
        clip.text_features(PROMPTS)


def test_without_the_package_it_says_how_to_install_it(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    install = r'^texts need the package tokenizers, and it is not installed: pip install "diffaudit_jax\[clip\]"\.$'
    with pytest.raises(InputError, match=install):
        clip.text_features(PROMPTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": 1}, r"tokenizer\.json has no vocabulary from tokens to their numbers: copy it again"),
        ({"model__vocab": {"a": -1}}, r"tokenizer\.json has no vocabulary from tokens to their numbers"),
        ({"model__vocab": {"<|startoftext|>": 0}}, r"has no token <\|endoftext\|>: it is of another model than CLIP"),
        ({"model__merges": ["a b c"]}, r"has merges that are not a list of pairs of tokens: copy it again"),
        ({"model__merges": [5]}, r"has merges that are not a list of pairs"),
        ({"model__merges": [[5, 5]]}, r"has merges that are not a list of pairs"),
        ({"model__merges": None}, r"has merges that are not a list of pairs"),
        (
            {"model__vocab__a</w>": None, "model__merges": []},
            r"^'a' has characters that .* has no token for",
        ),
        ({"model__merges": [["ab", "xyz"]]}, r"has merges that its vocabulary lacks .*: copy it again"),
        ({"model__vocab__<|endoftext|>": 573}, r"ends a text with token 573 of 573, which does not go with the 573"),
        ({"model__vocab__a</w>": 600}, r"does not go with the 573 tokens of config\.json"),
    ],
)
def test_tokenizers_that_are_damaged_or_of_another_model_say_so(clip, folder, changes, message):
    if any(part in message for part in ("vocabulary lacks", "go with", "characters")):
        pytest.importorskip("tokenizers")
    edit(folder / "tokenizer.json", **changes)
    with pytest.raises(InputError, match=message):
        token_rows(folder, ["a"], clip.model)


def test_merges_that_are_no_text_say_so(clip, folder):
    split_up(folder)
    (folder / "merges.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"merges\.txt is not a text \(invalid start byte\): copy it again"):
        token_rows(folder, ["a"], clip.model)


# Probabilities.


def faces(number: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 32, 32, channels), np.uint8)


def test_probabilities_are_a_softmax_of_scaled_cosines_image_by_image(clip):
    pytest.importorskip("tokenizers")
    images = faces(70)  # more than a block
    tells = zero_shot(clip, ["smiling", "serious"], "a photo of a {} face")
    assert tells.texts == PROMPTS
    found = tells(images)
    assert found.dtype == np.float64
    vectors = clip.text_features(PROMPTS)
    cosines = [[u @ v for v in vectors] for u in clip.image_features(images)]
    weights = np.exp(clip.logit_scale * np.array(cosines))
    np.testing.assert_allclose(found, weights / weights.sum(axis=1, keepdims=True), rtol=1e-12)  # both in float64
    assert np.ptp(found[:, 0]) > 0.01
    np.testing.assert_array_equal(tells(images[::-1])[::-1], found)
    assert clip.run.num_compiles == 1


@pytest.mark.parametrize(
    "images", [faces(2, 4), faces(2, 2), faces(0), faces(2)[0], np.float32(faces(2)), np.zeros((2, 0, 32, 3), np.uint8)]
)
def test_images_of_another_kind_are_refused(clip, images):
    with pytest.raises(InputError, match=r"^images are \w+ \(.*\): CLIP takes uint8 \[n, h, w, 1 or 3\]\.$"):
        clip.image_features(images)


@pytest.mark.parametrize(
    ("prompts", "template", "message"),
    [
        ([], None, r"^prompts are \[\]: give a list of two or more, of which an image goes with one\.$"),
        (["a face"], None, r"^prompts are \['a face'\]: give a list of two or more"),
        ("ab", None, r"^prompts are 'ab': give a list of two or more"),
        (["a", "b", "a"], None, r"^two of the prompts 'a', 'b', 'a' are the same: give each once\.$"),
        (["a", "b"], "a photo", r"^the template is 'a photo': write \{\} once, where a prompt goes\.$"),
        (["a", "b"], "{} {}", r"^the template is '\{\} \{\}': write \{\} once"),
    ],
)
def test_prompts_that_tell_nothing_apart_are_refused(clip, prompts, template, message):
    with pytest.raises(InputError, match=message):
        zero_shot(clip, prompts, template)
