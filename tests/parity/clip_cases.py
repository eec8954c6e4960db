"""CLIPs of every kind that the importer reads, as configurations of transformers, small enough for a test.

A case is a configuration, without the vocabulary, and how its weights are saved.
"""

from typing import Any, NamedTuple

SIDE = 32
PROMPTS = (
    "a photo of a smiling face",
    "A  photo of a SERIOUS face!",
    "it's 1990's café, naïve & co. — 42%",
    "中文 und ß…",
    "",
)
"""Upper case, more spaces than one, contractions, numbers, accents, other scripts, and nothing at all."""
CORPUS = (
    "a photo of a smiling face",
    "a photo of a serious face",
    "a photograph of somebody who smiles at the photographer",
    "it's a picture of the face of a person that does not smile",
)
"""What the byte pairs are learned from."""
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
}


class Case(NamedTuple):
    vision: dict[str, Any]
    text: dict[str, Any]
    dim: int = 20
    weights: str = "float16"  # or bfloat16: safetensors of that type; sharded, bin: float32


CASES = {
    "quick": Case(VISION, TEXT),
    "gelu": Case(
        # as in LAION's models, with patches that do not fill the image and one head a token
        {**VISION, "hidden_act": "gelu", "patch_size": 10, "num_attention_heads": 1, "layer_norm_eps": 1e-3},
        {**TEXT, "hidden_act": "gelu", "num_hidden_layers": 1},
        24,
        "sharded",
    ),
    "old": Case({**VISION, "num_hidden_layers": 1}, {**TEXT, "eos_token_id": 2}, 16, "bin"),
}
