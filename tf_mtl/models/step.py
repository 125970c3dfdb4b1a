"""The gradients of one train step, from a batch to one gradient per variable."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.models.losses import plain_losses, present_tasks, weighted_losses
from tf_mtl.models.passes import Backward, Forward
from tf_mtl.models.task_model import TaskModel
from tf_mtl.models.updates import loss_scale, on_all_replicas
from tf_mtl.tasks import Targets


class Step:
    """Forward pass, backward pass and aggregation of a batch.

    Args:
        model: compiled `TaskModel`.
        inputs: as the model takes them.
        targets: labels, masks and weights of the batch.
        is_due: bool. Whether the aggregator makes new weights. Else it gives those of
            an earlier step, and one backward pass will do.
    """

    _forward: Forward  # Known once `_losses` was called.

    def __init__(
        self, model: TaskModel, inputs: Any, targets: Targets, is_due: bool = True
    ) -> None:
        self.model = model
        self.aggregator = model.aggregator
        self.inputs = inputs
        self.targets = targets
        self.is_due = is_due
        self.present = present_tasks(targets)
        self.scale = loss_scale(model.optimizer)

    def run(self) -> tuple[list[gradients.Gradient], Forward]:
        """Finds the gradients. Advances the state of the aggregator; call it once.

        Returns:
            Gradient of each trainable variable, this replica's part, times the loss
            scale; and what the forward pass found.
        """
        backward = self._backward()
        shared = [
            None if g is None else gradients.share_of_replica(g)
            for g in backward.shared
        ]
        totals = _added(backward.plain, shared)
        if not self.is_due:
            totals = self._limited(totals)
        return _added(totals, backward.penalty), self._forward

    # -- losses ------------------------------------------------------------------

    def _losses(self, outputs: list[tf.Tensor]) -> list[tf.Tensor]:
        """Losses by task as they are differentiated. Remembers the forward pass."""
        losses = plain_losses(self.model.tasks, outputs, self.targets)
        self._forward = Forward(outputs, losses)
        totals = tf.stop_gradient(self._total_losses())
        factors = self.aggregator.loss_weights(totals, self.present) * self.scale
        weighted = weighted_losses(self.model.tasks, losses)
        return [
            loss * factor
            for loss, factor in zip(weighted, tf.unstack(factors), strict=True)
        ]

    def _total_losses(self) -> tf.Tensor:
        """Losses with their static weights over all replicas, `(num_tasks,)`."""
        losses = weighted_losses(self.model.tasks, self._forward.losses)
        return replica_sum(tf.stack(losses))

    # -- backward ----------------------------------------------------------------

    def _backward(self) -> Backward:
        model, aggregator = self.model, self.aggregator
        route = model.route_fn(self.present, self.scale)
        # Most models route nothing, and need not know that others do.
        routing = {} if route is None else {"route": route}
        is_summed = aggregator.kind == "loss" and model.row_method is None
        weigh = None
        if is_summed or not model.has_shared_variables:
            if route is None:
                return self._summed_backward()
        elif not self.is_due:
            weigh = self._earlier_weights
        elif model.surface == "representation":
            weigh = self._weights
        else:
            return self._exact_backward(routing)
        return model.representation_backward(
            self.inputs, self._losses, weigh, **routing
        )

    def _summed_backward(self) -> Backward:
        """One backward pass of the sum of the losses."""
        model = self.model
        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = model.task_outputs(self.inputs, training=True)
            penalty = model.penalty()
            losses = self._losses(outputs)
        targets = [*losses] if penalty is None else [*losses, penalty]
        found = tape.gradient(targets, variables)
        none: list[gradients.Gradient] = [None] * len(found)
        return Backward(found, none, none)

    def _exact_backward(self, routing: dict[str, Any]) -> Backward:
        """A backward pass per task, whose rows are aggregated variable by variable."""
        model = self.model
        plain, rows = model.task_gradients(self.inputs, self._losses, **routing)
        if model.row_method is None:
            directions = rows.weighted_sum(self._weights(rows.gramian()))
        else:
            usable = on_all_replicas(gradients.all_finite(plain))
            directions = self._row_directions(model.row_method, rows, usable)
        by_id = {
            id(block.variable): direction
            for block, direction in zip(rows.blocks, directions, strict=True)
        }
        shared = [by_id.get(id(v.value)) for v in model.trainable_variables]
        return Backward(plain, shared, [None] * len(plain))

    # -- aggregation -------------------------------------------------------------

    def _weights(self, gramian: tf.Tensor) -> tf.Tensor:
        """Weights of the tasks from the Gramian of their scaled gradients."""
        gramian = gramian / (self.scale * self.scale)
        return self.aggregator.weights(gramian, self._total_losses(), self.present)

    def _earlier_weights(self, gramian: tf.Tensor) -> tf.Tensor:
        """Weights of the tasks from an earlier step."""
        del gramian
        return self.aggregator.reuse(self.present)

    def _row_directions(
        self, method: Any, rows: gradients.TaskGradients, usable: tf.Tensor
    ) -> list[gradients.Gradient]:
        """One direction for each block of rows, times the loss scale."""
        ids = [block.ids for block in rows.blocks]

        def combine(blocks: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            unscaled = [block / self.scale for block in blocks]
            found = method.combine(
                unscaled, self._total_losses(), self.present, ids, usable
            )
            return [direction * self.scale for direction in found]

        return rows.combine(combine)

    def _limited(self, totals: list[gradients.Gradient]) -> list[gradients.Gradient]:
        """Applies `max_norm` to a direction whose Gramian is not known."""
        if self.aggregator.max_norm is None:
            return totals
        shared = self.model.shared_ids or ()
        variables = self.model.trainable_variables
        places = [i for i, v in enumerate(variables) if id(v) in shared]
        limit = self.aggregator.max_norm * self.scale
        norm = gradients.global_norm([totals[i] for i in places])
        factor = limit / tf.maximum(norm, limit)
        totals = list(totals)
        for i in places:
            totals[i] = gradients.map_gradient(
                lambda g: g * tf.cast(factor, g.dtype), totals[i]
            )
        return totals


def _added(
    first: Sequence[gradients.Gradient], second: Sequence[gradients.Gradient]
) -> list[gradients.Gradient]:
    """Sums by variable, rows of tables summed by id."""
    totals = []
    for pair in zip(first, second, strict=True):
        total = gradients.add_gradients(*pair)
        if isinstance(total, tf.IndexedSlices):
            total = gradients.unique_slices(total)
        totals.append(total)
    return totals
