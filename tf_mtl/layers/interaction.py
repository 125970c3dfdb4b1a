"""Interaction: base of the layers that combine the vectors of features."""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Interaction(keras.layers.Layer, abc.ABC):
    """Base of feature-interaction layers, the `trunk` of a model.

    A subclass says in `interact` how the vectors of the features act on each other.

    Args:
        concat: bool. Whether what is found is joined with the vectors it was found
            in, so that what follows reads both (as the parallel structure of DCN-v2);
            else it reads what was found alone (stacked).

    Call arguments:
        vectors: sequence of tensors `(batch, width)`, one for each feature.
        training: bool.

    Returns:
        tensor of shape `(batch, units)`.
    """

    def __init__(self, concat: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.concat = concat

    @abc.abstractmethod
    def interact(self, vectors: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        """What is found in the vectors, `(batch, units)`."""

    def call(self, vectors: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """Lets the vectors interact."""
        found = self.interact(vectors, training)
        return tf.concat([*vectors, found], axis=-1) if self.concat else found

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "concat": self.concat}
