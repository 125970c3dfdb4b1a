"""Outputs of a Keras network as raw outputs by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.tasks import Task

_PROBABILITY_EPS = 1e-7


def raw_outputs(
    tasks: Sequence[Task], outputs: Any, from_logits: bool
) -> list[tf.Tensor]:
    """Puts the outputs of a network in task order, as logits and values.

    Args:
        tasks: sequence of `Task`.
        outputs: dict of tensors by task name, list in task order, or, for one task, a
            tensor; each of shape `(batch,)` or `(batch, 1)`.
        from_logits: bool. Whether the outputs of binary tasks are logits; else they are
            probabilities, which are turned back into logits.

    Returns:
        list of float32 tensors by task, each of shape `(batch,)`.

    Raises:
        ValueError: if a task has no output, or one of another shape.
    """
    names = [task.name for task in tasks]
    if isinstance(outputs, Mapping):
        missing = sorted(set(names) - set(outputs))
        if missing:
            raise ValueError(
                f"`network` has no output for the tasks {missing}. "
                f"Received outputs: {sorted(outputs)}."
            )
        outputs = [outputs[name] for name in names]
    elif not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    if len(outputs) != len(names):
        raise ValueError(
            f"`network` must give one output per task. Received: {len(outputs)} "
            f"outputs for the tasks {names}."
        )
    return [
        _raw_output(task, output, from_logits)
        for task, output in zip(tasks, outputs, strict=True)
    ]


def _raw_output(task: Task, output: tf.Tensor, from_logits: bool) -> tf.Tensor:
    if output.shape.rank not in (1, 2) or output.shape[1:].num_elements() != 1:
        raise ValueError(
            f"The output of task {task.name!r} must have shape `(batch,)` or "
            f"`(batch, 1)`. Received: shape={tuple(output.shape)}."
        )
    output = tf.cast(tf.reshape(output, [-1]), tf.float32)
    if from_logits or task.kind != "binary":
        return output
    output = tf.clip_by_value(output, _PROBABILITY_EPS, 1 - _PROBABILITY_EPS)
    return tf.math.log(output) - tf.math.log1p(-output)
