"""LossWeighting: methods that look at the losses alone."""

import abc
from typing import ClassVar, Literal

import tensorflow as tf

from tf_mtl.aggregators.rows import as_float, weighted_sum
from tf_mtl.aggregators.weighting import Weighting
from tf_mtl.gradients import all_finite


class LossWeighting(Weighting):
    """Weights the tasks by their losses alone: one backward pass a step.

    The direction is the gradient of the weighted sum of losses; the towers see the
    weights too. A subclass writes the hook `_weights`. It sets `uses_losses = False`
    if it ignores their values, so that it can be called without.

    Args:
        ema: see `Weighting`.
        preference: see `Aggregator`.
    """

    kind: ClassVar[Literal["loss"]] = "loss"
    uses_losses = True

    def weights(self, losses: tf.Tensor, present: tf.Tensor | None = None) -> tf.Tensor:
        """Weights of the task gradients. Advances the state.

        Args:
            losses: float tensor of shape `(num_tasks,)`.
            present: bool tensor of shape `(num_tasks,)`, False for a task without
                known label in this batch. None: all present.

        Returns:
            Tensor of shape `(num_tasks,)` in the dtype of `losses`, 0 for absent
            tasks. If the loss of a present task is not finite, NaN for all of them.
        """
        losses = as_float(losses)
        values, present = self._task_inputs(losses.shape[0], losses, present)
        usable = all_finite([values])
        values = tf.where(usable, values, 1.0)

        def hook() -> tf.Tensor:
            # What is said of absent tasks must not spoil the average.
            weights = self._weights(values, present & usable)
            weights = tf.where(present, weights, 0.0)
            return self._smoothed(weights)

        return tf.cast(self._settled(hook, usable, present), losses.dtype)

    def loss_weights(
        self, losses: tf.Tensor, present: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Factors of the losses before their gradients are taken: the weights."""
        return self.weights(losses, present)

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        jacobian = as_float(jacobian)
        losses, present = self._task_inputs(jacobian.shape[0], losses, present)
        return weighted_sum(jacobian, self.weights(losses, present), present)

    @abc.abstractmethod
    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Hook: the weights of present tasks; those of absent tasks do not matter.

        Args:
            losses: float64 tensor of shape `(num_tasks,)`, finite, 1 where absent.
            present: bool tensor of shape `(num_tasks,)`. False for all if a loss is
                not finite; what is found and learnt then does not count.

        Returns:
            float64 tensor of shape `(num_tasks,)`.
        """
