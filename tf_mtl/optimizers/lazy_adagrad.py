"""Adagrad on the looked-up rows of a table."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.optimizers.base import LazyOptimizer


@keras.saving.register_keras_serializable(package="tf_mtl")
class LazyAdagrad(LazyOptimizer, keras.optimizers.Adagrad):
    """Adagrad that updates only the looked-up rows of a table.

    Dense gradients take the rule of `keras.optimizers.Adagrad`. The gradient `g` of
    a looked-up row takes

        accumulator += g ** 2
        w -= learning_rate * g / sqrt(accumulator + epsilon)

    which is the dense rule exactly, since a zero gradient changes nothing. Only
    weight decay differs: it shrinks looked-up rows alone.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        initial_accumulator_value: non-negative float. First accumulator value.
        epsilon: float. Added to the accumulator under the root.
        weight_decay: float or None. Decoupled decay; of a table, looked-up rows.
        clipnorm: float or None. Largest norm of each gradient.
        clipvalue: float or None. Largest absolute value of a gradient entry.
        global_clipnorm: float or None. Largest norm of all gradients together.
        loss_scale_factor: float or None. Factor on the loss, divided out of the
            gradients.
        name: str or None. Name of the optimizer.
        **kwargs: see `LazyOptimizer`.

    Raises:
        ValueError: see `LazyOptimizer`.

    Reference:
        Duchi et al., Adaptive Subgradient Methods, JMLR 2011.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        loss_scale_factor: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=epsilon,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            loss_scale_factor=loss_scale_factor,
            name=name,
            **kwargs,
        )

    def slots(self, variable: tf.Variable) -> list[keras.Variable]:
        """Accumulator of squared gradients."""
        return [self._accumulators[self._get_variable_index(variable)]]

    def row_update(
        self, gradient: tf.Tensor, slots: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Row-wise rule, see `LazyOptimizer.row_update`."""
        accumulator = slots[0] + tf.square(gradient)
        root = tf.sqrt(accumulator + self.epsilon)
        return -learning_rate * gradient / root, [accumulator]
