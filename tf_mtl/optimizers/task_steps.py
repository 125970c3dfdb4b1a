"""From the gradients of tasks to one direction, by the rule of an optimizer."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_mtl.aggregators import RowTracking
from tf_mtl.aggregators.base import task_mask
from tf_mtl.aggregators.row_tracking import Tracked

# Gradient and slots -> direction and new slots, see `TaskwiseOptimizer.step`.
Step = Callable[[tf.Tensor, list[tf.Tensor]], tuple[tf.Tensor, list[tf.Tensor]]]


class TaskSteps(RowTracking):
    """Sum over present tasks of the direction that a rule gives to each.

    Part of a `TaskwiseOptimizer`, which makes and saves it.

    Args:
        slot_names: names of what the rule remembers of each entry of each row.
        step: the rule.
        is_summed: sequence of bool, one per variable. True: the direction is the sum of
            the rows, and nothing is remembered.
    """

    def __init__(
        self, slot_names: tuple[str, ...], step: Step, is_summed: Sequence[bool]
    ) -> None:
        super().__init__()
        self.tracked = slot_names
        self._step = step
        self._is_summed = is_summed

    def _build_rows(self, shapes: Sequence[tuple[int, ...]]) -> None:
        places = enumerate(zip(shapes, self._is_summed, strict=True))
        self._tables = [
            {}
            if is_summed
            else {name: self._table(f"{name}_{i}", shape) for name in self.tracked}
            for i, (shape, is_summed) in places
        ]

    def _track(
        self,
        blocks: list[tf.Tensor],
        tracked: list[Tracked],
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[Tracked]]:
        directions, new = [], []
        for block, old in zip(blocks, tracked, strict=True):
            steps, slots = self._step(block, [*old.values()]) if old else (block, [])
            mask = task_mask(present, task_axes=1, rank=block.shape.rank)
            steps = tf.where(mask, steps, tf.zeros_like(steps))
            directions.append(tf.reduce_sum(steps, axis=0))
            new.append(dict(zip(old, slots, strict=True)))
        return directions, new
