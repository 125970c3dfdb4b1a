"""Aggregation: what an aggregator makes of the losses and gradients of one batch."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator
from tf_mtl.aggregators.row_aggregator import RowAggregator
from tf_mtl.gradients.capture import Gradient, all_finite
from tf_mtl.gradients.replicas import on_all_replicas, replica_sum
from tf_mtl.gradients.task_gradients import TaskGradients


class Aggregation:
    """Leads one batch through an aggregator, whatever takes the gradients.

    First `scaled_losses`, whose gradients are taken; then, for a method that looks at
    gradients, `directions` or `weights`. Each advances the state: call it once.

    Args:
        aggregator: `Aggregator`, built.
        losses: float32 scalars by task with their static weights, this replica's share.
        present: bool tensor of shape `(num_tasks,)`.
        scale: float32 scalar, loss scale of mixed precision.
        row_method: what turns rows into directions entry by entry, where it is not the
            aggregator.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        losses: Sequence[tf.Tensor],
        present: tf.Tensor,
        scale: tf.Tensor,
        row_method: RowAggregator | None = None,
    ) -> None:
        if row_method is None and isinstance(aggregator, RowAggregator):
            row_method = aggregator
        self.aggregator: Any = aggregator  # What it has depends on its kind.
        self.row_method = row_method
        self._losses = list(losses)
        self._values = tf.stop_gradient(replica_sum(tf.stack(self._losses)))
        self._present = present
        self._scale = scale

    def scaled_losses(self) -> list[tf.Tensor]:
        """Losses as they are differentiated: times `loss_weights` and loss scale."""
        weights = self.aggregator.loss_weights(self._values, self._present)
        factors = tf.unstack(weights * self._scale, len(self._losses))
        return [
            loss * factor for loss, factor in zip(self._losses, factors, strict=True)
        ]

    def directions(
        self, rows: TaskGradients, plain: Sequence[Gradient]
    ) -> list[tf.Tensor | tf.IndexedSlices]:
        """One direction for each block of rows, times the loss scale.

        Args:
            rows: rows of the shared variables, of the scaled losses.
            plain: all other gradients. If one is not finite, the batch is skipped and
                nothing is learnt from its rows.
        """
        if not rows.blocks:
            return []
        if self.row_method is None:
            return rows.weighted_sum(self.weights(rows.gramian()))
        ids = [block.ids for block in rows.blocks]
        usable = on_all_replicas(all_finite(plain))
        method = self.row_method

        def combine(blocks: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            unscaled = [block / self._scale for block in blocks]
            found = method.combine(unscaled, self._values, self._present, ids, usable)
            return [direction * self._scale for direction in found]

        return rows.combine(combine)

    def weights(self, gramian: tf.Tensor) -> tf.Tensor:
        """Weights of the tasks, from the Gramian of the gradients of scaled losses."""
        gramian = gramian / (self._scale * self._scale)
        return self.aggregator.weights(gramian, self._values, self._present)

    def earlier_weights(self, gramian: tf.Tensor) -> tf.Tensor:
        """Weights of the tasks from an earlier step."""
        del gramian
        return self.aggregator.reuse(self._present)
