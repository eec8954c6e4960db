"""Texts as rows of CLIP's tokens: start, byte pairs of the words in lower case, end, and more ends as padding.

The vocabulary and the merges come from the folder; how a text is cut into words is CLIP's and is written here, so that
a tokenizer.json is read as data and its other steps are not run.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from diffaudit_jax.importers.clip_config import read_json
from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.models.clip import Clip
from diffaudit_jax.types import InputError

INSTALL = 'pip install "diffaudit_jax[clip]"'
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def token_rows(folder: Path, texts: Sequence[str], model: Clip) -> Int[np.ndarray, "n context"]:
    """Returns the tokens of every text, int32.

    Args:
      folder: Holds a tokenizer.json, or vocab.json with merges.txt.
      texts: At least one.
      model: Says how many tokens there are, how many a row has, and which ends it.

    Raises:
      InputError: if there is no text, the package `tokenizers` is not installed, the files are missing or damaged or do
        not go with the model, or a text has too many tokens.

    References:
      Radford et al. 2021, https://arxiv.org/abs/2103.00020; Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
    """
    if isinstance(texts, str) or not len(texts):
        raise InputError(f"texts are {texts!r}: give a list with at least one.")
    vocab, merges, path = _pairs(folder)
    tokenizer = _tokenizer(vocab, merges, path)
    start, end = vocab[START], vocab[END]
    rows = [[start, *tokenizer.encode(text, add_special_tokens=False).ids, end] for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > model.context:
            raise InputError(
                f"{shown(text)!r} has {len(row)} tokens with start and end, and this model reads {model.context}: "
                "shorten it."
            )
        if end in row[1:-1]:
            raise InputError(f"{shown(text)!r} has characters that {path} has no token for: write it otherwise.")
    ids = np.array([row + [end] * (model.context - len(row)) for row in rows], np.int32)
    if (ids.max() if model.eot is None else model.eot) != end or ids.max() >= model.vocab:
        raise InputError(
            f"{path} ends a text with token {end} of {len(vocab)}, which does not go with the {model.vocab} tokens of "
            "config.json and the one that ends a text there: copy both from one model."
        )
    return ids


def _tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]], path: Path) -> Any:
    try:
        package = import_module("tokenizers")
    except ImportError as error:
        raise InputError(f"texts need the package tokenizers, and it is not installed: {INSTALL}.") from error
    try:
        model = package.models.BPE(vocab, merges, unk_token=END, end_of_word_suffix="</w>")
    except Exception as error:  # the package raises nothing narrower
        raise InputError(f"{path} has merges that its vocabulary lacks ({error}): copy it again.") from error
    tokenizer = package.Tokenizer(model)
    clean = package.normalizers
    tokenizer.normalizer = clean.Sequence([clean.NFC(), clean.Replace(package.Regex(r"\s+"), " "), clean.Lowercase()])
    cut = package.pre_tokenizers
    words = cut.Split(package.Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = cut.Sequence([words, cut.ByteLevel(add_prefix_space=False)])
    return tokenizer


def _pairs(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]], Path]:
    """Returns the number of every token, the pairs that merge, first ones first, and the file that says it."""
    path = folder / "tokenizer.json"
    if path.is_file():
        model = read_json(path).get("model")
        vocab, merges = (model.get("vocab"), model.get("merges")) if isinstance(model, dict) else (None, None)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        path = folder / "vocab.json"
        vocab, merges = read_json(path), _lines(folder / "merges.txt")
    else:
        raise InputError(f"{folder} has no tokenizer: tokenizer.json, or vocab.json with merges.txt, is to be there.")
    if not isinstance(vocab, dict) or not all(type(number) is int and 0 <= number < 2**31 for number in vocab.values()):
        raise InputError(f"{path} has no vocabulary from tokens to their numbers: copy it again.")
    if absent := [token for token in (START, END) if token not in vocab]:
        raise InputError(f"{path} has no token {absent[0]}: it is of another model than CLIP.")
    return vocab, _merges(merges, path), path


def _merges(given: Any, path: Path) -> list[tuple[str, str]]:
    if isinstance(given, list):
        # Older files have "a b", newer ones ["a", "b"].
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in given]
        if all(isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in pairs):
            return [(first, second) for first, second in pairs]
    raise InputError(f"{path} has merges that are not a list of pairs of tokens: copy it again.")


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text ({error.reason}): copy it again.") from error
    return [line for line in lines[lines[0].startswith("#version") :] if line]
