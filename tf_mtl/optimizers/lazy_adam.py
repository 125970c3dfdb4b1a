"""Adam on the looked-up rows of a table."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.optimizers.adam_rows import AdamRows
from tf_mtl.optimizers.base import LazyOptimizer


@keras.saving.register_keras_serializable(package="tf_mtl")
class LazyAdam(AdamRows, LazyOptimizer, keras.optimizers.Adam):
    """Adam that updates only the looked-up rows of a table.

    Dense gradients take the rule of `keras.optimizers.Adam`. The gradient `g` of a
    looked-up row takes, at global step `t`,

        m += (1 - beta_1) * (g - m)
        v += (1 - beta_2) * (g ** 2 - v)
        w -= learning_rate * sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t)
             * m / (sqrt(v) + epsilon)

    and any other row keeps `m`, `v` and `w`. Differs from dense Adam, where rows
    that were not looked up have their averages decayed and are moved by
    what is left of their momentum. The bias correction uses the global step, not
    the number of lookups of the row: the first change of a row that is seen late is
    therefore larger than the learning rate, up to
    `(1 - beta_1) / sqrt(1 - beta_2)` times. Both are as in `torch.optim.SparseAdam`
    and the LazyAdam of TensorFlow Addons.

    Args:
        learning_rate: float or `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: float. Decay of the first moment.
        beta_2: float. Decay of the second moment.
        epsilon: float. Added to the root of the second moment.
        amsgrad: bool. Whether to divide by the largest second moment seen so far;
            of a table, seen at the lookups of the row.
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

    Example:
    >>> table = keras.Variable([[1.0], [2.0], [3.0]])
    >>> gradient = tf.IndexedSlices(tf.constant([[4.0], [5.0]]), tf.constant([0, 2]))
    >>> LazyAdam(learning_rate=0.5).apply([gradient], [table])
    >>> table.numpy().round(3).tolist()
    [[0.5], [2.0], [2.5]]

    Reference:
        Kingma and Ba, Adam, ICLR 2015. Row-wise form: see above for what differs.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            loss_scale_factor=loss_scale_factor,
            name=name,
            **kwargs,
        )

    def slots(self, variable: tf.Variable) -> list[keras.Variable]:
        """First and second moment, then the largest second moment if `amsgrad`."""
        index = self._get_variable_index(variable)
        slots = [self._momentums[index], self._velocities[index]]
        return [*slots, self._velocity_hats[index]] if self.amsgrad else slots
