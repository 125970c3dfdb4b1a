"""TaskGradients: the Jacobian of the task losses, block by block."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.gradients.gramian import gramian
from tf_mtl.gradients.sparse import UniqueSlices


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows of one shared variable.

    Attributes:
        variable: the variable, as it came.
        rows: tensor. Dense: `(num_tasks, *variable.shape)`. Sparse (a table that was
            looked up): `(num_tasks, ids, *variable.shape[1:])`.
        ids: `None` for a dense block; else integer tensor `(ids,)`, sorted, where a
            repeated id marks padding, whose rows are zero (see `UniqueSlices`).
        reached: tuple of bool, whether the loss of each task depends on the variable.
    """

    variable: Any
    rows: tf.Tensor
    ids: tf.Tensor | None
    reached: tuple[bool, ...]

    def gradient(self, direction: tf.Tensor) -> tf.Tensor | UniqueSlices:
        """Turns a direction `rows.shape[1:]` into a gradient of the variable."""
        if self.ids is None:
            return direction
        shape = tf.constant(self.variable.shape.as_list(), tf.int64)
        return UniqueSlices(direction, self.ids, shape)


@dataclasses.dataclass(frozen=True)
class TaskGradients:
    """Rows of the Jacobian for all shared variables, never flattened into a matrix.

    Attributes:
        blocks: list of `Block`, in variable order.
        num_tasks: int.
    """

    blocks: list[Block]
    num_tasks: int

    def gramian(self) -> tf.Tensor:
        """Inner products of the rows over all blocks.

        Returns:
            float32 tensor of shape `(num_tasks, num_tasks)`.
        """
        total = tf.zeros([self.num_tasks, self.num_tasks])
        for block in self.blocks:
            total += gramian(block.rows)
        return total

    def weighted_sum(self, weights: tf.Tensor) -> list[tf.Tensor | UniqueSlices]:
        """Gradient of each variable for a weighted sum of the losses.

        Args:
            weights: float tensor of shape `(num_tasks,)`.

        Returns:
            list, one gradient per block, in block order.
        """
        return [
            block.gradient(
                tf.tensordot(tf.cast(weights, block.rows.dtype), block.rows, 1)
            )
            for block in self.blocks
        ]

    def by_variable(
        self,
        directions: Sequence[tf.Tensor | tf.IndexedSlices],
        variables: Sequence[Any],
    ) -> list[tf.Tensor | tf.IndexedSlices | None]:
        """Directions of the blocks in the order of variables.

        Args:
            directions: one gradient per block, in block order.
            variables: the variables that the rows were captured for.

        Returns:
            list over `variables`, `None` for a variable without a block.
        """
        found = {
            id(block.variable): direction
            for block, direction in zip(self.blocks, directions, strict=True)
        }
        return [found.get(id(variable)) for variable in variables]

    def combine(
        self, function: Callable[[list[tf.Tensor]], Sequence[tf.Tensor]]
    ) -> list[tf.Tensor | UniqueSlices]:
        """Gradient of each variable from a function of all row blocks.

        Args:
            function: list of tensors `(num_tasks, ...)` -> list of `(...)`.

        Returns:
            list, one gradient per block, in block order.
        """
        directions = function([block.rows for block in self.blocks])
        return [
            block.gradient(direction)
            for block, direction in zip(self.blocks, directions, strict=True)
        ]
