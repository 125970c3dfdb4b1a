"""Experts that see each other: attention and convolution over experts."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.stacked import StackedDense


@keras.saving.register_keras_serializable(package="tf_mtl")
class ExpertAttention(keras.layers.Layer):
    """Adds to each expert what it attends to in all experts of the same example.

    `u + scale * attention(norm(u))`, with `scale` 0 at the start: the layer starts as
    the identity. Attention has several heads, with dot products scaled by the root of
    their width.

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
        units = experts_shape[-1]
        if units % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the width of the experts. Received: "
                f"num_heads={self.num_heads}, experts of width {units}."
            )
        self.norm = keras.layers.LayerNormalization(
            name="norm", dtype=self.dtype_policy
        )
        self.norm.build(experts_shape)
        self.project = StackedDense(
            3, units, shared_input=True, name="project", dtype=self.dtype_policy
        )
        self.project.build((None, units))
        self.output_dense = keras.layers.Dense(
            units, name="output", dtype=self.dtype_policy
        )
        self.output_dense.build((None, units))
        self.scale = _scale(self)

    def call(self, experts: tf.Tensor) -> tf.Tensor:
        """Lets the experts attend to each other."""
        num_experts, _, units = experts.shape
        width = units // self.num_heads
        # Plain products over all tokens: those of `keras.layers.MultiHeadAttention`
        # took many times as long on a CPU.
        parts = self.project(tf.reshape(self.norm(experts), [-1, units]))
        parts = tf.reshape(parts, [3, num_experts, -1, self.num_heads, width])
        query, key, value = tf.unstack(tf.transpose(parts, [0, 2, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True)
        weights = tf.nn.softmax(tf.cast(scores, tf.float32) / math.sqrt(width))
        found = tf.matmul(tf.cast(weights, value.dtype), value)
        found = tf.reshape(tf.transpose(found, [2, 0, 1, 3]), [-1, units])
        found = tf.reshape(self.output_dense(found), tf.shape(experts))
        return experts + self.scale * found

    def compute_output_shape(
        self, experts_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shape of the input."""
        return tuple(experts_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="tf_mtl")
class ExpertConvolution(keras.layers.Layer):
    """Adds to each expert what a convolution finds in all experts of the same example.

    The units are the places and the experts the channels, so that no expert is nearer
    to another: `u + scale * mix(relu(convolve(u)))`, where `convolve` has windows of 3
    units, padded with zeros, and `mix` brings its channels back to one for each expert.
    `scale` is 0 at the start: the layer starts as the identity.

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
        num_experts = experts_shape[0]
        self.convolve = self._make_channels("convolve", 3 * num_experts, self.filters)
        self.mix = self._make_channels("mix", self.filters, num_experts)
        self.scale = _scale(self)

    def call(self, experts: tf.Tensor) -> tf.Tensor:
        """Lets the experts see the windows of all."""
        units = experts.shape[-1]
        padded = tf.pad(experts, [[0, 0], [0, 0], [1, 1]])
        # One product over the channels, without moving them to the last axis.
        windows = tf.concat([padded[..., i : i + units] for i in range(3)], axis=0)
        hidden = tf.nn.relu(_over_channels(windows, *self.convolve))
        return experts + self.scale * _over_channels(hidden, *self.mix)

    def compute_output_shape(
        self, experts_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shape of the input."""
        return tuple(experts_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "filters": self.filters}

    def _make_channels(self, name: str, before: int, after: int) -> list[Any]:
        """Kernel and bias of a product over the first axis."""
        return [
            self.add_weight(shape=(before, after), name=f"{name}_kernel"),
            self.add_weight(
                shape=(after, 1, 1), initializer="zeros", name=f"{name}_bias"
            ),
        ]


def _over_channels(inputs: tf.Tensor, kernel: Any, bias: Any) -> tf.Tensor:
    """`(channels, batch, units)` with other channels."""
    kernel, bias = (tf.convert_to_tensor(each) for each in (kernel, bias))
    return tf.tensordot(kernel, inputs, [[0], [0]]) + bias


def _scale(layer: keras.layers.Layer) -> keras.Variable:
    return layer.add_weight(shape=(1,), initializer="zeros", name="scale")
