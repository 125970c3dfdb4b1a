"""Compressed interaction: products of vectors of ever higher order."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.initializers import distinct
from tf_mtl.layers.interaction import Interaction
from tf_mtl.layers.registry import register


@register("trunk", "compressed_interaction")
@keras.saving.register_keras_serializable(package="tf_mtl")
class CompressedInteraction(Interaction):
    """Mixes the products of vectors with the vectors they began with, layer by layer.

    Vector `n` of layer `k` is `activation(sum_ij W_k[ij, n] * (x_i * y_j) + b_k[n])`
    with `x` the vectors of the layer before and `y` those of the input. Each vector of
    a layer is summed over its width to one number of the output.

    Args:
        units: number of vectors in each layer.
        split_half: bool. Whether the first half of each layer but the last goes to the
            next layer only, and the second half to the output only; else all go both
            ways.
        activation: Keras activation.
        concat: see `Interaction`.

    Call arguments:
        vectors: see `Interaction`.

    Returns:
        tensor of shape `(batch, units)`; what is found has the sum of `units` as width,
        with `split_half` half of all but the last.

    Raises:
        ValueError: if `units` is empty, holds a number below 1, or an odd one that is
            to be split.

    Reference:
        Lian et al., xDeepFM, KDD 2018, arXiv:1803.05170 (the CIN). The paper has
        neither activation nor bias in a layer; both, and the split, are those of its
        public implementations. Differs: the sums feed the layers that follow, not the
        output.
    """

    def __init__(
        self,
        units: Sequence[int] = (64, 32),
        split_half: bool = True,
        activation: Any = "relu",
        concat: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(concat, **kwargs)
        self.units = tuple(int(count) for count in units)
        self.split_half = split_half
        self.activation = keras.activations.get(activation)
        if not self.units or min(self.units) < 1:
            raise ValueError(
                "`units` must hold one or more numbers of at least 1. "
                f"Received: units={units}."
            )
        if split_half and any(count % 2 for count in self.units[:-1]):
            raise ValueError(
                "`units` must be even in all layers but the last to be split. "
                f"Received: units={units}. Or pass split_half=False."
            )

    def build(self, vectors_shape: Sequence[Sequence[int | None]]) -> None:
        """Creates a kernel `(num_products, units)` and a bias for each layer."""
        super().build(vectors_shape)
        fields = before = len(vectors_shape)
        initializers = distinct(keras.initializers.GlorotUniform(), len(self.units))
        self.kernels, self.biases = [], []
        for index, count in enumerate(self.units):
            self.kernels.append(
                self.add_weight(
                    shape=(before * fields, count),
                    initializer=initializers[index],
                    name=f"kernel_{index}",
                )
            )
            self.biases.append(
                self.add_weight(
                    shape=(count,), initializer="zeros", name=f"bias_{index}"
                )
            )
            before = count // 2 if self.split_half else count

    def interact(self, vectors: tf.Tensor) -> tf.Tensor:
        """Sums of the vectors of all layers."""
        # The width is an axis of the batch: each layer is one matrix product.
        first = hidden = tf.transpose(vectors, [0, 2, 1])
        outputs: list[tf.Tensor] = []
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            products = hidden[..., :, None] * first[..., None, :]
            flat = tf.reshape(products, [-1, first.shape[1], kernel.shape[0]])
            hidden = self.activation(
                tf.tensordot(flat, tf.convert_to_tensor(kernel), 1) + bias
            )
            kept = hidden
            if self.split_half and len(outputs) < len(self.units) - 1:
                hidden, kept = tf.split(hidden, 2, axis=-1)
            outputs.append(tf.reduce_sum(kept, axis=1))
        return tf.concat(outputs, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "split_half": self.split_half,
            "activation": keras.activations.serialize(self.activation),
        }
