"""Experts that see each other: attention and convolution over experts."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_mtl")
class ExpertAttention(keras.layers.Layer):
    """Adds to each expert what it attends to in all experts of the same example.

    `u + scale * attention(norm(u))`, with `scale` 0 at the start: the layer starts as
    the identity. Computed in float32.

    Args:
        num_heads: int. Heads, each of the width of an expert over `num_heads`.

    Call arguments:
        experts: tensor of shape `(num_experts, batch, units)`.

    Returns:
        tensor like `experts`.

    Raises:
        ValueError: if `num_heads` is less than 1; in `build` if it does not divide the
            width of the experts.
    """

    def __init__(self, num_heads: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(
                f"`num_heads` must be at least 1. Received: num_heads={num_heads}."
            )
        self.num_heads = num_heads

    def build(self, experts_shape: Sequence[Any]) -> None:
        """Creates the attention."""
        num_experts, batch, units = experts_shape
        if units % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the width of the experts. Received: "
                f"num_heads={self.num_heads}, experts of width {units}."
            )
        by_example = (batch, num_experts, units)
        self.norm = keras.layers.LayerNormalization(dtype="float32", name="norm")
        self.norm.build(by_example)
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads, units // self.num_heads, dtype="float32", name="attention"
        )
        self.attention.build(by_example, by_example)
        self.scale = _scale(self)

    def call(self, experts: tf.Tensor) -> tf.Tensor:
        """Lets the experts attend to each other."""
        tokens = self.norm(tf.transpose(experts, [1, 0, 2]))
        found = tf.transpose(self.attention(tokens, tokens), [1, 0, 2])
        return experts + tf.cast(self.scale * found, experts.dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="tf_mtl")
class ExpertConvolution(keras.layers.Layer):
    """Adds to each expert what a convolution finds in all experts of the same example.

    The units are the places and the experts the channels, so that no expert is nearer
    to another: `u + scale * mix(relu(convolve(u)))`, where `convolve` has windows of 3
    units and `mix` brings its channels back to one for each expert. `scale` is 0 at the
    start: the layer starts as the identity.

    Args:
        filters: int. Channels between the two.

    Call arguments:
        experts: tensor of shape `(num_experts, batch, units)`.

    Returns:
        tensor like `experts`.

    Raises:
        ValueError: if `filters` is less than 1.
    """

    def __init__(self, filters: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(
                f"`filters` must be at least 1. Received: filters={filters}."
            )
        self.filters = filters

    def build(self, experts_shape: Sequence[Any]) -> None:
        """Creates the convolution and the way back."""
        num_experts, batch, units = experts_shape
        self.convolve = keras.layers.Conv1D(
            self.filters,
            3,
            padding="same",
            activation="relu",
            name="convolve",
            dtype=self.dtype_policy,
        )
        self.convolve.build((batch, units, num_experts))
        self.mix = keras.layers.Dense(num_experts, name="mix", dtype=self.dtype_policy)
        self.mix.build((batch, units, self.filters))
        self.scale = _scale(self)

    def call(self, experts: tf.Tensor) -> tf.Tensor:
        """Lets the experts see the windows of all."""
        found = self.mix(self.convolve(tf.transpose(experts, [1, 2, 0])))
        return experts + self.scale * tf.transpose(found, [2, 0, 1])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "filters": self.filters}


def _scale(layer: keras.layers.Layer) -> keras.Variable:
    return layer.add_weight(shape=(1,), initializer="zeros", name="scale")
