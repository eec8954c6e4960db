"""A property that nothing was trained for: which of a few texts an image goes with, as CLIP sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.special import softmax

from diffaudit_jax.importers.clip import PretrainedClip
from diffaudit_jax.types import InputError


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """A discriminator without training, made by `zero_shot`.

    Attributes:
      clip: Whose image tower it asks.
      texts: What it tells apart.
      features: Their unit vectors, float64 [texts, dim].
    """

    clip: PretrainedClip
    texts: tuple[str, ...]
    features: Float[np.ndarray, "texts dim"]

    def __call__(self, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n texts"]:
        """Returns the probability of every text, float64; an image's do not depend on the others asked about.

        Cost: one pass of the image tower an image.

        Args:
          images: uint8 [n, h, w, 1 or 3], of any size; enlarged or reduced to what the network sees (`Clip.pixels`).

        Raises:
          InputError: if there are no images, or they are not uint8 with one channel or three.
        """
        return softmax(self.clip.logit_scale * self.clip.image_features(images) @ self.features.T, axis=1)


def zero_shot(clip: PretrainedClip, prompts: Sequence[str], template: str | None = None) -> ZeroShot:
    """Returns the discriminator that tells which of the prompts an image goes with.

        p(j | x) = softmax_j(exp(s) <u(x), v_j>)

        smiles = zero_shot(importers.clip.load(folder), ["a smiling face", "a serious face"])
        share = (smiles(images)[:, 0] > 0.5).mean()

    The prompts' features are computed once. How well it tells a property depends on weights, images and wording, and
    has not been measured here, for want of published weights: measure its rates of error on labelled images before a
    proportion rests on it, of small or grey images above all, which CLIP was not trained on.

    Args:
      clip: As `importers.clip.load` reads it.
      prompts: Two or more texts, all different.
      template: Text with one ``{}`` that each prompt replaces, e.g. ``"a photo of {}."``; None for the prompts alone.

    Raises:
      InputError: if there are fewer than two prompts, two are the same, or the template has not one ``{}``; and as
        `PretrainedClip.text_features`.

    References:
      Radford et al. 2021, https://arxiv.org/abs/2103.00020 (section 3.1)
    """
    if isinstance(prompts, str) or len(prompts) < 2:
        raise InputError(f"prompts are {prompts!r}: give a list of two or more, of which an image goes with one.")
    if template is not None and template.count("{}") != 1:
        raise InputError(f"the template is {template!r}: write {{}} once, where a prompt goes.")
    texts = tuple(prompts if template is None else (template.replace("{}", prompt) for prompt in prompts))
    if len(set(texts)) < len(texts):
        raise InputError(f"two of the prompts {', '.join(map(repr, prompts))} are the same: give each once.")
    return ZeroShot(clip, texts, clip.text_features(texts))
