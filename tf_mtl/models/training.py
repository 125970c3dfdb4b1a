"""Training of multi-task models: compile, train_step, test_step, state."""

import abc
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import aggregators, gradients
from tf_mtl.datasets import records
from tf_mtl.gradients.replicas import first_replica, num_replicas, replica_sum
from tf_mtl.models.fit_callbacks import EndEpoch, SkippedUpdatesWarning
from tf_mtl.models.logs import TaskLogs, known_counts, present_tasks
from tf_mtl.models.passes import (
    Backward,
    Forward,
    LossesFn,
    Route,
    Weigh,
    gradient_like,
    gradient_parts,
)
from tf_mtl.models.saving import ResumableModel
from tf_mtl.optimizers import TaskwiseOptimizer
from tf_mtl.tasks import Targets, Task, check_tasks, read_targets

SURFACES = ("parameters", "representation")


class TaskTrainer(ResumableModel, abc.ABC):
    """A Keras model whose train step sees the gradient of each task.

    Subclasses say how outputs and gradients of the tasks come about.

    Args:
        tasks: sequence of `Task`. Their order is the order of all rows.
    """

    def __init__(self, tasks: Sequence[Task], **kwargs: Any):
        kwargs.setdefault("name", type(self).__name__.lower())
        super().__init__(**kwargs)
        self.tasks = check_tasks(tasks)
        self.aggregator: Any = None
        self.surface = "parameters"
        self.train_metrics = False
        self._task_logs = TaskLogs(self.tasks)

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

    def check_representation(self) -> None:  # noqa: B027 (most have nothing to check)
        """Raises a ValueError if the model has no known shared representation."""

    def route_fn(self, present: tf.Tensor, scale: tf.Tensor) -> Route | None:
        """What routes gradients between towers in a step; None if nothing does.

        Args:
            present: bool tensor of shape `(num_tasks,)`.
            scale: float32 scalar, scale of the losses.
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

    def check_features(self) -> None:  # noqa: B027 (a network has no tables to check)
        """Raises a ValueError if the features do not fit the model any more."""

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
        if surface == "representation" and aggregator.kind == "rows":
            raise ValueError(
                f"`surface='representation'` gives weights, but the aggregator "
                f"{type(aggregator).__name__} edits rows. Pass surface='parameters'."
            )
        if surface == "representation":
            self.check_representation()
        optimizer = keras.optimizers.get(optimizer)
        if aggregator.kind != "loss":
            _check_accumulation(optimizer, aggregator)
        taskwise = _taskwise(optimizer)
        if taskwise is not None:
            _check_taskwise(taskwise, aggregator, surface)
        aggregator.build(len(self.tasks))
        # Known now, later or never; see `shared_variables`.
        self._shared_ids: frozenset[int] | None = None
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            auto_scale_loss=auto_scale_loss,
        )
        needs_shared = aggregator.kind != "loss" or taskwise is not None
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
            self._shared_ids = frozenset(id(variable) for variable in shared)
            if aggregator.kind == "rows":
                aggregator.build_rows([variable.shape for variable in shared])
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
        callbacks = arguments.pop("callbacks", None) or []
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(EndEpoch())
            callbacks.append(SkippedUpdatesWarning())
        else:
            if not isinstance(callbacks, (list, tuple)):
                callbacks = [callbacks]
            callbacks = [EndEpoch(), *callbacks, SkippedUpdatesWarning()]
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

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Predictions for a batch of `predict`."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.predictions(inputs)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Losses and metrics of a batch of `evaluate`."""
        inputs, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        targets = read_targets(self.tasks, labels, weight)
        outputs = self.task_outputs(inputs, training=False)
        losses = self._plain_losses(outputs, targets)
        forward = Forward(outputs, losses)
        self._task_logs.update(forward, targets, tf.constant(True), with_metrics=True)
        return self._logs(training=False)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of all variables from a batch of `fit`."""
        inputs, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        targets = read_targets(self.tasks, labels, weight)
        # What a forward pass may change (running means) and what aggregation changes.
        state = [*self.non_trainable_weights, *self.aggregator.step_variables]
        before = [tf.identity(variable.value) for variable in state]
        found, forward = self._found_gradients(inputs, targets)
        is_ok = self._apply(found, forward.losses)
        if self.aggregator.observes_update:
            after = self.task_outputs(inputs, training=False)
            after = replica_sum(tf.stack(self._task_losses(after, targets)))
            self.aggregator.observe(after, present_tasks(targets))
        for variable, value in zip(state, before, strict=True):
            variable.assign(tf.where(is_ok, variable.value, value))
        self._task_logs.update(forward, targets, is_ok, self.train_metrics)
        self._task_logs.count_skipped(~is_ok)
        return self._logs(training=True)

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

    # -- the step ----------------------------------------------------------------

    def _plain_losses(
        self, outputs: list[tf.Tensor], targets: Targets
    ) -> list[tf.Tensor]:
        """Loss of each task: this replica's share of the mean over known labels.

        The static weights of the tasks are not in it.
        """
        counts = known_counts(targets)
        losses = []
        for i, task in enumerate(self.tasks):
            known, output = targets.known[i], tf.cast(outputs[i], tf.float32)
            # At an unknown label a loss may have no finite value or gradient: no
            # gradient goes there, and the value is selected, not multiplied by 0.
            output = tf.where(known, output, tf.stop_gradient(output))
            each = task.example_losses(targets.labels[i], output)
            each = tf.where(known, each * targets.weights[i], 0.0)
            losses.append(tf.reduce_sum(each) / tf.maximum(counts[i], 1.0))
        return losses

    def _task_losses(
        self, outputs: list[tf.Tensor], targets: Targets
    ) -> list[tf.Tensor]:
        """Loss of each task, times its static weight."""
        return self._weighted(self._plain_losses(outputs, targets))

    def _weighted(self, losses: list[tf.Tensor]) -> list[tf.Tensor]:
        return [t.weight * loss for t, loss in zip(self.tasks, losses, strict=True)]

    def _found_gradients(
        self, inputs: Any, targets: Targets
    ) -> tuple[list[gradients.Gradient], Forward]:
        """Gradient of each trainable variable, this replica's part, and the outputs."""
        aggregator = self.aggregator
        if not self._reuses_weights():
            return self._computed(inputs, targets, is_due=True)
        like: list[gradients.Gradient] = []

        def tensors(is_due: bool) -> tuple[list[tf.Tensor], list[Any]]:
            like[:], forward = self._computed(inputs, targets, is_due)
            parts = [gradient_parts(gradient) for gradient in like]
            return [forward.outputs, forward.losses], parts

        # Both ways are compiled, and each step takes one.
        forward, parts = tf.cond(
            aggregator.is_due(), lambda: tensors(is_due=True), lambda: tensors(False)
        )
        found = [
            gradient_like(gradient, part, variable)
            for gradient, part, variable in zip(
                like, parts, self.trainable_variables, strict=True
            )
        ]
        return found, Forward(*forward)

    def _computed(
        self, inputs: Any, targets: Targets, is_due: bool
    ) -> tuple[list[gradients.Gradient], Forward]:
        seen: list[Forward] = []
        present = present_tasks(targets)
        scale = self._loss_scale()

        def losses_fn(outputs: list[tf.Tensor]) -> list[tf.Tensor]:
            seen[:] = [Forward(outputs, self._plain_losses(outputs, targets))]
            losses = self._weighted(seen[0].losses)
            totals = tf.stop_gradient(replica_sum(tf.stack(losses)))
            factors = tf.unstack(self.aggregator.loss_weights(totals, present) * scale)
            return [loss * by for loss, by in zip(losses, factors, strict=True)]

        def total_losses() -> tf.Tensor:
            return replica_sum(tf.stack(self._weighted(seen[0].losses)))

        backward = self._backward(inputs, losses_fn, total_losses, present, is_due)
        shared = [
            None if g is None else gradients.share_of_replica(g)
            for g in backward.shared
        ]
        totals = _added(backward.plain, shared)
        if not is_due:
            totals = self._limited(totals)
        return _added(totals, backward.penalty), seen[0]

    def _backward(
        self,
        inputs: Any,
        losses_fn: LossesFn,
        total_losses: Callable[[], tf.Tensor],
        present: tf.Tensor,
        is_due: bool,
    ) -> Backward:
        aggregator, scale = self.aggregator, self._loss_scale()

        def weigh(gramian: tf.Tensor) -> tf.Tensor:
            gramian = gramian / (scale * scale)
            return aggregator.weights(gramian, total_losses(), present)

        row_method = self._row_method()
        route = self.route_fn(present, scale)
        # Most models route nothing, and need not know that others do.
        routing = {} if route is None else {"route": route}
        is_summed = aggregator.kind == "loss" and row_method is None
        if is_summed or not self._has_shared_variables():
            if route is None:
                return self._summed_backward(inputs, losses_fn)
            return self.representation_backward(inputs, losses_fn, None, **routing)
        if not is_due:
            return self.representation_backward(
                inputs, losses_fn, lambda _: aggregator.reuse(present), **routing
            )
        if self.surface == "representation":
            return self.representation_backward(inputs, losses_fn, weigh, **routing)
        plain, rows = self.task_gradients(inputs, losses_fn, **routing)
        if row_method is None:
            directions = rows.weighted_sum(weigh(rows.gramian()))
        else:
            usable = self._on_all_replicas(gradients.all_finite(plain))
            directions = rows.combine(
                lambda blocks: [
                    direction * scale
                    for direction in row_method.combine(
                        [block / scale for block in blocks],
                        total_losses(),
                        present,
                        [block.ids for block in rows.blocks],
                        usable,
                    )
                ]
            )
        by_id = {
            id(block.variable): direction
            for block, direction in zip(rows.blocks, directions, strict=True)
        }
        shared = [by_id.get(id(v.value)) for v in self.trainable_variables]
        return Backward(plain, shared, [None] * len(plain))

    def _row_method(self) -> aggregators.RowAggregator | None:
        """What turns task gradients into directions entry by entry, if anything."""
        if self.aggregator.kind == "rows":
            return self.aggregator
        taskwise = _taskwise(self.optimizer)
        return None if taskwise is None else taskwise.row_aggregator

    def _summed_backward(self, inputs: Any, losses_fn: LossesFn) -> Backward:
        """One backward pass of the sum of the losses."""
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            losses = losses_fn(self.task_outputs(inputs, training=True))
            penalty = self.penalty()
        targets = [*losses] if penalty is None else [*losses, penalty]
        found = tape.gradient(targets, variables)
        none: list[gradients.Gradient] = [None] * len(found)
        return Backward(found, none, none)

    def _reuses_weights(self) -> bool:
        """Whether some steps can do without the gradients of the tasks."""
        aggregator = self.aggregator
        if aggregator.kind != "gramian" or aggregator.update_every == 1:
            return False
        if self.surface == "representation" or tf.distribute.has_strategy():
            return False  # Cheap as it is; and replicas cannot meet inside a condition.
        try:
            self.check_representation()
        except ValueError:
            return False
        return aggregator.max_norm is None or self._shared_ids is not None

    def _limited(self, totals: list[gradients.Gradient]) -> list[gradients.Gradient]:
        """Applies `max_norm` to a direction whose Gramian is not known."""
        if self.aggregator.max_norm is None:
            return totals
        shared = self._shared_ids or ()
        places = [i for i, v in enumerate(self.trainable_variables) if id(v) in shared]
        limit = self.aggregator.max_norm * self._loss_scale()
        norm = gradients.global_norm([totals[i] for i in places])
        factor = limit / tf.maximum(norm, limit)
        totals = list(totals)
        for i in places:
            totals[i] = gradients.map_gradient(
                lambda g: g * tf.cast(factor, g.dtype), totals[i]
            )
        return totals

    def _on_all_replicas(self, condition: tf.Tensor) -> tf.Tensor:
        return replica_sum(tf.cast(condition, tf.int32)) == num_replicas()

    def _has_shared_variables(self) -> bool:
        return True

    def _apply(
        self, totals: list[gradients.Gradient], losses: list[tf.Tensor]
    ) -> tf.Tensor:
        """Updates the variables, unless a loss or gradient is not finite.

        Returns:
            bool scalar: whether all of them were finite, on all replicas.
        """
        pairs = zip(totals, self.trainable_variables, strict=True)
        reached = [(g, v) for g, v in pairs if g is not None]
        found = [gradient for gradient, _ in reached]
        variables = [variable for _, variable in reached]
        is_ok = self._on_all_replicas(gradients.all_finite([*losses, *found]))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It must see non-finite gradients: it skips them and lowers its scale.
            self.optimizer.apply(found, variables)
        elif tf.distribute.has_strategy():
            # Optimizers merge replicas (even one), not possible inside a condition:
            # hand them a zero gradient instead of skipping.
            zeroed = [
                gradients.map_gradient(
                    lambda g: tf.where(is_ok, g, tf.zeros_like(g)), g
                )
                for g in found
            ]
            self.optimizer.apply(zeroed, variables)
        else:
            if not self.optimizer.built:
                with tf.init_scope():
                    self.optimizer.build(self.trainable_variables)
            tf.cond(
                is_ok,
                lambda: _then_zero(self.optimizer.apply(found, variables)),
                lambda: tf.constant(0),
            )
        return is_ok

    def penalty(self) -> tf.Tensor | None:
        """Regularisation losses of the last forward pass, which are no task's business.

        Returns:
            float32 scalar, this replica's share of the sum; `None` if there are none.
        """
        penalties = [tf.cast(loss, tf.float32) for loss in self.losses]
        if not penalties:
            return None
        return tf.add_n(penalties) * self._loss_scale() / num_replicas()

    def _loss_scale(self) -> tf.Tensor:
        return tf.cast(self.optimizer.scale_loss(tf.constant(1.0)), tf.float32)

    # -- logs --------------------------------------------------------------------

    def _logs(self, training: bool) -> dict[str, tf.Tensor]:
        names = self._task_logs.names(training, self.train_metrics or not training)
        results = self._results()
        if training:
            names += [name for name in results if name in self._step_logs()]
        return {name: results[name] for name in names}

    def _results(self) -> dict[str, tf.Tensor]:
        return self._task_logs.results() | self._step_logs()

    def _step_logs(self) -> dict[str, tf.Tensor]:
        """What is not a metric: counts that are kept as state."""
        logs = dict(self.extra_logs())
        aggregator = self.aggregator
        if aggregator is not None and (
            aggregator.kind != "loss" or aggregator.needs_losses
        ):
            logs["fallbacks"] = aggregator.fallbacks()
        return logs

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        # Keras takes results summed over replicas only where the logs hold every
        # metric, and else the mean of what the replicas logged, which is wrong.
        results = self._results()
        return {name: results.get(name, value) for name, value in logs.items()}


