"""What a model of several tasks is: outputs, gradients and variables by task."""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.aggregators import RowAggregator
from tf_mtl.gradients.replicas import first_replica, num_replicas
from tf_mtl.models.losses import plain_losses, weighted_losses
from tf_mtl.models.passes import Backward, LossesFn, Route, Weigh
from tf_mtl.models.saving import ResumableModel
from tf_mtl.models.updates import loss_scale
from tf_mtl.tasks import Targets, Task, check_tasks, read_targets


class TaskModel(ResumableModel, abc.ABC):
    """A Keras model with one output, loss and gradient per task.

    Subclasses say how outputs and gradients of the tasks come about.

    Args:
        tasks: sequence of `Task`. Their order is the order of all rows.

    Attributes:
        aggregator: `Aggregator`, None before `compile`.
        surface: `"parameters"` or `"representation"`, see `TaskTrainer.compile`.
        row_method: what turns task gradients into directions entry by entry, the
            aggregator or a part of the optimizer; None if nothing does.
        shared_ids: `id` of each variable that several tasks reach; None if nothing
            needs them or they are not known.
    """

    def __init__(self, tasks: Sequence[Task], **kwargs: Any):
        kwargs.setdefault("name", type(self).__name__.lower())
        super().__init__(**kwargs)
        self.tasks = check_tasks(tasks)
        self.aggregator: Any = None
        self.surface = "parameters"
        self.row_method: RowAggregator | None = None
        self.shared_ids: frozenset[int] | None = None

    # -- what a subclass provides ------------------------------------------------

    @abc.abstractmethod
    def task_outputs(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        """Raw outputs (logits or values) by task, each of shape `(batch,)`."""

    @abc.abstractmethod
    def task_gradients(
        self, inputs: Any, losses_fn: LossesFn
    ) -> tuple[list[gradients.Gradient], gradients.TaskGradients]:
        """Plain gradients by variable, see `Backward`, and rows of shared ones."""

    @abc.abstractmethod
    def representation_backward(
        self, inputs: Any, losses_fn: LossesFn, weigh: Weigh | None
    ) -> Backward:
        """Backward pass with weights from the rows at the shared representation.

        Without `weigh` all weights are 1.
        """

    @property
    def has_representation(self) -> bool:
        """Whether `representation_backward` knows the shared representation."""
        return True

    @property
    def has_shared_variables(self) -> bool:
        """Whether several tasks may reach the same variable."""
        return True

    def route_fn(self, present: tf.Tensor, scale: tf.Tensor) -> Route | None:
        """What routes gradients between towers in a step; None if nothing does.

        The page `docs/routing.md` has an example.

        Args:
            present: bool tensor of shape `(num_tasks,)`. False for a task with no known
                label in this batch.
            scale: float32 scalar, scale of the losses.

        Returns:
            function of the gradients at the inputs of the towers, `(num_towers, batch,
            units)`, and of those of all trainable variables by what is above; it
            returns both as they are to be used.
        """
        del present, scale
        return None

    def extra_logs(self) -> dict[str, tf.Tensor]:
        """Further scalars that `fit` shows, by name."""
        return {}

    def shared_variables(self) -> list[keras.Variable] | None:
        """Variables that several tasks reach, in order; None where not known yet."""
        return None

    def example_inputs(self) -> Any:
        """Inputs of one row of zeros; None where not known yet."""
        return None

    def check_features(self) -> None:  # noqa: B027 (a network has no tables to check)
        """Raises a ValueError if the features do not fit the model any more."""

    # -- what follows from it ----------------------------------------------------

    def call(self, inputs: Any, training: bool = False) -> dict[str, tf.Tensor]:
        """Raw outputs by task name: logits, or values of a regression.

        Args:
            inputs: as the model takes them.
            training: bool.

        Returns:
            dict of float32 tensors of shape `(batch,)`.
        """
        outputs = self.task_outputs(inputs, training)
        return {task.name: out for task, out in zip(self.tasks, outputs, strict=True)}

    def predictions(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Probabilities (binary tasks) and values (regression) by task name.

        Returns:
            dict of float32 tensors of shape `(batch,)`.
        """
        outputs = self.task_outputs(inputs, training=False)
        return {
            task.name: task.predictions(out)
            for task, out in zip(self.tasks, outputs, strict=True)
        }

    def looked_up_tables(self) -> list[keras.Variable]:
        """Variables that the model reads by rows, as their gradient says, in order."""
        variables = [first_replica(v.value) for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = self.task_outputs(self.example_inputs(), training=False)
        found = tape.gradient(outputs, variables)
        return [
            variable
            for variable, gradient in zip(self.trainable_variables, found, strict=True)
            if isinstance(gradient, tf.IndexedSlices)
        ]

    def gramian(self, inputs: Any, labels: Any) -> tf.Tensor:
        """Gramian of the task gradients for a batch, as a diagnosis.

        Args:
            inputs: as the model takes them.
            labels: as `fit` takes them.

        Returns:
            float32 tensor of shape `(num_tasks, num_tasks)`.
        """
        targets = read_targets(self.tasks, labels)
        _, rows = self.task_gradients(
            inputs, lambda outputs: self._task_losses(outputs, targets)
        )
        return rows.gramian()

    def penalty(self) -> tf.Tensor | None:
        """Regularisation losses of the last forward pass, which are no task's business.

        Returns:
            float32 scalar, this replica's share of the sum; `None` if there are none.
        """
        penalties = [tf.cast(loss, tf.float32) for loss in self.losses]
        if not penalties:
            return None
        return tf.add_n(penalties) * loss_scale(self.optimizer) / num_replicas()

    def _task_losses(
        self, outputs: Sequence[tf.Tensor], targets: Targets
    ) -> list[tf.Tensor]:
        """Loss of each task, times its static weight."""
        return weighted_losses(self.tasks, plain_losses(self.tasks, outputs, targets))
