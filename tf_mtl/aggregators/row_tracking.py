"""RowTracking: methods that remember a value for each entry of each row."""

import abc
from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl.aggregators.base import task_mask
from tf_mtl.aggregators.row_aggregator import Ids, RowAggregator
from tf_mtl.gradients import first_of_run

# Tracked values by name, for one block.
Tracked = dict[str, tf.Tensor]


class RowTracking(RowAggregator):
    """A row method with state of the size of the Jacobian.

    Costs memory: each name in `tracked` takes `num_tasks` copies of all shared
    variables. Of an embedding table only the rows of ids in the batch are read and
    written: those of other ids keep their value, and take no part in the step.

    A subclass names what it tracks and writes the hook `_track` in place of `_combine`.

    Attributes:
        tracked: tuple of str. Values start from 0.
    """

    tracked: tuple[str, ...] = ()

    @abc.abstractmethod
    def _track(
        self,
        blocks: list[tf.Tensor],
        tracked: list[Tracked],
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[Tracked]]:
        """Hook: directions, and the new tracked values.

        Args:
            blocks: see `RowAggregator._combine`.
            tracked: for each block a dict from each name in `tracked` to a tensor of
                its shape and dtype.
            losses: see `RowAggregator._combine`.
            present: see `RowAggregator._combine`.

        Returns:
            Directions as of `RowAggregator._combine`, and dicts like `tracked`. What
            they hold for absent tasks does not matter.
        """

    def named_variables(self) -> dict[str, keras.Variable]:
        """All state by name, the tracked values included."""
        tables = getattr(self, "_tables", [])
        tracked = {v.name: v for table in tables for v in table.values()}
        return {**super().named_variables(), **tracked}

    def _build_rows(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._tables = [
            {name: self._table(f"{name}_{i}", shape) for name in self.tracked}
            for i, shape in enumerate(shapes)
        ]

    def _table(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        # Task and first axis in one, so that the rows of some ids are some rows here.
        first, *rest = shape or (1,)
        rows = (self.num_tasks or 0) * first
        return keras.Variable(
            "zeros",
            shape=(rows, *rest),
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def _combine(
        self,
        blocks: list[tf.Tensor],
        ids: Ids,
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> list[tf.Tensor]:
        found = list(zip(self._tables, blocks, ids, strict=True))
        old = [
            {name: _read(table, block, places) for name, table in tables.items()}
            for tables, block, places in found
        ]
        directions, new = self._track(blocks, old, losses, present)
        # Written when it is known that the step counts.
        self._pending = [
            (table, places, old_values[name], new_values[name])
            for (tables, _, places), old_values, new_values in zip(
                found, old, new, strict=True
            )
            for name, table in tables.items()
        ]
        return directions

    def _commit(self, keep: tf.Tensor, present: tf.Tensor) -> None:
        for table, ids, old, new in self._pending:
            change = tf.cast(new - old, table.dtype)
            is_new = keep & task_mask(present, task_axes=1, rank=change.shape.rank)
            if ids is not None:
                is_new &= _live(ids, change.shape.rank)
            change = tf.where(is_new, change, tf.zeros_like(change))
            if ids is None:
                table.assign_add(tf.reshape(change, table.shape))
            else:
                places = _places(table, ids, old.shape[0])
                change = tf.reshape(change, [-1, *table.shape[1:]])
                table.value.scatter_add(tf.IndexedSlices(change, places))
        self._pending = []


def _read(table: keras.Variable, block: tf.Tensor, ids: tf.Tensor | None) -> tf.Tensor:
    """Tracked values of a block, in its shape and dtype, 0 at padding."""
    if ids is None:
        values = table.value
    else:
        values = tf.gather(table.value, _places(table, ids, block.shape[0]))
    values = tf.cast(tf.reshape(values, tf.shape(block)), block.dtype)
    if ids is None:
        return values
    return tf.where(_live(ids, block.shape.rank), values, tf.zeros_like(values))


def _live(ids: tf.Tensor, rank: int) -> tf.Tensor:
    """False at padding, which repeats an id whose row must be counted once."""
    return tf.reshape(first_of_run(ids), [1, -1] + [1] * (rank - 2))


def _places(table: keras.Variable, ids: tf.Tensor, num_tasks: int) -> tf.Tensor:
    """Where the rows of some ids are, those of the first task first."""
    first = tf.range(num_tasks, dtype=ids.dtype) * (table.shape[0] // num_tasks)
    return tf.reshape(first[:, None] + ids[None, :], [-1])
