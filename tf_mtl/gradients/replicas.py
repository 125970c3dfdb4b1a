"""Sums over the replicas of a `tf.distribute` strategy."""

from typing import Any

import tensorflow as tf


def num_replicas() -> int:
    """Number of replicas that run this step together; 1 without a strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_sum(tensor: tf.Tensor) -> tf.Tensor:
    """Sum of a tensor over the replicas. Call it in a replica context."""
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return tensor
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def replica_concat(tensor: tf.Tensor) -> tf.Tensor:
    """Concatenation of a tensor over the replicas along its first axis."""
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return tensor
    return context.all_gather(tensor, axis=0)


def first_replica(variable: Any) -> Any:
    """The copy of a variable on the first replica; outside of a step it is read."""
    return getattr(variable, "values", (variable,))[0]


def on_all_replicas(condition: tf.Tensor) -> tf.Tensor:
    """Whether a bool scalar is True on all replicas."""
    return replica_sum(tf.cast(condition, tf.int32)) == num_replicas()
