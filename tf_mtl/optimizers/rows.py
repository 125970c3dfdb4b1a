"""Update of the looked-up rows of a table and of its slots, for any Keras."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_mtl.gradients import first_of_run, unique_slices

# Gradient `(rows, ...)`, rows of the slots and learning rate -> what to add to the rows
# of the table, and the new rows of the slots.
RowRule: TypeAlias = Callable[
    [tf.Tensor, Sequence[tf.Tensor], tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]
]


def update_rows(
    table: tf.Variable,
    slots: Sequence[tf.Variable],
    gradient: tf.IndexedSlices,
    learning_rate: tf.Tensor,
    rule: RowRule,
    weight_decay: float | None = None,
) -> None:
    """Updates looked-up rows by gather and scatter-add, and touches no other.

    Arithmetic is in float32 at least; each change is rounded to the dtype of what it
    changes.

    Args:
        table: float variable `(num_rows, ...)`.
        slots: variables of the shape of the table.
        gradient: rows of equal id are summed, if they are not yet.
        learning_rate: float scalar.
        rule: see `RowRule`. It sees one summed gradient per looked-up row.
        weight_decay: float or None. Decoupled decay, of looked-up rows.
    """
    slices = unique_slices(gradient)
    ids = slices.indices
    dtype = keras.backend.result_type(table.dtype, "float32")
    values = tf.cast(slices.values, dtype)
    learning_rate = tf.cast(learning_rate, dtype)
    rows = [tf.cast(tf.gather(slot, ids), dtype) for slot in slots]
    change, new_rows = rule(values, rows, learning_rate)
    if weight_decay is not None:
        change -= learning_rate * weight_decay * tf.cast(tf.gather(table, ids), dtype)
    # The difference makes each scatter wait for the gather of the same slot. If
    # it could come first, XLA would keep the old slot by copying all of it.
    changes = [new - old for new, old in zip(new_rows, rows, strict=True)]
    live = tf.reshape(first_of_run(ids), [-1] + [1] * (values.shape.rank - 1))
    for target, delta in zip([table, *slots], [change, *changes], strict=True):
        delta = tf.cast(tf.where(live, delta, 0.0), target.dtype)
        target.scatter_add(tf.IndexedSlices(delta, ids))


def check_no_constraint(table: Any) -> None:
    """Raises if a table has a constraint.

    Args:
        table: variable that is looked up.

    Raises:
        ValueError: if it has one, which Keras would evaluate on all of its rows.
    """
    if table.constraint is not None:
        raise ValueError(
            "`constraint` of a looked-up table must be None: it may couple "
            "rows, so Keras applies it to all of them at each step. "
            f"Received: constraint={table.constraint} of variable "
            f"{table.name!r}. Remove it (`weight_decay` bounds rows at "
            "the cost of the looked-up ones) or use the Keras optimizer."
        )
