"""Steps between two solutions of an aggregator, which use the last weights again."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.models.passes import Forward
from tf_mtl.models.step import Step
from tf_mtl.models.task_model import TaskModel
from tf_mtl.tasks import Targets


def found_gradients(
    model: TaskModel, inputs: Any, targets: Targets
) -> tuple[list[gradients.Gradient], Forward]:
    """Gradients of a step, in one backward pass where earlier weights are used again.

    Args:
        model: compiled `TaskModel`.
        inputs: as the model takes them.
        targets: labels, masks and weights of the batch.

    Returns:
        See `Step.run`.
    """
    if not reuses_weights(model):
        return Step(model, inputs, targets).run()
    like: list[gradients.Gradient] = []

    def tensors(is_due: bool) -> tuple[list[list[tf.Tensor]], list[list[tf.Tensor]]]:
        like[:], forward = Step(model, inputs, targets, is_due).run()
        return [forward.outputs, forward.losses], [_parts(g) for g in like]

    # Both ways are compiled, and each step takes one.
    forward, parts = tf.cond(
        model.aggregator.is_due(), lambda: tensors(True), lambda: tensors(False)
    )
    found = [
        _joined(gradient, tensors_of_it, variable)
        for gradient, tensors_of_it, variable in zip(
            like, parts, model.trainable_variables, strict=True
        )
    ]
    return found, Forward(*forward)


def reuses_weights(model: TaskModel) -> bool:
    """Whether some steps of a model can do without the gradients of the tasks."""
    aggregator = model.aggregator
    if aggregator.kind != "gramian" or aggregator.update_every == 1:
        return False
    if model.surface == "representation" or tf.distribute.has_strategy():
        return False  # Cheap as it is; and replicas cannot meet inside a condition.
    if not model.has_representation:
        return False
    return aggregator.max_norm is None or model.shared_ids is not None


def _parts(gradient: gradients.Gradient) -> list[tf.Tensor]:
    """The tensors of a gradient, as a condition can return them."""
    if gradient is None:
        return []
    if isinstance(gradient, tf.IndexedSlices):
        return [gradient.values, gradient.indices]
    return [gradient]


def _joined(
    like: gradients.Gradient, parts: Sequence[tf.Tensor], variable: keras.Variable
) -> gradients.Gradient:
    """A gradient of the same form as `like`, made of its `_parts`."""
    if like is None:
        return None
    if isinstance(like, tf.IndexedSlices):
        shape = tf.constant(tuple(variable.shape), tf.int64)
        return gradients.UniqueSlices(*parts, shape)
    return parts[0]
