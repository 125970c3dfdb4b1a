"""ExpectationCalibrator: a later step may not be likelier than an earlier one."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_mtl")
class ExpectationCalibrator(keras.layers.Layer):
    """Adds a loss where the probability of a step exceeds that of the step before.

    The loss is `weight` times the mean over rows of the sum over transitions of
    `max(sigmoid(later) - sigmoid(earlier), 0)`, in float32.

    Args:
        weight: float, not negative.

    Call arguments:
        earlier: logits `(transitions, batch)`.
        later: logits of the steps after these, of the same shape.

    Returns:
        The loss, a float32 scalar, which is added to `losses` too.

    Raises:
        ValueError: if `weight` is negative.

    Reference:
        Xi et al., AITM, KDD 2021, arXiv:2105.08489, behavioral expectation calibrator.
        Some public code leaves it out.
    """

    def __init__(self, weight: float = 0.6, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if weight < 0:
            raise ValueError(f"`weight` must be at least 0. Received: weight={weight}.")
        self.weight = float(weight)

    def build(self, earlier_shape: Any, later_shape: Any) -> None:
        """Nothing is learned."""

    def compute_output_shape(
        self, earlier_shape: Any, later_shape: Any
    ) -> tuple[int | None, ...]:
        """Shape of the loss."""
        del earlier_shape, later_shape
        return ()

    def call(self, earlier: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
        """Adds the loss."""
        excess = tf.nn.relu(tf.sigmoid(later) - tf.sigmoid(earlier))
        loss = self.weight * tf.reduce_mean(tf.reduce_sum(excess, axis=0))
        self.add_loss(loss)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "weight": self.weight}
