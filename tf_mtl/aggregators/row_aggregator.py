"""RowAggregator: methods that look at the entries of the gradients."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf

from tf_mtl.aggregators.gradient_aggregator import GradientAggregator
from tf_mtl.aggregators.rows import (
    as_float,
    per_task,
    present_rows,
    squared_norm,
    weighted_sum,
)
from tf_mtl.gradients import all_finite

# What a method sees of the ids of a block: None for a dense one.
Ids = Sequence[tf.Tensor | None]


class RowAggregator(GradientAggregator):
    """Works on the entries of the rows, variable by variable.

    For methods that are not a weighted sum of rows, or that weight each variable on
    its own. A subclass writes the hook `_combine`, and `_build_rows` if its state
    depends on the variables.

    Args:
        loss_weighting: see `GradientAggregator`.
        normalize_to: see `GradientAggregator`.
        max_norm: see `GradientAggregator`.
        preference: see `Aggregator`.
    """

    kind: ClassVar[Literal["rows"]] = "rows"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shapes: list[tuple[int, ...]] | None = None
        self._saved_rows: dict[str, np.ndarray] = {}

    @property
    def rows_built(self) -> bool:
        """Whether the state that depends on the variables exists."""
        return self._shapes is not None

    def build_rows(self, shapes: Sequence[Sequence[int]]) -> None:
        """Creates the state that depends on the variables, after `build`.

        Args:
            shapes: shape of each variable that has rows, in order.

        Raises:
            ValueError: if the shapes are not those of an earlier call.
        """
        found = [tuple(shape) for shape in shapes]
        if self._shapes is not None:
            if found != self._shapes:
                raise ValueError(
                    "`shapes` must stay the same once the state of the rows is built. "
                    f"Received: shapes={found}, built with {self._shapes}. Make a new "
                    "aggregator for another model."
                )
            return
        with tf.init_scope():
            self._build_rows(found)
            for name, variable in self.named_variables().items():
                if name in self._saved_rows:
                    variable.assign(self._saved_rows.pop(name))
        self._shapes = found

    def restore_rows(self, values: Mapping[str, np.ndarray]) -> None:
        """Keeps saved state of the rows until `build_rows` creates its variables.

        Args:
            values: dict of arrays by name in `named_variables`.
        """
        self._saved_rows = dict(values)

    def combine(
        self,
        blocks: Sequence[tf.Tensor],
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
        ids: Ids | None = None,
        usable: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """One direction for each block of rows. Advances the state.

        Args:
            blocks: float tensors of shape `(num_tasks, ...)`, one per variable, of the
                losses times `loss_weights`, already unscaled (loss scale removed) and
                summed over replicas.
            losses: float tensor of shape `(num_tasks,)`, see `uses_losses`.
            present: bool tensor of shape `(num_tasks,)`, False for a task without
                known label in this batch. None: all present.
            ids: for each block `None`, or, where it holds some rows `(num_tasks, ids,
                ...)` of a table, their sorted ids as in `UniqueSlices`. None: all
                blocks are whole, as they are on a call without `build_rows`.
            usable: bool scalar. False: the caller skips this update, so that nothing
                is learnt from it. None: True.

        Returns:
            List of tensors of shape `(...)` in the dtypes of `blocks`. All NaN if a
            row or loss of a present task is not finite.
        """
        if not blocks:
            raise ValueError("`blocks` must hold a block or more. Received: blocks=[].")
        blocks = [as_float(block) for block in blocks]
        losses, present = self._task_inputs(blocks[0].shape[0], losses, present)
        if not self.rows_built:
            self.build_rows([block.shape[1:] for block in blocks])
        rows = [present_rows(block, present) for block in blocks]
        finite = all_finite([*rows, losses])
        usable = finite if usable is None else finite & usable
        rows = [tf.where(usable, block, tf.zeros_like(block)) for block in rows]
        losses = tf.where(usable, losses, 1.0)

        def means() -> list[tf.Tensor]:
            return [weighted_sum(b, self._shares(present), present) for b in rows]

        def hook() -> list[tf.Tensor]:
            found = self._combine(rows, ids or [None] * len(rows), losses, present)
            if self.normalize_to is None:
                return self._shortened(found)
            factor = self._normalizing(squared_norm(found), squared_norm(means()))
            return self._shortened(_scaled(found, factor))

        def fallback() -> list[tf.Tensor]:
            # The mean of all rows is work that few steps need.
            nan = [
                tf.fill(tf.shape(b)[1:], tf.constant(math.nan, b.dtype)) for b in rows
            ]
            return tf.cond(usable, lambda: self._shortened(means()), lambda: nan)

        directions, keep = self._guard(hook, usable, present)
        self._commit(keep, present)
        directions = tf.cond(keep, lambda: directions, fallback)
        return [
            tf.cast(direction, block.dtype)
            for direction, block in zip(directions, blocks, strict=True)
        ]

    def __call__(
        self,
        jacobian: tf.Tensor,
        losses: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Aggregates a Jacobian, see `Aggregator`."""
        jacobian = as_float(jacobian)
        losses, present = self._task_inputs(jacobian.shape[0], losses, present)
        jacobian *= per_task(self.loss_weights(losses, present), jacobian)
        [direction] = self.combine([jacobian], losses, present)
        return direction

    def _shortened(self, directions: list[tf.Tensor]) -> list[tf.Tensor]:
        """Applies `max_norm`."""
        if self.max_norm is None:
            return directions
        return _scaled(directions, self._limiting(squared_norm(directions)))

    def _build_rows(  # noqa: B027 (optional)
        self, shapes: Sequence[tuple[int, ...]]
    ) -> None:
        """Hook: creates state that depends on the variables."""

    @abc.abstractmethod
    def _combine(
        self,
        blocks: list[tf.Tensor],
        ids: Ids,
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Hook: one direction for each block.

        Args:
            blocks: float32 or float64 tensors of shape `(num_tasks, ...)`, finite,
                rows of absent tasks 0.
            ids: see `combine`; one entry for each block.
            losses: float64 tensor of shape `(num_tasks,)`, finite, 1 where absent or
                not given.
            present: bool tensor of shape `(num_tasks,)`.

        Returns:
            List of tensors of shape `(...)` in the dtypes of `blocks`.
        """

    def _commit(  # noqa: B027 (optional)
        self, keep: tf.Tensor, present: tf.Tensor
    ) -> None:
        """Hook: writes what `_combine` left to be written, where `keep` is true."""


def _scaled(directions: list[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
    return [direction * tf.cast(factor, direction.dtype) for direction in directions]
