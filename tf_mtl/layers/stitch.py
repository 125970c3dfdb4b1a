"""Stitches: sums of parallel layers, weighted by what is learned but not computed."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def stitch(weights: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Sums of parallel layers; output `o` is the sum over `i` of `weights[o, i] * i`.

    Args:
        weights: tensor of shape `(num_outputs, num_inputs, units)`, or 1 for units.
        inputs: tensor of shape `(num_inputs, batch, units)`; or a copy of that for each
            output, `(num_outputs, num_inputs, batch, units)`, so that the gradient of
            each output arrives separately.

    Returns:
        tensor of shape `(num_outputs, batch, units)`.
    """
    columns = tf.unstack(tf.cast(weights, inputs.dtype), axis=1)
    parts = tf.unstack(inputs, axis=-3)
    return tf.add_n([w[:, None] * x for w, x in zip(columns, parts, strict=True)])


def stitch_gramian(weights: tf.Tensor, cotangents: tf.Tensor) -> tf.Tensor:
    """Gramian of the gradients of `stitch` at its inputs, without forming them.

    Args:
        weights: as `stitch` takes them.
        cotangents: gradients at the outputs, `(num_outputs, batch, units)`.

    Returns:
        float32 tensor of shape `(num_outputs, num_outputs)`.
    """
    weights, cotangents = (tf.cast(x, tf.float32) for x in (weights, cotangents))
    at_outputs, of_weights = (
        tf.einsum("sbh,tbh->sth", rows, rows) for rows in (cotangents, weights)
    )
    return tf.reduce_sum(at_outputs * of_weights, axis=-1)


@keras.saving.register_keras_serializable(package="tf_mtl")
class CrossStitchUnit(keras.layers.Layer):
    """Lets each of several parallel layers read all of them, itself the most.

    Args:
        diagonal: float in `(0, 1]`. Weight of a layer in itself at the start; the
            others share the rest.
        per_channel: bool. One weight for each unit, instead of one for a layer.

    Call arguments:
        inputs: tensor of shape `(num_layers, batch, units)`, or a copy of that for each
            layer, see `stitch`.

    Returns:
        tensor of shape `(num_layers, batch, units)`.

    Raises:
        ValueError: if `diagonal` is out of range.
    """

    def __init__(
        self, diagonal: float = 0.9, per_channel: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < diagonal <= 1:
            raise ValueError(
                f"`diagonal` must be in (0, 1]. Received: diagonal={diagonal}."
            )
        self.diagonal = diagonal
        self.per_channel = per_channel

    def build(self, input_shape: Any) -> None:
        """Creates the weights, whose rows add up to 1."""
        count, _, units = input_shape[-3:]
        rest = (1 - self.diagonal) / max(count - 1, 1)
        diagonal = self.diagonal if count > 1 else 1.0

        def near_identity(shape: Any, dtype: Any = None) -> tf.Tensor:
            eye = tf.eye(count, dtype=dtype)[..., None]
            return tf.broadcast_to(rest + (diagonal - rest) * eye, shape)

        self.kernel = self.add_weight(
            shape=(count, count, units if self.per_channel else 1),
            initializer=near_identity,
            name="kernel",
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Sums the layers."""
        return stitch(tf.convert_to_tensor(self.kernel), inputs)

    def gramian(self, cotangents: tf.Tensor) -> tf.Tensor:
        """Gramian of the gradients at the inputs, see `stitch_gramian`."""
        return stitch_gramian(tf.convert_to_tensor(self.kernel), cotangents)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        return tuple(input_shape[-3:])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "diagonal": self.diagonal,
            "per_channel": self.per_channel,
        }
