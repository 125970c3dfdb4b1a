import numpy as np
import tensorflow as tf

from tf_mtl.aggregators import LossWeighting
from tf_mtl.aggregators.task_adam import TaskAdam


class Descent(LossWeighting):
    """Moves its weights along the losses."""

    def _build(self, num_tasks):
        self._value = self.add_variable("value", (num_tasks,), task_axes=1)
        self._adam = TaskAdam(self, 0.1, num_tasks)

    def _weights(self, losses, present):
        self._value.assign(self._value + self._adam.update(losses))
        return tf.identity(self._value.value)


def reference(gradients):
    """Adam on one number, as in the paper."""
    value = first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = np.sqrt(second / (1 - 0.999**step))
        value -= 0.1 * first / (1 - 0.9**step) / (corrected + 1e-8)
    return value


def test_first_step_is_the_learning_rate():
    np.testing.assert_allclose(Descent().weights([2.0, -5.0]), [-0.1, 0.1], rtol=1e-6)


def test_steps_match_reference():
    aggregator = Descent()
    gradients = np.random.default_rng(0).normal(size=(20, 2))
    for gradient in gradients:
        weights = aggregator.weights(gradient)
    expected = [reference(gradients[:, task]) for task in range(2)]
    np.testing.assert_allclose(weights, expected, rtol=1e-9)


def test_absent_task_has_its_own_step_count():
    aggregator = Descent()
    gradients = np.random.default_rng(0).normal(size=(9, 2))
    for step, gradient in enumerate(gradients):
        weights = aggregator.weights(gradient, present=[True, step % 3 == 0])
    weights = aggregator.weights(tf.ones([2], tf.float64))
    expected = [
        reference([*gradients[:, 0], 1.0]),
        reference([*gradients[::3, 1], 1.0]),
    ]
    np.testing.assert_allclose(weights, expected, rtol=1e-9)
