"""Interaction: base of the layers that combine the vectors of id features."""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Interaction(keras.layers.Layer, abc.ABC):
    """Base of layers that let vectors of one width act on each other.

    As the `trunk` of a model it gets the vectors of the features with ids, pooled lists
    and sequences included; numbers pass it by and are joined with what it returns.

    Args:
        concat: bool. Whether what is found is joined with the vectors that it was found
            in; else what follows reads what was found alone.

    Call arguments:
        vectors: sequence of at least two tensors `(batch, width)`, one per feature.

    Returns:
        tensor of shape `(batch, units)`.

    Raises:
        ValueError: in `build`, if the widths differ or there is only one vector.

    Reference:
        A model reads the result as features, below everything that tasks have of their
        own. The layout of GradCraft's experiments, where the interaction is one number
        beside the mixture of experts at the entrance of each tower, is not reproduced.
    """

    def __init__(self, concat: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.concat = concat

    @abc.abstractmethod
    def interact(self, vectors: tf.Tensor) -> tf.Tensor:
        """What is found in vectors `(batch, num_vectors, width)`: `(batch, units)`."""

    def build(self, vectors_shape: Sequence[Sequence[int | None]]) -> None:
        """Checks that the vectors can be stacked."""
        widths = [shape[-1] for shape in vectors_shape]
        if len(widths) < 2 or len(set(widths)) > 1:
            raise ValueError(
                f"`vectors` of {type(self).__name__} must be two or more of one width. "
                f"Received: vectors of widths {widths}."
            )

    def call(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """Lets the vectors interact."""
        found = self.interact(tf.stack(vectors, axis=1))
        return tf.concat([*vectors, found], axis=-1) if self.concat else found

    def compute_output_shape(
        self, vectors_shape: Sequence[Sequence[int | None]]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the vectors, as `call` says."""
        vectors = [
            keras.KerasTensor(shape, self.compute_dtype) for shape in vectors_shape
        ]
        return tuple(keras.Operation.compute_output_spec(self, vectors).shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "concat": self.concat}
