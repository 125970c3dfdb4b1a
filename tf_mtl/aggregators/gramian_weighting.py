"""GramianWeighting: methods that look at inner products of the gradients."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import tensorflow as tf

from tf_mtl.aggregators.base import task_mask
from tf_mtl.aggregators.gradient_aggregator import GradientAggregator
from tf_mtl.aggregators.rows import as_float, as_rows, per_task, weighted_sum
from tf_mtl.aggregators.solvers import row_norms, with_exact_rank, with_ridge
from tf_mtl.aggregators.weighting import Weighting
from tf_mtl.gradients import all_finite

# Of inner products of float32 rows, relative to the norms.
_PRECISION = 1e-7
# What is done to a rounded Gramian, see `GramianWeighting.rounding`.
_ROUNDED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "keep": tf.identity,
    "rank": with_exact_rank,
    "ridge": with_ridge,
}


class GramianWeighting(GradientAggregator, Weighting):
    """Weights the tasks by the inner products of their gradients.

    The direction is the gradient of the weighted sum of losses, so no row is needed
    once the Gramian is known. A subclass writes the hook `_weights`.

    Args:
        update_every: int, at least 1. The weights of a step are used again in the
            `update_every - 1` steps after it, which need one backward pass below the
            towers where the model knows its representation.
        loss_weighting: see `GradientAggregator`.
        normalize_to: see `GradientAggregator`. Its factor is kept with the weights.
            Lengths are those at the surface that the Gramian was taken at.
        max_norm: see `GradientAggregator`. It looks at the direction of each step.
        ema: see `Weighting`. The average takes in the weights that are new.
        preference: see `Aggregator`.

    Attributes:
        rounding: what is done to a Gramian of float32 before the hook sees it, since
            its rounding may make dependent rows independent. `"keep"`: nothing, for
            methods that do not mind. `"rank"`: dependent rows are exactly so, see
            `solvers.with_exact_rank`. `"ridge"`: `solvers.with_ridge`, for methods
            that divide by eigenvalues, and would by that rounding.

    Raises:
        ValueError: if an argument is outside its range.
    """

    kind: ClassVar[Literal["gramian"]] = "gramian"
    rounding: ClassVar[Literal["keep", "rank", "ridge"]] = "keep"

    def __init__(self, *, update_every: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if update_every < 1:
            raise ValueError(
                "`update_every` must be at least 1. "
                f"Received: update_every={update_every}."
            )
        self.update_every = int(update_every)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "update_every": self.update_every}

    def weights(
        self,
        gramian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Weights of the task gradients. Advances the state.

        Args:
            gramian: float tensor of shape `(num_tasks, num_tasks)`, inner products of
                the gradients of the losses times `loss_weights`, already unscaled
                (loss scale removed) and summed over replicas.
            losses: float tensor of shape `(num_tasks,)`, see `uses_losses`.
            present: bool tensor of shape `(num_tasks,)`, False for a task without
                known label in this batch. None: all present.

        Returns:
            Tensor of shape `(num_tasks,)` in the dtype of `gramian`, 0 for absent
            tasks. If an inner product or loss of present tasks is not finite, NaN
            for all of them.
        """
        gramian = as_float(gramian)
        num_tasks = gramian.shape[0]
        if not gramian.shape.is_compatible_with([num_tasks, num_tasks]):
            raise ValueError(
                "`gramian` must have shape `(num_tasks, num_tasks)`. "
                f"Received: gramian of shape {tuple(gramian.shape)}."
            )
        losses, present = self._task_inputs(num_tasks, losses, present)
        pairs = task_mask(present, task_axes=2, rank=2)
        products = tf.where(pairs, tf.cast(gramian, tf.float64), 0.0)
        usable = all_finite([products, losses])
        # Outside XLA a linear solver raises when it meets NaN.
        products = tf.where(usable, products, tf.eye(num_tasks, dtype=tf.float64))
        losses = tf.where(usable, losses, 1.0)
        if gramian.dtype != tf.float64:
            products = _ROUNDED[self.rounding](products)
        weights = self._settled(
            lambda: self._kept(products, losses, present), usable, present
        )
        limited = weights * self._limiting(quadratic_form(products, weights))
        return tf.cast(limited, gramian.dtype)

    def is_due(self) -> tf.Tensor:
        """Bool scalar: whether the next step computes new weights."""
        if self.update_every == 1:
            return tf.constant(True)
        return tf.equal(self._age.value, 0)

    def reuse(self, present: tf.Tensor) -> tf.Tensor:
        """Weights of a step that is not due, in place of `weights`.

        The caller sees to `max_norm`.

        Args:
            present: bool tensor of shape `(num_tasks,)`.

        Returns:
            float32 tensor of shape `(num_tasks,)`.
        """
        self._grow_older()
        return tf.cast(tf.where(present, self._remembered(), 0.0), tf.float32)

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        jacobian = as_float(jacobian)
        losses, present = self._task_inputs(jacobian.shape[0], losses, present)
        rows = as_rows(jacobian)
        rows *= per_task(self.loss_weights(losses, present), rows)
        weights = self.weights(tf.matmul(rows, rows, transpose_b=True), losses, present)
        return tf.cast(weighted_sum(rows, weights, present), jacobian.dtype)

    @abc.abstractmethod
    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Hook: the weights of present tasks; those of absent tasks do not matter.

        Args:
            gramian: float64 tensor of shape `(num_tasks, num_tasks)`, finite, rows
                and columns of absent tasks 0.
            losses: float64 tensor of shape `(num_tasks,)`, finite, 1 where absent or
                not given.
            present: bool tensor of shape `(num_tasks,)`.

        Returns:
            float64 tensor of shape `(num_tasks,)`. NaN for a present task says that
            there is no solution: the step then takes the mean, and counts it.
        """

    def _build_options(self, num_tasks: int) -> None:
        super()._build_options(num_tasks)
        if self.update_every > 1:
            self._age = self.add_variable("steps_since_update", dtype="int32")
            self._last = self.add_variable("last_weights", (num_tasks,), task_axes=1)
            # Tasks that were present when weights were computed.
            self._known = self.add_variable("known_weights", (num_tasks,), task_axes=1)

    def _kept(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """New weights when they are due, else those of the last time."""
        if self.update_every == 1:
            return self._new(gramian, losses, present)

        def renew() -> tf.Tensor:
            weights = self._new(gramian, losses, present)
            self._last.assign(weights)
            self._known.assign(tf.ones_like(weights))
            return weights

        weights = tf.cond(self.is_due(), renew, self._remembered)
        self._grow_older()
        return weights

    def _remembered(self) -> tf.Tensor:
        """Weights of the last time; their mean for tasks that had none yet."""
        known = self._known.value
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(known * self._last.value), tf.reduce_sum(known)
        )
        return tf.where(known > 0.0, self._last.value, mean)

    def _new(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        # What is said of absent tasks must not spoil the average.
        weights = tf.where(present, self._weights(gramian, losses, present), 0.0)
        weights = tf.where(present, self._smoothed(weights), 0.0)
        mean = self._shares(present)
        return weights * self._normalizing(
            quadratic_form(gramian, weights), quadratic_form(gramian, mean)
        )

    def _grow_older(self) -> None:
        self._age.assign((self._age + 1) % self.update_every)


def quadratic_form(gramian: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Squared norm of the weighted sum of rows, float64 scalar.

    Inner products of float32 rows are good to 1e-7 of the norms: where the terms cancel
    further than that, the answer is that floor, so that nothing is divided by what is
    only rounding.
    """
    product = tf.tensordot(weights, tf.linalg.matvec(gramian, weights), 1)
    norms = row_norms(gramian)
    floor = _PRECISION * tf.square(tf.reduce_sum(tf.abs(weights) * norms))
    return tf.maximum(product, floor)
