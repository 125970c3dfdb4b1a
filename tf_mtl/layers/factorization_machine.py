"""Factorization machine: the sum of all pairwise products of vectors."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.interaction import Interaction
from tf_mtl.layers.registry import register


@register("trunk", "factorization_machine")
@keras.saving.register_keras_serializable(package="tf_mtl")
class FactorizationMachine(Interaction):
    """Sums the elementwise products `v_i * v_j` of all pairs of vectors.

    It has no variables, and a cost that is linear in the number of vectors. Sums are
    taken in float32.

    Args:
        scalar: bool. Whether to sum over the width too: one number, the second-order
            term of a factorization machine. Else the vector of the same width.
        concat: see `Interaction`.

    Call arguments:
        vectors: see `Interaction`.

    Returns:
        tensor of shape `(batch, units)`; what is found has the width of one vector,
        or with `scalar` 1.

    Reference:
        Guo et al., DeepFM, IJCAI 2017, arXiv:1703.04247, for the number; He and Chua,
        Neural Factorization Machines, SIGIR 2017, arXiv:1708.05027, for the vector
        (bi-interaction). Differs from DeepFM: the first-order term is left to the
        layers that follow, and the number is a feature, not a part of the output.
    """

    def __init__(
        self, scalar: bool = False, concat: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(concat, **kwargs)
        self.scalar = scalar

    def interact(self, vectors: tf.Tensor) -> tf.Tensor:
        """Half the square of the sum minus the sum of the squares."""
        # The two nearly cancel: not in half precision.
        wide = tf.cast(vectors, tf.float32)
        square = tf.square(tf.reduce_sum(wide, axis=1))
        pairs = 0.5 * (square - tf.reduce_sum(tf.square(wide), axis=1))
        if self.scalar:
            pairs = tf.reduce_sum(pairs, axis=-1, keepdims=True)
        return tf.cast(pairs, vectors.dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "scalar": self.scalar}
