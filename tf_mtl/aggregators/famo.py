"""FAMO: weights learned from what each update does to the losses."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import check_not_negative, check_positive
from tf_mtl.aggregators.gap_weighting import GapWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.rows import as_float
from tf_mtl.aggregators.softmax import present_softmax
from tf_mtl.aggregators.task_adam import TaskAdam

_FLOOR = 1e-8


@register("famo")
class FAMO(GapWeighting):
    """Learns weights that make all losses fall at the same rate.

    With `z = softmax(xi)` over the present tasks, `xi` learned and 0 at the start, and
    the gaps `D = l - min_losses + 1e-8`, the weights are `z / D`, scaled to the sum 1.
    After the update the same batch is evaluated again: the rates of improvement
    `delta = log D(before) - log D(after)` give the gradient of `xi`,
    `z (delta - z . delta) + gamma xi`, and `xi` takes one step of Adam. A task that
    improved more than the others loses weight.

    The price is one more forward pass a step, without dropout: with dropout `delta`
    also holds what dropout adds to a loss. A hand-written loop calls `observe` after
    each update. `second_pass=False` takes the losses of the next batch instead: no more
    work than equal weights, but `delta` also holds how batches differ.

    A loss below its least value counts as equal to it. One task gets its plain
    gradient.

    Args:
        learning_rate: positive float, of `xi`; the paper's beta.
        gamma: float, at least 0, decay of `xi`, added to its gradient.
        min_losses: sequence of `num_tasks` floats, the least value of each loss. None:
            0 for each.
        second_pass: bool. Whether each batch is evaluated again after its update.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Liu et al., FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023,
        arXiv:2306.03792. Differs from the official code: it also clips the shared
        gradient to norm 1, for which optimizers have `global_clipnorm`, and its `gamma`
        is between 1e-5 and 1e-2, where the paper has 1e-3. Like it, this evaluates each
        batch twice; algorithm 1 speaks of one training set, for which
        `second_pass=False` gives the same weights.
    """

    def __init__(
        self,
        learning_rate: float = 0.025,
        gamma: float = 1e-3,
        min_losses: Sequence[float] | None = None,
        second_pass: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_losses=min_losses, **kwargs)
        self.second_pass = bool(second_pass)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.gamma = check_not_negative("gamma", gamma)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "gamma": self.gamma,
            "second_pass": self.second_pass,
        }

    @property
    def observes_update(self) -> bool:
        """Whether the batch of an update is evaluated again: `second_pass`."""
        return self.second_pass

    def weights(self, losses: tf.Tensor, present: tf.Tensor | None = None) -> tf.Tensor:
        """Weights of the task gradients, see `LossWeighting`."""
        if not self.second_pass:
            losses = as_float(losses)
            _, present = self._task_inputs(losses.shape[0], losses, present)
            # Tasks that no step has seen yet have nothing to be compared with.
            self.observe(losses, present & (self._last_gaps.value > 0.0))
        return super().weights(losses, present)

    def _build(self, num_tasks: int) -> None:
        shape = (num_tasks,)
        self._logits = self.add_variable("logits", shape, task_axes=1)
        self._last_gaps = self.add_variable("last_gaps", shape, task_axes=1)
        self._adam = TaskAdam(self, self.learning_rate, num_tasks)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        gaps = self._gaps(losses)
        self._last_gaps.assign(gaps)
        weights = present_softmax(self._logits.value, present) / gaps
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def _observe(self, losses: tf.Tensor, present: tf.Tensor) -> None:
        rates = tf.math.log(self._last_gaps.value / self._gaps(losses))
        rates = tf.where(present, rates, 0.0)
        shares = present_softmax(self._logits.value, present)
        gradient = shares * (rates - tf.reduce_sum(shares * rates))
        gradient += self.gamma * self._logits.value
        self._logits.assign(self._logits + self._adam.update(gradient))

    def _gaps(self, losses: tf.Tensor) -> tf.Tensor:
        return tf.maximum(super()._gaps(losses), 0.0) + _FLOOR
