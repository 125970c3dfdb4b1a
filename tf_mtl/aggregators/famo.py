"""FAMO: weights learned from what each update does to the losses."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.checks import (
    check_count,
    check_not_negative,
    check_positive,
)
from tf_mtl.aggregators.gap_weighting import GapWeighting
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.rows import as_float
from tf_mtl.aggregators.softmax import present_softmax
from tf_mtl.aggregators.task_adam import TaskAdam
from tf_mtl.gradients.replicas import num_replicas

_FLOOR = 1e-8


@register("famo")
class FAMO(GapWeighting):
    """Learns weights that make all losses fall at the same rate.

    With `z = softmax(xi)` over the present tasks, `xi` learned and 0 at the start, and
    the gaps `D = l - min_losses + 1e-8`, the weights are `z / D`, scaled to the sum 1.
    After every `second_pass_every`-th update its batch is evaluated again: the rates of
    improvement `delta = log D(before) - log D(after)` give the gradient of `xi`,
    `z (delta - z . delta) + gamma xi`, and `xi` takes one step of Adam. A task that
    improved more than the others loses weight.

    The price is one more forward pass in those steps, without dropout: with dropout
    `delta` also holds what dropout adds to a loss. A hand-written loop calls `observe`
    after an update. `second_pass_every=None` takes the losses of the next batch
    instead, in every step: no more work than equal weights, but `delta` also holds how
    batches differ.

    A loss below its least value counts as equal to it. One task gets its plain
    gradient.

    Args:
        learning_rate: positive float, of `xi`; the paper's beta.
        gamma: float, at least 0, decay of `xi`, added to its gradient.
        min_losses: sequence of `num_tasks` floats, the least value of each loss. None:
            0 for each.
        second_pass_every: int, at least 1, or None. The batch of every n-th step, the
            first included, is evaluated again after its update; with several replicas
            all are evaluated, at that cost, and every n-th counts. Choose a number
            that has no divisor in common with a cycle of the batches, such as days or
            sources whose labels differ. None: of no step.
        **kwargs: see `LossWeighting`.

    Raises:
        ValueError: if an argument is outside its range.

    Reference:
        Liu et al., FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023,
        arXiv:2306.03792. Differs from the official code: it also clips the shared
        gradient to norm 1, for which optimizers have `global_clipnorm`, and its `gamma`
        is between 1e-5 and 1e-2, where the paper has 1e-3; and it evaluates every batch
        twice, `second_pass_every=1`, which costs a forward pass in each step. By
        default `xi` learns, and decays, in a fifth of the steps. Algorithm 1 speaks of
        one training set, for which `second_pass_every=None` gives the same weights as
        1.
    """

    def __init__(
        self,
        learning_rate: float = 0.025,
        gamma: float = 1e-3,
        min_losses: Sequence[float] | None = None,
        second_pass_every: int | None = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_losses=min_losses, **kwargs)
        if second_pass_every is not None:
            check_count("second_pass_every", second_pass_every)
        self.second_pass_every = second_pass_every
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.gamma = check_not_negative("gamma", gamma)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "gamma": self.gamma,
            "second_pass_every": self.second_pass_every,
        }

    @property
    def observes_update(self) -> bool:
        """Whether the batch of some updates is evaluated again."""
        return self.second_pass_every is not None

    def updated_losses(self, evaluate: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Losses for `observe`, see `Aggregator`."""
        every = self.second_pass_every
        if every == 1:
            return evaluate()
        is_due = self._steps.value % every == 1
        nothing = tf.fill([self.num_tasks], tf.constant(math.nan, tf.float64))
        if num_replicas() > 1:  # They cannot meet inside a condition.
            return tf.where(is_due, tf.cast(evaluate(), tf.float64), nothing)
        return tf.cond(is_due, lambda: tf.cast(evaluate(), tf.float64), lambda: nothing)

    def weights(self, losses: tf.Tensor, present: tf.Tensor | None = None) -> tf.Tensor:
        """Weights of the task gradients, see `LossWeighting`."""
        if self.second_pass_every is None:
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
        self._steps = self.add_variable("steps", dtype="int32")

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        gaps = self._gaps(losses)
        self._last_gaps.assign(gaps)
        self._steps.assign_add(1)
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
