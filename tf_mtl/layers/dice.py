"""Dice: an activation that adapts to the distribution of its input."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_mtl")
class Dice(keras.layers.Layer):
    """Data-adaptive PReLU: `p * x + (1 - p) * alpha * x`.

    `p` is the sigmoid of `x`, normalised per unit: by the mean and the variance of the
    batch in training, by their moving averages at serving. `alpha` is learned per unit
    and starts at 0.

    Args:
        momentum: float in `[0, 1)`. Decay of the moving averages, per step.
        epsilon: float. Added to the variance.

    Call arguments:
        inputs: float tensor of shape `(batch, ..., units)`.
        training: bool.
        mask: bool tensor of the shape of `inputs` without its last axis. False where a
            position is padding, which no statistic counts. None: all count. A batch of
            padding alone has mean and variance 0.

    Returns:
        tensor like `inputs`.

    Raises:
        ValueError: if `momentum` is outside its range.

    Reference:
        Zhou et al., Deep Interest Network, KDD 2018, arXiv:1706.06978. The paper does
        not speak of padding. Each replica takes the statistics of its own rows.
    """

    def __init__(
        self, momentum: float = 0.99, epsilon: float = 1e-8, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={momentum}."
            )
        self.momentum = momentum
        self.epsilon = epsilon
        self.supports_masking = True
        self.normalization = keras.layers.BatchNormalization(
            momentum=momentum,
            epsilon=epsilon,
            center=False,
            scale=False,
            name="normalization",
            dtype=self.dtype_policy,
        )

    def build(self, inputs_shape: Sequence[int | None]) -> None:
        """Creates `alpha` and the moving averages."""
        self.normalization.build(inputs_shape)
        self.alpha = self.add_weight(
            shape=(inputs_shape[-1],), initializer="zeros", name="alpha"
        )

    def call(
        self, inputs: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Applies the activation."""
        gate = tf.sigmoid(self.normalization(inputs, training=training, mask=mask))
        return inputs * (gate + (1 - gate) * self.alpha)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
