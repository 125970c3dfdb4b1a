"""PCGrad: projects conflicting gradients onto each other's normal planes."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tf_mtl.aggregators.base import fixed_seed
from tf_mtl.aggregators.gramian_weighting import GramianWeighting
from tf_mtl.aggregators.reduction import Reduction, check_reduction, reduced
from tf_mtl.aggregators.registry import register


@register("pcgrad")
class PCGrad(GramianWeighting):
    """Removes from each gradient its conflicts with the others, one by one.

    Each task starts from its own row and visits the other tasks. Where the inner
    product with a visited *original* row is negative, that component is removed:
    `v -= min(v . g_j, 0) / |g_j|^2 g_j`. The direction is the sum of the edited
    rows. For two tasks the order of the visits does not matter. One task gets its
    plain gradient; rows of norm 0 conflict with nothing.

    The edited rows are tracked as a matrix of coefficients on the original rows, so
    the Gramian is all that is needed.

    Args:
        reduction: `"sum"` (the paper) or `"mean"` over the present tasks.
        order: order of the visits. `"random"` draws one for each task and step (the
            paper), `"natural"` is the order of the tasks, and nested integers of
            shape `(num_tasks, num_tasks)` give it by hand: row `i` is a permutation
            of the tasks, the visits of task `i`. It skips itself.
        seed: int, seed of the random order. None: drawn now, and kept in the config.
        **kwargs: see `GramianWeighting`. A `preference` weights the edited rows.

    Raises:
        ValueError: if `reduction` or `order` is none of these; in `build` if a given
            order is for another number of tasks.

    Reference:
        Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020,
        arXiv:2001.06782, algorithm 1.
    """

    uses_preference = True

    def __init__(
        self,
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
        num_tasks = gramian.shape[0]
        tasks = tf.range(num_tasks)
        squared_norms = tf.linalg.diag_part(gramian)

        def visit(coefficients: tf.Tensor, visited: tf.Tensor) -> tf.Tensor:
            # Row i of `coefficients` makes the edited row i; it visits `visited[i]`.
            products = tf.gather(gramian, visited)
            product = tf.reduce_sum(coefficients * products, axis=1)
            conflict = (product < 0.0) & (visited != tasks)
            step = tf.math.divide_no_nan(
                tf.where(conflict, product, 0.0), tf.gather(squared_norms, visited)
            )
            return coefficients - step[:, None] * tf.one_hot(
                visited, num_tasks, dtype=tf.float64
            )

        # One loop of fixed length: unrolled visits would compile for seconds.
        coefficients = tf.foldl(
            visit,
            tf.transpose(self._visiting_order(num_tasks)),
            initializer=tf.eye(num_tasks, dtype=tf.float64),
        )
        factors = reduced(self.reduction, self._shares(present))
        return tf.linalg.matvec(coefficients, factors, transpose_a=True)

    def _visiting_order(self, num_tasks: int) -> tf.Tensor:
        """The visits of each task, int32 `(num_tasks, num_tasks)`."""
        if self.order == "natural":
            return tf.tile(tf.range(num_tasks)[None, :], [num_tasks, 1])
        if self.order == "random":
            shape = (num_tasks, num_tasks)
            # Of the ways to shuffle, sorting random keys is one that XLA compiles.
            return tf.argsort(keras.random.uniform(shape, seed=self._seed_generator))
        return tf.constant(self.order, tf.int32)