def _taskwise(optimizer: Any) -> TaskwiseOptimizer | None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner if isinstance(inner, TaskwiseOptimizer) else None


def _check_taskwise(
    optimizer: TaskwiseOptimizer, aggregator: Any, surface: str
) -> None:
    name = type(optimizer).__name__
    if aggregator.kind != "loss":
        raise ValueError(
            f"`aggregator` must be of kind 'loss' with {name}, which takes each task's "
            f"gradient itself. Received: {type(aggregator).__name__} of kind "
            f"{aggregator.kind!r}. Pass aggregator='ew', or another optimizer."
        )
    if surface != "parameters":
        raise ValueError(
            f"`surface` must be 'parameters' with {name}, which remembers the gradient "
            f"of each parameter. Received: surface={surface!r}."
        )


def _check_accumulation(optimizer: Any, aggregator: Any) -> None:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for each in (optimizer, inner):
        steps = getattr(each, "gradient_accumulation_steps", None)
        if steps:
            raise ValueError(
                "`gradient_accumulation_steps` of the optimizer adds up gradients "
                "after the aggregation, but a conflict is a property of the whole "
                f"batch. Received: gradient_accumulation_steps={steps} with the "
                f"aggregator {type(aggregator).__name__}. Use a larger batch."
            )


def _added(
    first: Sequence[gradients.Gradient], second: Sequence[gradients.Gradient]
) -> list[gradients.Gradient]:
    """Sums by variable, rows of tables summed by id."""
    totals = []
    for pair in zip(first, second, strict=True):
        total = gradients.add_gradients(*pair)
        if isinstance(total, tf.IndexedSlices):
            total = gradients.unique_slices(total)
        totals.append(total)
    return totals


def _then_zero(_: Any) -> tf.Tensor:
    return tf.constant(0)
