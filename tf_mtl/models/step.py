"""The gradients of one train step, from a batch to one gradient per variable."""

from typing import Any

import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.aggregators import Aggregation
from tf_mtl.models.losses import plain_losses, present_tasks, weighted_losses
from tf_mtl.models.passes import Backward, Forward
from tf_mtl.models.task_model import TaskModel
from tf_mtl.models.updates import loss_scale
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

    # Known once `_losses` was called.
    _forward: Forward
    _aggregation: Aggregation

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
        totals = gradients.add_by_variable(backward.plain, shared)
        if not self.is_due:
            totals = self._limited(totals)
        return gradients.add_by_variable(totals, backward.penalty), self._forward

    def _losses(self, outputs: list[tf.Tensor]) -> list[tf.Tensor]:
        """Losses by task as they are differentiated. Remembers the forward pass."""
        model = self.model
        losses = plain_losses(model.tasks, outputs, self.targets)
        self._forward = Forward(outputs, losses)
        self._aggregation = Aggregation(
            self.aggregator,
            weighted_losses(model.tasks, losses),
            self.present,
            self.scale,
            model.row_method,
        )
        return self._aggregation.scaled_losses()

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
        directions = self._aggregation.directions(rows, plain)
        shared = rows.by_variable(
            directions, [v.value for v in model.trainable_variables]
        )
        return Backward(plain, shared, [None] * len(plain))

    # -- aggregation -------------------------------------------------------------

    def _weights(self, gramian: tf.Tensor) -> tf.Tensor:
        return self._aggregation.weights(gramian)

    def _earlier_weights(self, gramian: tf.Tensor) -> tf.Tensor:
        return self._aggregation.earlier_weights(gramian)

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
