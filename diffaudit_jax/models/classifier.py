"""A small convolutional classifier of ONE image, whose features generated images are judged by."""

import flax.linen as nn
from jaxtyping import Array, Float

from diffaudit_jax.models.layers import Conv3x3, GroupNorm


class ImageClassifier(nn.Module):
    """Strided 3x3 convolutions with norms down to a 4x4 grid, a dense layer of features, a dense layer of logits.

    For 10 classes of 28x28 grey images it has 85,098 parameters, and below 100,000 for colour images up to 32x32.

    Attributes:
      num_classes: Classes.
      num_features: Width of the penultimate layer.
      channels: Width of the first convolution.
      wide: Width of the others.
    """

    num_classes: int
    num_features: int = 64
    channels: int = 32
    wide: int = 48

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> tuple[Float[Array, " features"], Float[Array, " classes"]]:
        """Returns features (before the last nonlinearity, where they are nearer to Gaussian) and logits.

        Args:
          x: Image in [-1, 1].
        """
        h, stage = x, 0
        while stage == 0 or max(h.shape[:2]) > 4:
            h = Conv3x3(self.wide if stage else self.channels, stride=2, name=f"conv{stage}")(h)
            h = nn.silu(GroupNorm(name=f"norm{stage}")(h))
            stage += 1
        features = nn.Dense(self.num_features, name="features")(h.reshape(-1))
        return features, nn.Dense(self.num_classes, name="logits")(nn.silu(features))
