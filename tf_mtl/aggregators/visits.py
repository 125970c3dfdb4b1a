"""Visits: each task gradient is edited against those of the others, one by one."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from tf_mtl.aggregators.base import fixed_seed
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.reduction import Reduction, check_reduction, reduced
from tf_mtl.aggregators.solvers import cosines_and_norms


class VisitingWeighting(GramianWeighting):
    """Edits the gradient of each task against those of the others, one by one.

    Each task starts from its own row and visits the *original* rows of the tasks in
    some order. On a visit the edited row moves along the visited one; a subclass says
    how far, in the hook `_move`. The direction is the sum or mean of the edited rows.

    The edited rows are tracked as a matrix of coefficients on the original rows, so
    the Gramian is all that is needed. Rows of norm 0 neither visit nor are visited.

    Args:
        reduction: `"sum"` or `"mean"` over the present tasks.
        order: order of the visits. `"random"` draws one for each task and step,
            `"natural"` is the order of the tasks, and nested integers of shape
            `(num_tasks, num_tasks)` give it by hand: row `i` is a permutation of the
            tasks, the visits of task `i`.
        seed: int, seed of the random order. None: drawn now, and kept in the config.
        **kwargs: see `GramianWeighting`. A `preference` weights the edited rows.

    Attributes:
        visits_itself: bool. Whether a task also visits its own row.

    Raises:
        ValueError: if `reduction` or `order` is none of these; in `build` if a given
            order is for another number of tasks.
    """

    uses_preference = True
    visits_itself: ClassVar[bool] = False

    def __init__(
        self,
        *,
        reduction: Reduction = "sum",
        order: Literal["random", "natural"] | Sequence[Sequence[int]] = "random",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reduction = check_reduction(reduction)
        self.order = order if isinstance(order, str) else [list(row) for row in order]
        self.seed = fixed_seed(seed)
        named = self.order in ("random", "natural")
        tasks = list(range(len(self.order)))
        if not named and any(sorted(row) != tasks for row in self.order):
            raise ValueError(
                "`order` must be 'random', 'natural' or one permutation of the tasks "
                f"for each task. Received: order={order!r}."
            )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "order": self.order,
            "seed": self.seed,
        }

    @abc.abstractmethod
    def _move(self, cosines: tf.Tensor, visited: tf.Tensor) -> tf.Tensor:
        """Hook: how far each edited row moves along the row that it visits.

        Args:
            cosines: float64 tensor of shape `(num_tasks,)` in `[-1, 1]`, cosine of
                each edited row with the row that it visits.
            visited: int32 tensor of shape `(num_tasks,)`, the visited tasks.

        Returns:
            float64 tensor of shape `(num_tasks,)`, in units of the norm of the edited
            row.
        """

    def _learn(self, cosines: tf.Tensor) -> None:
        """Hook: sees all `cosines` of a step, after the visits.

        Args:
            cosines: float64 tensor of shape `(num_tasks, num_tasks)`. Entry `(i, j)`
                is the cosine that task `i` met when it visited task `j`, NaN where
                there was no visit.
        """

    def _check_num_tasks(self, num_tasks: int) -> None:
        if not isinstance(self.order, str) and len(self.order) != num_tasks:
            raise ValueError(
                f"`order` must hold one permutation for each of {num_tasks} tasks. "
                f"Received: order={self.order}."
            )

    def _build(self, num_tasks: int) -> None:
        if self.order == "random":
            self._seed_generator = self.add_seed_generator(self.seed)

    def _weights(
        self, gramian: tf.Tensor, losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        cosines, norms = cosines_and_norms(gramian)
        edited, met = self._edited(cosines)
        self._learn(met)
        # From unit rows back to the rows as they came. A row of norm 0 is unedited.
        ratios = tf.math.divide_no_nan(norms[:, None], norms[None, :])
        edited *= tf.linalg.set_diag(ratios, tf.ones_like(norms))
        factors = reduced(self.reduction, self._shares(present))
        return tf.linalg.matvec(edited, factors, transpose_a=True)

    def _edited(self, cosines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """All visits, in unit-norm coordinates.

        Returns:
            Two float64 tensors of shape `(num_tasks, num_tasks)`: row `i` of the first
            holds the coefficients of the edited row `i`, and the second is what
            `_learn` sees.
        """
        num_tasks = cosines.shape[0]
        tasks = tf.range(num_tasks)
        has_gradient = tf.linalg.diag_part(cosines) > 0.0

        def visit(
            state: tuple[tf.Tensor, tf.Tensor], visited: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            edited, met = state
            products = tf.reduce_sum(edited * tf.gather(cosines, visited), axis=1)
            squares = tf.reduce_sum(edited * tf.matmul(edited, cosines), axis=1)
            norms = tf.sqrt(tf.maximum(squares, 0.0))
            meets = (norms > 0.0) & tf.gather(has_gradient, visited)
            if not self.visits_itself:
                meets &= visited != tasks
            cosine = tf.math.divide_no_nan(products, norms)
            cosine = tf.clip_by_value(cosine, -1.0, 1.0)
            moves = norms * self._move(cosine, visited)
            place = meets[:, None] & (visited[:, None] == tasks[None, :])
            edited += tf.where(place, moves[:, None], 0.0)
            return edited, tf.where(place, cosine[:, None], met)

        # One loop of fixed length: unrolled visits would compile for seconds.
        edited, met = tf.foldl(
            visit,
            tf.transpose(self._visiting_order(num_tasks)),
            initializer=(
                tf.eye(num_tasks, dtype=tf.float64),
                tf.fill(cosines.shape, tf.constant(float("nan"), tf.float64)),
            ),
        )
        return edited, met

    def _visiting_order(self, num_tasks: int) -> tf.Tensor:
        """The visits of each task, int32 `(num_tasks, num_tasks)`."""
        if self.order == "natural":
            return tf.tile(tf.range(num_tasks)[None, :], [num_tasks, 1])
        if self.order == "random":
            shape = (num_tasks, num_tasks)
            # Of the ways to shuffle, sorting random keys is one that XLA compiles.
            return tf.argsort(keras.random.uniform(shape, seed=self._seed_generator))
        return tf.constant(self.order, tf.int32)
