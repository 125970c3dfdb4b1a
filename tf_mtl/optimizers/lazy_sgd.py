"""Gradient descent with momentum on the looked-up rows of a table."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.optimizers.base import LazyOptimizer


@keras.saving.register_keras_serializable(package="tf_mtl")
class LazySGD(LazyOptimizer, keras.optimizers.SGD):
    """Gradient descent that updates only the looked-up rows of a table.

    Dense gradients take the rule of `keras.optimizers.SGD`. The gradient `g` of a
    looked-up row takes

        velocity = momentum * velocity - learning_rate * g
        w += velocity

    with `momentum * velocity - learning_rate * g` in place of the last `velocity`
    if `nesterov`. Without momentum this is the dense rule exactly. With momentum it
    differs: a row that was not looked up keeps its velocity and stays where it is,
    where the dense rule lets it glide on.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: float in `[0, 1]`.
        nesterov: bool. Whether to use Nesterov momentum.
        weight_decay: float or None. Decoupled decay; of a table, looked-up rows.
        clipnorm: float or None. Largest norm of each gradient.
        clipvalue: float or None. Largest absolute value of a gradient entry.
        global_clipnorm: float or None. Largest norm of all gradients together.
        loss_scale_factor: float or None. Factor on the loss, divided out of the
            gradients.
        name: str or None. Name of the optimizer.
        **kwargs: see `LazyOptimizer`.

    Raises:
        ValueError: if `momentum` is outside its range, and see `LazyOptimizer`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
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
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            loss_scale_factor=loss_scale_factor,
            name=name,
            **kwargs,
        )

    def slots(self, variable: tf.Variable) -> list[keras.Variable]:
        """Velocity if there is momentum, else nothing."""
        if not self.momentum:
            return []
        return [self.momentums[self._get_variable_index(variable)]]

    def row_update(
        self, gradient: tf.Tensor, slots: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Row-wise rule, see `LazyOptimizer.row_update`."""
        step = -learning_rate * gradient
        if not slots:
            return step, []
        velocity = self.momentum * slots[0] + step
        change = self.momentum * velocity + step if self.nesterov else velocity
        return change, [velocity]
