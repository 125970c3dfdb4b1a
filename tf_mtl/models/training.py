"""Training of multi-task models: compile, fit, train_step, test_step."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import aggregators, gradients
from tf_mtl.datasets import records
from tf_mtl.gradients.replicas import replica_sum
from tf_mtl.models.compile_checks import check_compile, taskwise_optimizer
from tf_mtl.models.fit_callbacks import with_own_callbacks
from tf_mtl.models.logs import TaskLogs
from tf_mtl.models.losses import plain_losses, present_tasks
from tf_mtl.models.passes import Forward
from tf_mtl.models.task_model import TaskModel
from tf_mtl.models.updates import apply_gradients, changing_weights
from tf_mtl.models.weight_reuse import found_gradients
from tf_mtl.tasks import Targets, Task, read_targets

SURFACES = ("parameters", "representation")


class TaskTrainer(TaskModel):
    """A Keras model whose train step sees the gradient of each task.

    Args:
        tasks: sequence of `Task`. Their order is the order of all rows.
    """

    def __init__(self, tasks: Sequence[Task], **kwargs: Any):
        super().__init__(tasks, **kwargs)
        self.train_metrics = False
        self._task_logs = TaskLogs(self.tasks)

    # -- Keras interface ---------------------------------------------------------

    def compile(  # noqa: D417 (the rest is described by Keras)
        self,
        optimizer: Any = "adam",
        aggregator: Any = "ew",
        surface: str = "parameters",
        train_metrics: bool = False,
        jit_compile: str | bool = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: Keras optimizer; the lazy ones of `tf_mtl.optimizers` cost
                nothing per row of a table that is not looked up.
            aggregator: name, config or object, see `tf_mtl.aggregators`.
            surface: `"parameters"`, exact task gradients of the shared variables; or
                `"representation"`, task gradients at the shared representation, which
                cost one backward pass below it.
            train_metrics: bool. Whether the metrics of the tasks are also updated
                while training. Off: training logs show losses only.

        Raises:
            ValueError: if an aggregator or surface is unknown, or they do not go
                together with each other or with the optimizer.
        """
        if surface not in SURFACES:
            raise ValueError(
                f"`surface` must be one of {SURFACES}. Received: surface={surface!r}."
            )
        aggregator = aggregators.get(aggregator)
        optimizer = keras.optimizers.get(optimizer)
        check_compile(self, optimizer, aggregator, surface)
        aggregator.build(len(self.tasks))
        self.shared_ids = None
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            auto_scale_loss=auto_scale_loss,
        )
        self._build_state(aggregator)
        self.aggregator = aggregator
        self.surface = surface
        self.train_metrics = train_metrics
        self._compile_arguments = {
            "surface": surface,
            "train_metrics": train_metrics,
            "jit_compile": jit_compile,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "auto_scale_loss": auto_scale_loss,
        }

    @records.named_errors()
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """`keras.Model.fit`, which also warns once when updates were skipped."""
        self.check_features()
        arguments = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        callbacks = with_own_callbacks(arguments.pop("callbacks", None))
        return super().fit(**arguments, callbacks=callbacks)

    @records.named_errors()
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.evaluate`; a damaged record file is named."""
        return super().evaluate(*args, **kwargs)

    @records.named_errors()
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.predict`; a damaged record file is named."""
        return super().predict(*args, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics, reset at the start of an epoch or an evaluation."""
        return self._task_logs.metrics

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Predictions for a batch of `predict`."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.predictions(inputs)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Losses and metrics of a batch of `evaluate`."""
        inputs, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        targets = read_targets(self.tasks, labels, weight)
        outputs = self.task_outputs(inputs, training=False)
        forward = Forward(outputs, plain_losses(self.tasks, outputs, targets))
        self._task_logs.update(forward, targets, tf.constant(True), with_metrics=True)
        return self._logs(training=False)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of all variables from a batch of `fit`."""
        inputs, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        targets = read_targets(self.tasks, labels, weight)
        # What a forward pass may change (running means) and what aggregation changes.
        before = gradients.Snapshot(
            [*changing_weights(self), *self.aggregator.step_variables]
        )
        found, forward = found_gradients(self, inputs, targets)
        is_ok = apply_gradients(
            self.optimizer, found, self.trainable_variables, forward.losses
        )
        if self.aggregator.observes_update:
            self._observe_update(inputs, targets)
        before.put_back_unless(is_ok)
        self._task_logs.update(forward, targets, is_ok, self.train_metrics)
        self._task_logs.count_skipped(~is_ok)
        return self._logs(training=True)

    # -- parts -------------------------------------------------------------------

    def _build_state(self, aggregator: aggregators.Aggregator) -> None:
        """Creates the state that depends on variables, where they are known."""
        taskwise = taskwise_optimizer(self.optimizer)
        needs_shared = aggregator.kind != "loss" or taskwise is not None
        # Known now, later or never; see `shared_variables`.
        shared = self.shared_variables() if self.built and needs_shared else None
        if taskwise is not None:
            if shared is None:
                raise ValueError(
                    f"`optimizer` {type(taskwise).__name__} must know the shared "
                    "variables when the model is compiled. Received: a model that is "
                    "not built, or whose network is not functional. Build it first, "
                    "or use another optimizer."
                )
            taskwise.build_tasks(len(self.tasks), shared, self.looked_up_tables())
        if self.built:
            # Weights may be loaded next, and slots that do not exist yet get none.
            self.optimizer.build(self.trainable_variables)
        if shared is not None:
            self.shared_ids = frozenset(id(variable) for variable in shared)
        if isinstance(aggregator, aggregators.RowAggregator):
            if shared is not None:
                aggregator.build_rows([variable.shape for variable in shared])
            self.row_method = aggregator
        else:
            self.row_method = None if taskwise is None else taskwise.row_aggregator

    def _observe_update(self, inputs: Any, targets: Targets) -> None:
        """Tells the aggregator the losses of the batch after its update."""

        def evaluate() -> tf.Tensor:
            outputs = self.task_outputs(inputs, training=False)
            return tf.stack(self._task_losses(outputs, targets))

        losses = replica_sum(self.aggregator.updated_losses(evaluate))
        self.aggregator.observe(losses, present_tasks(targets))

    def _logs(self, training: bool) -> dict[str, tf.Tensor]:
        names = self._task_logs.names(training, self.train_metrics or not training)
        step_logs = self._step_logs()
        results = self._task_logs.results() | step_logs
        if training:
            names = [*names, *step_logs]
        return {name: results[name] for name in names}

    def _step_logs(self) -> dict[str, tf.Tensor]:
        """What is not a metric: counts that are kept as state."""
        logs = dict(self.extra_logs())
        if self.aggregator is not None and self.aggregator.may_fall_back:
            logs["fallbacks"] = self.aggregator.fallbacks()
        return logs

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        # Keras takes results summed over replicas only where the logs hold every
        # metric, and else the mean of what the replicas logged, which is wrong.
        results = self._task_logs.results() | self._step_logs()
        return {name: results.get(name, value) for name, value in logs.items()}
