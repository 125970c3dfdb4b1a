"""InformationTransfer: what one step of a sequence of tasks tells the next."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.dropout import Dropout
from tf_mtl.layers.stacked import StackedDense


@keras.saving.register_keras_serializable(package="tf_mtl")
class InformationTransfer(keras.layers.Layer):
    """Adaptive information transfer: attention over a task's own vector and a hint.

    The hint is a dense ReLU layer of the vector of the task before. With `u` either of
    the two, the result is `sum_u softmax_u(<q_u, k_u> / sqrt(units)) v_u`, where `q`,
    `k` and `v` are linear functions without bias: each vector scores itself.

    Args:
        dropout: float in `[0, 1)`, after the dense layer.

    Call arguments:
        previous: float tensor `(batch, width)`, vector of the task before.
        own: float tensor `(batch, units)`.
        training: bool.

    Returns:
        tensor of the shape of `own`.

    Reference:
        Xi et al., AITM, KDD 2021, arXiv:2105.08489, the AIT module.
    """

    def __init__(self, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, previous_shape: Sequence[Any], own_shape: Sequence[Any]) -> None:
        """Creates the hint and the three linear functions."""
        units = own_shape[-1]
        options = {"dtype": self.dtype_policy}
        self.hint = keras.layers.Dense(units, "relu", name="hint", **options)
        self.hint.build(previous_shape)
        self.projections = StackedDense(
            3, units, use_bias=False, shared_input=True, name="projections", **options
        )
        self.projections.build(own_shape)

    def call(
        self, previous: tf.Tensor, own: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Mixes own vector and hint."""
        hint = self.drop(self.hint(previous), training=training)
        found = self.projections(tf.concat([own, hint], axis=0))
        # (two vectors, batch, units) each.
        query, key, value = (tf.stack(tf.split(each, 2)) for each in tf.unstack(found))
        scores = tf.reduce_sum(tf.cast(query * key, tf.float32), -1, keepdims=True)
        weights = tf.nn.softmax(scores / own.shape[-1] ** 0.5, axis=0)
        return tf.reduce_sum(tf.cast(weights, value.dtype) * value, axis=0)

    def compute_output_shape(
        self, previous_shape: Sequence[int | None], own_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        del previous_shape
        return tuple(own_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "dropout": self.dropout}
