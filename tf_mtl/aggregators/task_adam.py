"""Adam for the few numbers that a method learns about each task."""

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.moving_average import MovingAverage

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class TaskAdam:
    """Adam on one number per task, its moments kept in the state of an aggregator.

    Each task has a step count of its own: a task that was absent keeps its moments,
    and its bias correction goes on where it was.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        learning_rate: positive float.
        num_tasks: int.

    Reference:
        Kingma, Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
        arXiv:1412.6980, algorithm 1: epsilon is added to the corrected root, not to
        the uncorrected one as in Keras.
    """

    def __init__(self, owner: Aggregator, learning_rate: float, num_tasks: int) -> None:
        self._learning_rate = learning_rate
        shape = (num_tasks,)
        self._first = MovingAverage(owner, "first_moment", _BETA_1, shape, 1)
        self._second = MovingAverage(owner, "second_moment", _BETA_2, shape, 1)

    def update(self, gradient: tf.Tensor) -> tf.Tensor:
        """Takes a gradient in and returns what to add to the learned numbers.

        Args:
            gradient: float64 tensor of shape `(num_tasks,)`.

        Returns:
            float64 tensor of shape `(num_tasks,)`.
        """
        first = self._first.update(gradient)
        second = self._second.update(tf.square(gradient))
        return -self._learning_rate * first / (tf.sqrt(second) + _EPSILON)
