"""The three kinds of aggregator, by what a method needs to see."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator, all_finite, as_rows, task_mask
from tf_mtl.aggregators.reduction import reduction_factor


class _Weighting(Aggregator):
    """An aggregator whose direction is a weighted sum of rows."""

    def _settle_weights(
        self,
        hook: Callable[[], tf.Tensor],
        usable: tf.Tensor,
        present: tf.Tensor,
        dtype: tf.DType,
    ) -> tf.Tensor:
        """Runs `hook`, then sees to absent tasks and to results not finite."""

        def masked_hook() -> list[tf.Tensor]:
            return [tf.cast(tf.where(present, hook(), 0.0), dtype)]

        mean = tf.cast(_mean_weights(present), dtype)
        [weights] = self._attempt(masked_hook, [mean], usable, present)
        return tf.where(present, weights, tf.zeros_like(weights))


class LossWeighting(_Weighting):
    """Weights the tasks by their losses alone: one backward pass a step.

    The direction is the gradient of the weighted sum of losses. A subclass writes
    the hook `_weights`. It sets `uses_losses = False` if it ignores their values, so
    that it can be called without.
    """

    kind = "loss"
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
        losses = _as_float(losses)
        values, present = self._task_inputs(losses.shape[0], losses, present)
        usable = all_finite([values])
        values = tf.where(usable, values, 1.0)
        return self._settle_weights(
            lambda: self._weights(values, present), usable, present, losses.dtype
        )

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        jacobian = _as_float(jacobian)
        losses, present = self._task_inputs(jacobian.shape[0], losses, present)
        return _weighted_sum(jacobian, self.weights(losses, present), present)

    def _weights(self, losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Hook: the weights of present tasks; those of absent tasks do not matter.

        Args:
            losses: float64 tensor of shape `(num_tasks,)`, finite, 1 where absent.
            present: bool tensor of shape `(num_tasks,)`.

        Returns:
            float64 tensor of shape `(num_tasks,)`.
        """
        raise NotImplementedError


class GramianWeighting(_Weighting):
    """Weights the tasks by the inner products of their gradients.

    The direction is the gradient of the weighted sum of losses, so no row is needed
    once the Gramian is known. A subclass writes the hook `_weights`.
    """

    kind = "gramian"

    def weights(
        self,
        gramian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Weights of the task gradients. Advances the state.

        Args:
            gramian: float tensor of shape `(num_tasks, num_tasks)`, already unscaled
                (loss scale removed) and summed over replicas.
            losses: float tensor of shape `(num_tasks,)`, see `uses_losses`.
            present: bool tensor of shape `(num_tasks,)`, False for a task without
                known label in this batch. None: all present.

        Returns:
            Tensor of shape `(num_tasks,)` in the dtype of `gramian`, 0 for absent
            tasks. If an inner product or loss of present tasks is not finite, NaN
            for all of them.
        """
        gramian = _as_float(gramian)
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
        return self._settle_weights(
            lambda: self._weights(products, losses, present),
            usable,
            present,
            gramian.dtype,
        )

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        jacobian = _as_float(jacobian)
        losses, present = self._task_inputs(jacobian.shape[0], losses, present)
        rows = as_rows(jacobian)
        gramian = tf.matmul(rows, rows, transpose_b=True)
        weights = self.weights(gramian, losses, present)
        return _weighted_sum(jacobian, weights, present)

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
            float64 tensor of shape `(num_tasks,)`.
        """
        raise NotImplementedError


class RowAggregator(Aggregator):
    """Works on the entries of the rows, variable by variable.

    For methods that are not a weighted sum of rows, or that weight each variable on
    its own. A subclass writes the hook `_combine`.
    """

    kind = "rows"

    def combine(
        self,
        blocks: Sequence[tf.Tensor],
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """One direction for each block of rows. Advances the state.

        Args:
            blocks: float tensors of shape `(num_tasks, ...)`, one per variable,
                already unscaled (loss scale removed) and summed over replicas.
            losses: float tensor of shape `(num_tasks,)`, see `uses_losses`.
            present: bool tensor of shape `(num_tasks,)`, False for a task without
                known label in this batch. None: all present.

        Returns:
            List of tensors of shape `(...)` in the dtypes of `blocks`. All NaN if a
            row or loss of a present task is not finite.
        """
        if not blocks:
            raise ValueError("`blocks` must hold a block or more. Received: blocks=[].")
        blocks = [_as_float(block) for block in blocks]
        losses, present = self._task_inputs(blocks[0].shape[0], losses, present)
        rows = [_present_rows(block, present) for block in blocks]
        usable = all_finite([*rows, losses])
        rows = [tf.where(usable, block, tf.zeros_like(block)) for block in rows]
        losses = tf.where(usable, losses, 1.0)
        directions = self._attempt(
            lambda: self._combine(rows, losses, present),
            [_weighted_sum(block, _mean_weights(present), present) for block in rows],
            usable,
            present,
        )
        return [
            tf.cast(direction, block.dtype)
            for direction, block in zip(directions, blocks, strict=True)
        ]

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        [direction] = self.combine([jacobian], losses, present)
        return direction

    def _combine(
        self, blocks: list[tf.Tensor], losses: tf.Tensor, present: tf.Tensor
    ) -> list[tf.Tensor]:
        """Hook: one direction for each block.

        Args:
            blocks: float32 or float64 tensors of shape `(num_tasks, ...)`, finite,
                rows of absent tasks 0.
            losses: float64 tensor of shape `(num_tasks,)`, finite, 1 where absent or
                not given.
            present: bool tensor of shape `(num_tasks,)`.

        Returns:
            List of tensors of shape `(...)` in the dtypes of `blocks`.
        """
        raise NotImplementedError


def _as_float(tensor: tf.Tensor) -> tf.Tensor:
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float32)


def _mean_weights(present: tf.Tensor) -> tf.Tensor:
    """Weights of the mean over present tasks, float64 `(num_tasks,)`."""
    return tf.cast(present, tf.float64) * reduction_factor("mean", present)


def _present_rows(block: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Rows fit for inner products, 0 where absent even if they held NaN."""
    block = as_rows(block)
    mask = task_mask(present, task_axes=1, rank=block.shape.rank)
    return tf.where(mask, block, tf.zeros_like(block))


def _weighted_sum(
    block: tf.Tensor, weights: tf.Tensor, present: tf.Tensor
) -> tf.Tensor:
    """Sum of present rows times weights, in the dtype of `block`."""
    rows = _present_rows(block, present)
    direction = tf.tensordot(tf.cast(weights, rows.dtype), rows, axes=1)
    return tf.cast(direction, block.dtype)
