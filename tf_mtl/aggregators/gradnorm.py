"""GradNorm: weights that bring gradient norms to a common scale."""

from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_not_negative, check_positive
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.solvers import row_norms
from tf_mtl.aggregators.task_adam import TaskAdam

# A weight that reached 0 would never see its gradient again.
_FLOOR = 1e-3


@register("gradnorm")
class GradNorm(GramianWeighting):
    """Learns weights that make tasks train at similar rates.

    With the norms `n` of the rows and the rates `r_t = (l_t / l_t(0)) / mean`, the
    learned weights `w`, 1 at the start, move towards weighted norms
    `w_t n_t = mean(w n) r_t^alpha`: a task that lags behind gets a larger gradient.
    They take one step of Adam along `sign(w n - mean(w n) r^alpha) n`, the gradient of
    the L1 distance to that target, the target being constant; then they are raised to
    at least 1e-3 and scaled back to their sum, the number of tasks. A step uses the
    weights from before its own update. `l_t(0)` is the first loss of the task.

    The norms are all that is read of the Gramian, and no second-order gradient is
    taken: `n` does not depend on `w`. Means are over present tasks; they share their
    sum of weights among themselves, and absent tasks keep theirs. A row of norm 0 has
    the gradient 0. One task gets its plain gradient.

    Args:
        alpha: float, at least 0, the paper's alpha. 0 makes all norms equal, large
            values pull harder at tasks that lag behind.
        learning_rate: positive float, of the weights.
        **kwargs: see `GramianWeighting`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in
        Deep Multitask Networks, ICML 2018, arXiv:1711.02257. Differs: the rows are
        those of the surface of the model, all shared variables or the shared
        representation, where the paper takes the last shared layer; the towers get
        their plain gradients, where the paper weights the whole loss; and the floor.
        Public code differs too in the scale of the weights and in `alpha`.
    """

    uses_losses = True

    def __init__(
        self, alpha: float = 1.5, learning_rate: float = 0.025, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = check_not_negative("alpha", alpha)
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
        }

    def _build(self, num_tasks: int) -> None:
        shape = (num_tasks,)
        self._task_weights = self.add_variable(
            "task_weights", shape, initializer="ones", task_axes=1
        )
        # 0 for a task that was never present.
        self._first_losses = self.add_variable("first_losses", shape, task_axes=1)
        self._adam = TaskAdam(self, self.learning_rate, num_tasks)

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        weights = tf.identity(self._task_weights.value)
        shares = self._shares(present)
        norms = row_norms(gramian)
        rates = self._relative(losses)
        rates = tf.math.divide_no_nan(rates, tf.reduce_sum(shares * rates))
        target = tf.reduce_sum(shares * weights * norms) * rates**self.alpha
        gradient = tf.sign(weights * norms - target) * norms
        moved = tf.maximum(weights + self._adam.update(gradient), _FLOOR)
        scale = tf.math.divide_no_nan(
            tf.reduce_sum(shares * weights), tf.reduce_sum(shares * moved)
        )
        self._task_weights.assign(moved * scale)
        return weights

    def _relative(self, losses: tf.Tensor) -> tf.Tensor:
        """Losses over first losses, 1 where the first loss is 0."""
        first = self._first_losses.value
        first = tf.where(first > 0.0, first, losses)
        self._first_losses.assign(first)
        return tf.where(first > 0.0, tf.math.divide_no_nan(losses, first), 1.0)
