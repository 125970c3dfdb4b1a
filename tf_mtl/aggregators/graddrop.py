"""GradDrop: keeps, in each coordinate, gradients of one sign."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.aggregators.base import fixed_seed
from tf_mtl.aggregators.registry import register
from tf_mtl.aggregators.row_aggregator import Ids, RowAggregator
from tf_mtl.aggregators.rows import per_task


@register("graddrop")
class GradDrop(RowAggregator):
    """Draws a sign for each coordinate and drops the entries of the other sign.

    With `P = (1 + sum_t g_t / sum_t |g_t|) / 2` in a coordinate and `U` uniform in
    `[0, 1)`, the sign is positive where `P > U`. The direction is
    `sum_t (leak_t + (1 - leak_t) m_t) g_t`, where `m_t` is 1 if the entry of task `t`
    has that sign, else 0. Where all tasks agree nothing is dropped, so one task gets
    its plain gradient; rows of norm 0 and absent tasks have no say.

    Args:
        leak: float in `[0, 1]`, or one for each task: the share of an entry that
            passes whatever its sign; the paper's l. 1 gives the plain sum.
        seed: int. None: drawn now, and kept in the config.
        **kwargs: see `RowAggregator`.

    Raises:
        ValueError: if a leak is outside its range; in `build` if there is not one for
            each task.

    Reference:
        Chen et al., Just Pick a Sign: Optimizing Deep Multitask Models with Gradient
        Sign Dropout, NeurIPS 2020, arXiv:2010.06808. Differs: works on the gradients
        of the variables, where the paper takes the activations times their gradients,
        summed over the batch. In some public code the leak is inverted.
    """

    def __init__(
        self,
        leak: float | Sequence[float] = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.leak: float | list[float]
        if isinstance(leak, int | float):
            self.leak = float(leak)
            shares = [self.leak]
        else:
            self.leak = shares = [float(share) for share in leak]
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError(
                "`leak` must be in [0, 1], or one such float for each task. "
                f"Received: leak={leak}."
            )
        self.seed = fixed_seed(seed)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "leak": self.leak, "seed": self.seed}

    def _check_num_tasks(self, num_tasks: int) -> None:
        if isinstance(self.leak, list) and len(self.leak) != num_tasks:
            raise ValueError(
                f"`leak` must hold one float for each of {num_tasks} tasks. "
                f"Received: leak={self.leak}."
            )

    def _build(self, num_tasks: int) -> None:
        self._seed_generator = self.add_seed_generator(self.seed)

    def _combine(
        self,
        blocks: list[tf.Tensor],
        ids: Ids,
        losses: tf.Tensor,
        present: tf.Tensor,
    ) -> list[tf.Tensor]:
        leak = tf.broadcast_to(tf.constant(self.leak, tf.float64), present.shape)
        return [self._drop(block, per_task(leak, block)) for block in blocks]

    def _drop(self, block: tf.Tensor, leak: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(block, axis=0)
        purity = tf.math.divide_no_nan(total, tf.reduce_sum(tf.abs(block), axis=0))
        is_positive = 0.5 * (1.0 + purity) > self._uniforms(block)
        kept = tf.cast((block > 0.0) == is_positive, block.dtype)
        return tf.reduce_sum((leak + (1.0 - leak) * kept) * block, axis=0)

    def _uniforms(self, block: tf.Tensor) -> tf.Tensor:
        """One random number in `[0, 1)` for each coordinate of a block."""
        # Left to choose, XLA takes an algorithm that is 30 times slower on a CPU.
        return tf.random.stateless_uniform(
            tf.shape(block)[1:],
            seed=tf.cast(self._seed_generator.next(), tf.int32),
            dtype=block.dtype,
            alg="philox",
        )
