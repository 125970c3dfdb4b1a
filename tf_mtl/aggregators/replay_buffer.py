"""The last transitions that an agent has seen, kept in the state of an aggregator."""

import tensorflow as tf

from tf_mtl.aggregators.base import Aggregator


class ReplayBuffer:
    """Ring of rows: when it is full, a new row takes the place of the oldest.

    Args:
        owner: aggregator whose state it joins; made in its hook `_build`.
        capacity: int, number of rows.
        width: int, number of entries of a row.
    """

    def __init__(self, owner: Aggregator, capacity: int, width: int) -> None:
        self._capacity = capacity
        # A row of a step that does not count is not counted: the next takes its place.
        self._rows = owner.add_variable(
            "replay_rows", (capacity, width), "float32", put_back=False
        )
        self._count = owner.add_variable("replay_count", dtype="int32")

    @property
    def size(self) -> tf.Tensor:
        """Number of rows in it, int32 scalar."""
        return tf.minimum(self._count.value, self._capacity)

    def add(self, row: tf.Tensor, is_valid: tf.Tensor) -> None:
        """Adds a row, float `(width,)`, unless `is_valid` is False."""
        place = self._count.value % self._capacity
        # A slice would be compiled anew for each place.
        old = tf.gather(self._rows.value, place)
        row = tf.where(is_valid, tf.cast(row, tf.float32), old)
        rows = tf.tensor_scatter_nd_update(self._rows.value, [[place]], row[None])
        self._rows.assign(rows)
        self._count.assign_add(tf.cast(is_valid, tf.int32))

    def sample(self, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Draws rows with replacement; there must be one.

        Args:
            shape: how many.
            seed: int32 tensor of shape `(2,)`.

        Returns:
            float32 tensor of shape `(*shape, width)`.
        """
        places = tf.random.stateless_uniform(
            shape, seed, maxval=self.size, dtype=tf.int32, alg="philox"
        )
        return tf.gather(self._rows.value, places)
