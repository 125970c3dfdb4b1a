"""Adam's rule for the looked-up rows of a table, for any Keras."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class AdamRows:
    """Row-wise rule for a class that is also the Adam of Keras 2 or of Keras 3."""

    beta_1: float
    beta_2: float
    epsilon: float
    iterations: Any

    def row_update(
        self, gradient: tf.Tensor, slots: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Row-wise rule, see `LazyOptimizer.row_update`.

        The slots are the first and second moment, then, with `amsgrad`, the largest
        second moment.
        """
        m, v, *v_max = slots
        m += (1.0 - self.beta_1) * (gradient - m)
        v += (1.0 - self.beta_2) * (tf.square(gradient) - v)
        v_max = [tf.maximum(largest, v) for largest in v_max]
        step = tf.cast(self.iterations + 1, gradient.dtype)
        correction = tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        root = tf.sqrt(v_max[0] if v_max else v)
        change = -learning_rate * correction * m / (root + self.epsilon)
        return change, [m, v, *v_max]
