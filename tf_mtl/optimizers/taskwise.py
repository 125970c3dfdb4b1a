"""Optimizers that remember the gradients of each task apart."""

import abc
from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tf_mtl.aggregators import RowAggregator
from tf_mtl.optimizers.base import LazyOptimizer
from tf_mtl.optimizers.task_steps import TaskSteps

Tables = Literal["per_task", "shared"]


class TaskwiseOptimizer(LazyOptimizer):
    """Base of optimizers with slots of each task for shared variables.

    A variable that a single task reaches takes the rule of the subclass (`step`). For
    a variable that several tasks share, each task has slots of its own: the rule
    turns the gradient of each task into a direction, and the variable moves along
    their sum. An absent task keeps its slots and has no part in the sum.

    The train step does the second in two halves. Before gradients of replicas are
    merged, `row_aggregator` turns the task gradients into their direction; `apply`
    then takes this for the gradient of the shared variable, and multiplies it by the
    learning rate. A regularisation loss is no task: its gradient is added to the
    direction, as a decoupled weight decay is.

    The slots of tasks are float32 and take `num_tasks` copies of the shared variables
    for each name in `slot_names`. Of a table the looked-up rows alone are read and
    written, see `LazyOptimizer`.

    Without a model of several tasks (no call of `build_tasks`), all variables take
    the plain rule.

    Args:
        tables: `"per_task"`, or `"shared"`: shared tables that are looked up take the
            plain rule on the sum of the task gradients, with one set of slots.
        **kwargs: see `LazyOptimizer`. Clipping is refused: of a shared variable it
            would not see gradients but directions.

    Raises:
        ValueError: if `tables` is neither, or clipping is asked for.
    """

    def __init__(self, tables: Tables = "per_task", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if tables not in get_args(Tables):
            raise ValueError(
                f"`tables` must be 'per_task' or 'shared'. Received: tables={tables!r}."
            )
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` is not supported by {type(self).__name__}, whose steps "
                    "do not depend on the scale of the gradients. Received: "
                    f"{name}={getattr(self, name)}. Lower `learning_rate`."
                )
        self.tables = tables
        self._task_steps: TaskSteps | None = None
        self._per_task: list[int] = []

    @property
    @abc.abstractmethod
    def slot_names(self) -> tuple[str, ...]:
        """Names of the slots that the rule needs, at least one."""

    @abc.abstractmethod
    def step(
        self, gradient: tf.Tensor, slots: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The rule, entry by entry.

        Args:
            gradient: float tensor of any shape.
            slots: tensors in the order of `slot_names`, shape and dtype of `gradient`.

        Returns:
            What to move against, times the learning rate; and the new slots. Both
            must be finite for any finite gradient.
        """

    @property
    def row_aggregator(self) -> RowAggregator | None:
        """Turns rows of shared variables into directions; None without tasks."""
        return self._task_steps

    @property
    def variables(self) -> list[keras.Variable]:
        """All state, the slots of tasks included."""
        steps = self._task_steps
        return [*super().variables, *(steps.variables if steps else [])]

    def build_tasks(
        self,
        num_tasks: int,
        shared_variables: Sequence[keras.Variable],
        tables: Sequence[keras.Variable] = (),
    ) -> None:
        """Creates the slots of tasks. Called before `build`.

        Args:
            num_tasks: int, at least 1.
            shared_variables: variables that several tasks reach, in the order of
                their rows.
            tables: those of them that are looked up.

        Raises:
            ValueError: if the optimizer was built for other variables or tasks.
        """
        as_table = {id(v) for v in tables} if self.tables == "shared" else set()
        per_task = [id(v) for v in shared_variables if id(v) not in as_table]
        steps = self._task_steps
        if steps is not None and (steps.num_tasks, self._per_task) == (
            num_tasks,
            per_task,
        ):
            return
        if self.built or steps is not None:
            raise ValueError(
                f"`optimizer` must be new: this {type(self).__name__} was built for "
                "another model, or for one without tasks. Make a new one."
            )
        is_summed = [id(v) in as_table for v in shared_variables]
        steps = TaskSteps(self.slot_names, self.step, is_summed)
        steps.build(num_tasks)
        steps.build_rows([v.shape for v in shared_variables])
        self._task_steps = steps
        self._per_task = per_task

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots of variables without slots of tasks."""
        if self.built:
            return
        super().build(variables)
        self._slots = [
            []
            if id(variable) in self._per_task
            else [
                self.add_variable_from_reference(variable, name)
                for name in self.slot_names
            ]
            for variable in variables
        ]

    def slots(self, variable: tf.Variable) -> list[keras.Variable]:
        """Slots of the plain rule; none where tasks have their own."""
        return list(self._slots[self._get_variable_index(variable)])

    def row_update(
        self, gradient: tf.Tensor, slots: Sequence[tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Row-wise rule, see `LazyOptimizer.row_update`."""
        # Where tasks have slots of their own, the gradient is the direction already.
        direction, new = self.step(gradient, [*slots]) if slots else (gradient, [])
        return -learning_rate * direction, new

    def update_step(
        self,
        gradient: tf.Tensor | tf.IndexedSlices,
        variable: tf.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """Updates one variable, by rows if the gradient is `tf.IndexedSlices`."""
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        dtype = keras.backend.result_type(variable.dtype, "float32")
        slots = self.slots(variable)
        change, values = self.row_update(
            tf.cast(gradient, dtype),
            [tf.cast(tf.convert_to_tensor(slot), dtype) for slot in slots],
            tf.cast(learning_rate, dtype),
        )
        for slot, value in zip(slots, values, strict=True):
            self.assign(slot, value)
        self.assign_add(variable, change)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "tables": self.tables}
