"""One train step of a TensorFlow Recommenders model: gradients and update."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tf_mtl import gradients
from tf_mtl.aggregators import Aggregation

# Under AutoGraph, Python control flow becomes operations of the graph. That is for the
# layers and losses that a user writes, and not for what is here.
_as_it_is = tf.autograph.experimental.do_not_convert


class TrainStep:
    """A train step in parts; between them the model computes its losses.

    In the context of `tape`, the losses; `take` them; then `update`, perhaps `observe`,
    and `finish`.

    Args:
        model: `MultiTaskTFRSModel`, compiled, with all variables.
        present: bool tensor of shape `(num_tasks,)`.

    Attributes:
        tape: gradient tape.
        losses: float32 scalars by task, once taken.
        penalty: float32 scalar, sum of the regularisation losses, once taken.
    """

    losses: list[tf.Tensor]
    penalty: tf.Tensor

    def __init__(self, model: Any, present: tf.Tensor) -> None:
        self.tape = tf.GradientTape(persistent=True)
        self._model = model
        self._aggregator = model.aggregator
        self._present = present
        self._before = gradients.Snapshot(
            [*changing_variables(model), *self._aggregator.step_variables]
        )

    @_as_it_is
    def take(self, losses: list[tf.Tensor]) -> None:
        """Takes the losses by task. Advances the aggregator's state."""
        scale = loss_scale(self._model.optimizer)
        self.losses = losses
        self.penalty = regularization_loss(self._model)
        self._aggregation = Aggregation(self._aggregator, losses, self._present, scale)
        self._scaled = self._aggregation.scaled_losses()
        self._scaled_penalty = self.penalty * scale

    @_as_it_is
    def update(self) -> None:
        """Updates the variables, unless a loss or gradient is not finite."""
        model = self._model
        self._is_ok = apply_gradients(
            model.optimizer,
            self._gradients(model.trainable_variables),
            model.trainable_variables,
            [*self.losses, self.penalty],
        )
        self._after_forward = gradients.Snapshot(changing_variables(model))

    @_as_it_is
    def observe(self, losses: list[tf.Tensor]) -> None:
        """Tells the aggregator the losses of the batch after its update."""
        # Metrics and running means saw the batch twice.
        self._after_forward.put_back_unless(tf.constant(False))
        self._aggregator.observe(tf.stack(losses), self._present)

    @_as_it_is
    def finish(self) -> tf.Tensor:
        """Undoes a step that was skipped.

        Returns:
            bool scalar: whether the step counts.
        """
        self._before.put_back_unless(self._is_ok)
        return self._is_ok

    def _gradients(self, variables: list[tf.Variable]) -> list[gradients.Gradient]:
        """Gradient of each variable, times the loss scale."""
        tape, penalty = self.tape, self._scaled_penalty
        directions: list[gradients.Gradient] = [None] * len(variables)
        if self._aggregator.kind == "loss":
            plain = tape.gradient([*self._scaled, penalty], variables)
            return gradients.add_by_variable(plain, directions)
        rows = [tape.gradient(loss, variables) for loss in self._scaled]
        own, shared = gradients.split_task_specific(rows)
        plain = gradients.add_penalty(tape, penalty, own, variables)
        blocks = gradients.stack_rows(shared, variables)
        found = self._aggregation.directions(blocks, plain)
        return gradients.add_by_variable(plain, blocks.by_variable(found, variables))


def shared_variables(model: Any, inputs: Any) -> list[tf.Variable]:
    """Variables that several tasks reach. Creates all variables of a model.

    Args:
        model: `MultiTaskTFRSModel`.
        inputs: a batch. A trace of its losses, which is never run, is looked at.
    """
    found: dict[str, list[tf.Variable]] = {}

    def trace(inputs: Any) -> None:
        losses = model.compute_losses(inputs, training=True)
        found.update(shared=_reached_by_several(model, losses))

    specs = tf.nest.map_structure(tf.type_spec_from_value, inputs)
    with tf.init_scope():
        tf.function(trace).get_concrete_function(specs)
    return found["shared"]


@_as_it_is
def _reached_by_several(
    model: Any, losses: Mapping[str, tf.Tensor]
) -> list[tf.Variable]:
    variables = model.trainable_variables
    # No tape records in `tf.init_scope`.
    rows = [tf.gradients(loss, variables) for loss in model.by_task(losses)]
    _, shared = gradients.split_task_specific(rows)
    return [
        variable
        for variable, column in zip(variables, zip(*shared, strict=True), strict=True)
        if any(gradient is not None for gradient in column)
    ]


def apply_gradients(
    optimizer: Any,
    found: Sequence[gradients.Gradient],
    variables: Sequence[tf.Variable],
    losses: Sequence[tf.Tensor],
) -> tf.Tensor:
    """Updates the variables, unless a loss or gradient is not finite.

    Args:
        optimizer: optimizer of `tf.keras`.
        found: gradient of each variable, times the loss scale; `None` for none.
        variables: all trainable variables.
        losses: float tensors that must be finite too.

    Returns:
        bool scalar: whether all of them were finite.
    """
    has_scale = _has_scale(optimizer)
    totals, changed = gradients.reached_only(found, variables)
    if not isinstance(optimizer, tf.keras.optimizers.legacy.Optimizer):
        with tf.init_scope():
            optimizer.build(variables)

    def update(scaled: Sequence[tf.Tensor | tf.IndexedSlices]) -> None:
        unscaled = optimizer.get_unscaled_gradients(scaled) if has_scale else scaled
        optimizer.apply_gradients(zip(unscaled, changed, strict=True))

    return gradients.update_if_finite(update, totals, losses, skips_itself=has_scale)


def loss_scale(optimizer: Any) -> tf.Tensor:
    """What an optimizer wants losses to be multiplied with, float32 scalar."""
    one = tf.constant(1.0)
    return optimizer.get_scaled_loss(one) if _has_scale(optimizer) else one


def regularization_loss(model: tf.keras.Model) -> tf.Tensor:
    """Sum of the regularisation losses of the last forward pass, float32 scalar."""
    return tf.add_n(
        [tf.zeros([]), *(tf.cast(tf.reduce_sum(x), tf.float32) for x in model.losses)]
    )


def changing_variables(model: tf.keras.Model) -> list[tf.Variable]:
    """What a forward pass may change: running means, and the state of metrics.

    Frozen layers do not change, nor do indices of candidates; both may be large.
    """
    fixed = {
        id(weight)
        for layer in model.submodules
        if isinstance(layer, tf.keras.layers.Layer)
        and (
            not layer.trainable or isinstance(layer, tfrs.layers.factorized_top_k.TopK)
        )
        for weight in layer.weights
    }
    means = [v for v in model.non_trainable_weights if id(v) not in fixed]
    return means + [v for metric in model.metrics for v in metric.variables]


def _has_scale(optimizer: Any) -> bool:
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
