"""The same CLIPs in PyTorch, as transformers builds them: what they answer, in float64."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import safetensors.torch
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.parity.clip_cases import CORPUS, PROMPTS, SIDE, Case

START, END = "<|startoftext|>", "<|endoftext|>"
TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def tokenizer() -> Any:
    """CLIP's tokenizer with a vocabulary of all bytes, in a word and at its end, and a few pairs that were learned."""
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    words = pre_tokenizers.Split(Regex(r"\p{L}+"), "removed", invert=True)
    learned.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=90, end_of_word_suffix="</w>", show_progress=False)
    learned.train_from_iterator(CORPUS, trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return transformers.CLIPTokenizer({token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges)


def build(case: Case, theirs: Any, seed: int = 0) -> Any:
    """A CLIPModel none of whose parameters is 0 or 1, so that each of them shows in the answer."""
    torch.manual_seed(seed)
    vocab = {"vocab_size": len(theirs.get_vocab()), "bos_token_id": theirs.bos_token_id}
    config = transformers.CLIPConfig(
        text_config={**vocab, "eos_token_id": theirs.eos_token_id, **case.text},
        vision_config=case.vision,
        projection_dim=case.dim,
        attn_implementation="sdpa",  # the other one takes its softmax in float32
    )
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter += 0.1 * torch.randn(parameter.shape)
    return model


def save(model: Any, case: Case, theirs: Any, folder: Path) -> Any:
    """Writes the model as its case says, and returns it in float64 with the weights as they were saved."""
    folder.mkdir(parents=True, exist_ok=True)
    if case.weights in TYPES:
        model = model.to(TYPES[case.weights])
    if case.weights == "sharded":
        model.save_pretrained(folder, max_shard_size="50KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    elif case.weights == "bin":
        # As old versions did: with the positions' numbers.
        counts = {f"{name}_model.embeddings.position_ids": torch.arange(9)[None] for name in ("text", "vision")}
        torch.save({**model.state_dict(), **counts}, folder / "pytorch_model.bin")
    else:
        safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(model.config.to_json_string())
    theirs.save_pretrained(folder)
    return model.double()


def images(seed: int = 0) -> np.ndarray:
    """Bytes of the network's size."""
    return np.random.default_rng(seed).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@torch.no_grad()
def answers(model: Any, theirs: Any) -> dict[str, np.ndarray]:
    """Images, tokens of the prompts, and what the model says of both."""
    asked = images()
    signed = np.float64(asked / np.float32(127.5) - np.float32(1))  # float32, as this library's images are
    mean, std = (np.array(numbers) for numbers in (CLIPImageProcessorPil.image_mean, CLIPImageProcessorPil.image_std))
    pixels = torch.tensor((((signed + 1) / 2 - mean) / std).transpose(0, 3, 1, 2))
    rows = theirs(list(PROMPTS), padding="max_length", max_length=model.config.text_config.max_position_embeddings)
    out = model(torch.tensor(rows["input_ids"]), pixels, torch.tensor(rows["attention_mask"]))
    found = {"image_features": out.image_embeds, "text_features": out.text_embeds, "logits": out.logits_per_image}
    return {"images": asked, "ids": np.array(rows["input_ids"]), **{name: it.numpy() for name, it in found.items()}}


def processed(photo: np.ndarray) -> np.ndarray:
    """What the processor makes of a photo of another size, float32 [SIDE, SIDE, 3]."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return processor(Image.fromarray(photo), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
