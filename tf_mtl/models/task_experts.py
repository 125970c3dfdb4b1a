"""Stacks of experts that belong to a task each, as many as the task has."""

from collections.abc import Sequence

import tensorflow as tf


def expert_counts(
    num_task_experts: int | Sequence[int], num_tasks: int
) -> tuple[int, ...]:
    """Number of experts of each task.

    Args:
        num_task_experts: int for all, or one for each task.
        num_tasks: int.

    Returns:
        tuple of int over tasks.

    Raises:
        ValueError: if there is not one number for each task, or one is less than 1.
    """
    if isinstance(num_task_experts, int):
        counts = (num_task_experts,) * num_tasks
    else:
        counts = tuple(num_task_experts)
    if len(counts) != num_tasks or min(counts) < 1:
        raise ValueError(
            "`num_task_experts` must be an int of at least 1, or one for each of "
            f"{num_tasks} tasks. Received: num_task_experts={num_task_experts}."
        )
    return counts


def owners_of(counts: Sequence[int]) -> tuple[int, ...]:
    """Task of each expert of the stack: those of the first task, then of the second."""
    return tuple(task for task, count in enumerate(counts) for _ in range(count))


def streams_of(streams: tf.Tensor, owners: Sequence[int]) -> tf.Tensor:
    """What each expert reads, `(number of experts, batch, units)`.

    Args:
        streams: tensor of shape `(num_tasks, batch, units)`.
        owners: task of each expert.
    """
    if tuple(owners) == tuple(range(streams.shape[0])):
        return streams
    # Of a gather the gradient would be sparse.
    return tf.stack([streams[task] for task in owners])
