"""Adam on the looked-up rows of a table, for legacy Keras."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl.gradients import UniqueSlices, unique_slices
from tf_mtl.optimizers.adam_rows import AdamRows
from tf_mtl.optimizers.rows import check_no_constraint, update_rows


@tf.keras.utils.register_keras_serializable(package="tf_mtl")
class LazyAdam(AdamRows, tf.keras.optimizers.Adam):
    """Adam that updates only the looked-up rows of a table.

    The rules, dense and row-wise, are those of `tf_mtl.optimizers.LazyAdam`, which
    says where rows differ from the dense rule. A step costs the ids of the batch;
    `tf.keras.optimizers.Adam` reads and writes each table and both its slots.
    (Adagrad and SGD without momentum of `tf.keras` are lazy by themselves.)

    Args:
        learning_rate: float or `tf.keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: float. Decay of the first moment.
        beta_2: float. Decay of the second moment.
        epsilon: float. Added to the root of the second moment.
        amsgrad: bool. Whether to divide by the largest second moment seen so far;
            of a table, seen at the lookups of the row.
        clipnorm: float or None. Largest norm of each gradient.
        clipvalue: float or None. Largest absolute value of a gradient entry.
        global_clipnorm: float or None. Largest norm of all gradients together.
        name: str. Name of the optimizer.
        **kwargs: see `tf.keras.optimizers.Adam`. `use_ema`, `weight_decay` and
            `adaptive_epsilon` are refused: the first two would rewrite every table at
            each step.

    Raises:
        ValueError: if an argument is refused; in the first step if a table has a
            constraint.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "LazyAdam",
        **kwargs: Any,
    ) -> None:
        for argument in ("use_ema", "weight_decay", "adaptive_epsilon"):
            if kwargs.get(argument):
                raise ValueError(
                    f"`{argument}` is not supported by LazyAdam of legacy Keras. "
                    f"Received: {argument}={kwargs[argument]}. Leave it out, or use "
                    "tf.keras.optimizers.Adam."
                )
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            name=name,
            **kwargs,
        )

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> None:
        """Updates one variable, by rows if the gradient is `tf.IndexedSlices`."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        check_no_constraint(variable)
        index = self._index_dict[self._var_key(variable)]
        slots = [self._momentums[index], self._velocities[index]]
        if self.amsgrad:
            slots.append(self._velocity_hats[index])
        update_rows(variable, slots, gradient, self.learning_rate, self.row_update)

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        # Rows of equal id are summed first, so that norms are those of the dense
        # gradient. Clipping keeps ids, and the zeros of padding.
        unique = [
            unique_slices(g) if isinstance(g, tf.IndexedSlices) else g for g in grads
        ]
        return [
            UniqueSlices(g.values, g.indices, g.dense_shape)
            if isinstance(g, tf.IndexedSlices)
            else g
            for g in super()._clip_gradients(unique)
        ]

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads  # Done by `_clip_gradients`, in a way that XLA compiles.
