"""Row-wise updates of embedding tables, common to all lazy optimizers."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.gradients import UniqueSlices, unique_slices
from tf_mtl.optimizers.rows import check_no_constraint, update_rows


class LazyOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """Base of optimizers that touch only the looked-up rows of a table.

    Placed before a Keras optimizer in the bases of a class. A dense gradient takes
    the rule of that Keras optimizer unchanged. A `tf.IndexedSlices` gradient takes
    the row-wise rule of the subclass: the rows of the table and of its slots are
    read by gather and written by scatter-add on the looked-up ids only, so that a
    step costs the ids of the batch whatever the number of rows of the table, while
    every Keras optimizer reads and writes the whole table and its slots.

    What differs for a table from the dense gradient with zeros in it:

    - a row that was not looked up keeps its value and its slots: no momentum moves
      it and no average decays;
    - weight decay shrinks looked-up rows only, and as in Keras by
      `learning_rate * weight_decay`, outside the gradient;
    - arithmetic is in float32 at least. Slots have the dtype of the table, as in
      Keras, and each change is rounded to that dtype.

    Clipping does not differ: the norm of the gradient is taken after the rows of
    equal id are summed, hence it is the norm of the dense gradient.

    `keras.optimizers.LossScaleOptimizer` may wrap a lazy optimizer, but its search
    for non-finite values makes each table gradient dense. Where that costs too
    much, use `loss_scale_factor`, or bfloat16, which needs no loss scale.

    A subclass says which slots a variable has (`slots`) and how a row moves
    (`row_update`); the rest is here.

    Args:
        **kwargs: arguments of the Keras optimizer. `use_ema` and
            `gradient_accumulation_steps` are refused, since each keeps a dense
            copy of every table and rewrites it at each step.

    Raises:
        ValueError: at construction if `use_ema` or `gradient_accumulation_steps` is
            set; in `apply` if a table has a constraint, which Keras would
            evaluate on all of its rows.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if self.use_ema:
            raise ValueError(
                f"`use_ema` is not supported by {name}: the average would rewrite "
                "every row of every table at each step. Received: use_ema="
                f"{self.use_ema}. Average the weights of saved checkpoints, or use "
                "the Keras optimizer."
            )
        if self.gradient_accumulation_steps:
            raise ValueError(
                f"`gradient_accumulation_steps` is not supported by {name}: Keras "
                "accumulates into a dense copy of every table. Received: "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}. "
                "Use a larger batch, or the Keras optimizer."
            )

    @abc.abstractmethod
    def slots(self, variable: tf.Variable) -> list[keras.Variable]:
        """Slots of a variable that the row-wise rule reads and writes.

        Args:
            variable: trainable variable that the optimizer was built with.

        Returns:
            List of variables with the shape of `variable`, possibly empty.
        """

    @abc.abstractmethod
    def row_update(
        self, gradient: tf.Tensor, slots: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Row-wise rule.

        Args:
            gradient: float tensor of shape `(rows, ...)`, one summed gradient per
                looked-up row.
            slots: rows of the slots in the order of `slots()`, shape and dtype of
                `gradient`.
            learning_rate: scalar tensor of the dtype of `gradient`.

        Returns:
            What to add to the rows of the table, and the list of new rows of the
            slots; all of the shape of `gradient`.
        """

    def apply(
        self,
        grads: Sequence[tf.Tensor | tf.IndexedSlices | None],
        trainable_variables: Iterable[keras.Variable] | None = None,
    ) -> None:
        """Updates the variables.

        Args:
            grads: gradients, one per variable; dense, `tf.IndexedSlices` with or
                without repeated indices, or None.
            trainable_variables: variables, needed at the first call only unless
                `build` was called.

        Raises:
            ValueError: if a variable with a `tf.IndexedSlices` gradient has a
                constraint.
        """
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        for gradient, variable in zip(
            grads, trainable_variables or self._trainable_variables, strict=False
        ):
            if isinstance(gradient, tf.IndexedSlices):
                check_no_constraint(variable)
        super().apply(
            [_Rows.of(g) if isinstance(g, tf.IndexedSlices) else g for g in grads],
            trainable_variables,
        )

    def update_step(
        self,
        gradient: tf.Tensor | tf.IndexedSlices,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Updates one variable, by rows if the gradient is `tf.IndexedSlices`."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        decay = self.weight_decay
        if decay is not None and not self._use_weight_decay(variable):
            decay = None
        # Rows are unique already, except where Keras has just summed the
        # gradients of several replicas. `.value` is the resource: a gather of it
        # reads rows, where a gather of the Keras variable first reads the table.
        slots = [slot.value for slot in self.slots(variable)]
        update_rows(variable, slots, gradient, learning_rate, self.row_update, decay)

    def _backend_apply_gradients(
        self,
        grads: Sequence[tf.Tensor | tf.IndexedSlices],
        trainable_variables: Sequence[keras.Variable],
    ) -> None:
        # As in Keras less averages and accumulation, which are refused; the weight
        # decay of tables is left to `update_step`.
        self._apply_weight_decay(
            [
                variable
                for gradient, variable in zip(grads, trainable_variables, strict=True)
                if not isinstance(gradient, tf.IndexedSlices)
            ]
        )
        self._backend_update_step(
            self._clip_gradients(grads), trainable_variables, self.learning_rate
        )

    def _clip_gradients(
        self, grads: Sequence[tf.Tensor | tf.IndexedSlices]
    ) -> list[tf.Tensor | tf.IndexedSlices]:
        # Rows are unique and padding is zero, so the values alone have the norm of
        # the dense gradient; Keras would densify the slices to take it. Float32 keeps
        # the squares finite, and lets tables and kernels differ in dtype.
        values = [g.values if isinstance(g, tf.IndexedSlices) else g for g in grads]
        clipped = super()._clip_gradients(
            [tf.cast(v, keras.backend.result_type(v.dtype, "float32")) for v in values]
        )
        return [
            UniqueSlices(values, gradient.indices, gradient.dense_shape)
            if isinstance(gradient, tf.IndexedSlices)
            else values
            for gradient, values in zip(grads, clipped, strict=True)
        ]


class _Rows(UniqueSlices):
    """`UniqueSlices` that Keras can divide by the loss scale."""

    @classmethod
    def of(cls, slices: tf.IndexedSlices) -> "_Rows":
        unique = unique_slices(slices)
        return cls(unique.values, unique.indices, unique.dense_shape)

    def __truediv__(self, divisor: float) -> "_Rows":
        return _Rows(self.values / divisor, self.indices, self.dense_shape)
