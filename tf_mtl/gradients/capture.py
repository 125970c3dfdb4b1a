"""Capture of the rows of the Jacobian: one pull-back per task."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from tf_mtl.gradients.replicas import num_replicas, replica_concat, replica_sum
from tf_mtl.gradients.sparse import unique_ids, unique_slices
from tf_mtl.gradients.task_gradients import Block, TaskGradients

# A gradient as `tf.GradientTape` gives it; `None` where nothing is reached.
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


def pull_back(
    tape: tf.GradientTape,
    targets: Any,
    cotangents: Sequence[Any],
    variables: Sequence[Any],
) -> list[list[Gradient]]:
    """Pulls one cotangent per task back to the variables.

    Args:
        tape: persistent tape which recorded `targets`.
        targets: nest of tensors.
        cotangents: for each task a nest like `targets`.
        variables: variables to differentiate by.

    Returns:
        list over tasks of lists over variables.
    """
    return [
        tape.gradient(targets, variables, output_gradients=cotangent)
        for cotangent in cotangents
    ]


def stack_rows(
    rows: Sequence[Sequence[Gradient]],
    variables: Sequence[Any],
    same_lookups: bool = False,
) -> TaskGradients:
    """Stacks gradients per task into blocks, summed over replicas.

    Args:
        rows: list over tasks of lists over variables, from `pull_back`. `None` is a
            row of zeros of a loss that does not reach the variable.
        variables: the variables. Those which no loss reaches are left out.
        same_lookups: bool. True when all tasks went through the same lookups, so that
            the ids of the first task are those of every task.

    Returns:
        `TaskGradients`.
    """
    blocks = []
    for variable, column in zip(variables, zip(*rows, strict=True), strict=True):
        reached = tuple(gradient is not None for gradient in column)
        if not any(reached):
            continue
        if any(isinstance(gradient, tf.IndexedSlices) for gradient in column):
            stacked, ids = _stack_sparse(column, variable, same_lookups)
        else:
            stacked, ids = _stack_dense(column), None
        blocks.append(Block(variable, stacked, ids, reached))
    return TaskGradients(blocks, num_tasks=len(rows))


def add_penalty(
    tape: tf.GradientTape,
    penalty: tf.Tensor | None,
    plain: Sequence[Gradient],
    variables: Sequence[Any],
) -> list[Gradient]:
    """Adds the gradient of a regularisation loss, if there is one, to others."""
    if penalty is None:
        return list(plain)
    pairs = zip(plain, tape.gradient(penalty, variables), strict=True)
    return [add_gradients(*pair) for pair in pairs]


def share_of_replica(gradient: tf.Tensor | tf.IndexedSlices) -> Gradient:
    """The share of one replica of a gradient that holds for the global batch.

    Keras sums gradients over replicas inside the optimizer, after this point.
    """
    if num_replicas() == 1:
        return gradient
    return map_gradient(lambda g: g / tf.cast(num_replicas(), g.dtype), gradient)


def map_gradient(
    function: Callable[[tf.Tensor], tf.Tensor],
    gradient: tf.Tensor | tf.IndexedSlices,
) -> tf.Tensor | tf.IndexedSlices:
    """Applies a linear function to the values of a dense or sparse gradient."""
    if isinstance(gradient, tf.IndexedSlices):
        return type(gradient)(
            function(gradient.values), gradient.indices, gradient.dense_shape
        )
    return function(gradient)


def add_gradients(first: Gradient, second: Gradient) -> Gradient:
    """Sum of two gradients of one variable, either of which may be `None`."""
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        return tf.IndexedSlices(
            tf.concat([first.values, second.values], 0),
            tf.concat([first.indices, second.indices], 0),
            first.dense_shape,
        )
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)


def add_by_variable(
    first: Sequence[Gradient], second: Sequence[Gradient]
) -> list[Gradient]:
    """Sums of two lists over variables, rows of tables summed by id."""
    totals = []
    for pair in zip(first, second, strict=True):
        total = add_gradients(*pair)
        if isinstance(total, tf.IndexedSlices):
            total = unique_slices(total)
        totals.append(total)
    return totals


def all_finite(tensors: Sequence[Gradient]) -> tf.Tensor:
    """Bool scalar: whether no entry of any tensor or gradient is NaN or infinite."""
    finite = [
        tf.reduce_all(tf.math.is_finite(values))
        for values in _values(tensors)
        if values.dtype.is_floating
    ]
    return tf.reduce_all(tf.stack(finite)) if finite else tf.constant(True)


def global_norm(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Norm over all gradients, float32 scalar; ids of tables must be unique."""
    squares = [
        tf.reduce_sum(tf.square(tf.cast(values, tf.float32)))
        for values in _values(gradients)
    ]
    return tf.sqrt(tf.add_n(squares)) if squares else tf.zeros([])


def _values(gradients: Sequence[Gradient]) -> list[tf.Tensor]:
    return [
        gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        for gradient in gradients
        if gradient is not None
    ]


def _stack_dense(column: Sequence[Gradient]) -> tf.Tensor:
    known = next(gradient for gradient in column if gradient is not None)
    zeros = tf.zeros_like(known)
    return replica_sum(tf.stack([zeros if g is None else g for g in column]))


def _stack_sparse(
    column: Sequence[Gradient], variable: Any, same_lookups: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows `(num_tasks, ids, ...)` and sorted unique ids of a looked-up table."""
    slices = [
        (task, _as_slices(gradient, variable))
        for task, gradient in enumerate(column)
        if gradient is not None
    ]
    values = [replica_concat(piece.values) for _, piece in slices]
    looked_up = slices[:1] if same_lookups else slices
    ids = [replica_concat(piece.indices) for _, piece in looked_up]
    unique, position = unique_ids(tf.concat(ids, axis=0))
    num_ids = tf.shape(unique)[0]
    if same_lookups:
        positions = [position] * len(slices)
    else:
        positions = tf.split(position, [tf.shape(each)[0] for each in ids])
    # One sum for all tasks, each in a range of its own, where entries follow each
    # other by task: other orders cost a slow copy under XLA on CPU.
    segments = tf.concat(
        [
            place + task * num_ids
            for (task, _), place in zip(slices, positions, strict=True)
        ],
        axis=0,
    )
    summed = tf.math.unsorted_segment_sum(
        tf.concat(values, axis=0), segments, len(column) * num_ids
    )
    # A gather over replicas loses the shape of the rows: take that of the table.
    return tf.reshape(summed, [len(column), -1, *variable.shape[1:]]), unique


def _as_slices(gradient: tf.Tensor | tf.IndexedSlices, variable: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return gradient
    # A table that one task looks up and another reads whole has a dense row.
    ids = tf.range(variable.shape[0])
    shape = tf.constant(variable.shape.as_list(), tf.int64)
    return tf.IndexedSlices(gradient, ids, shape)
