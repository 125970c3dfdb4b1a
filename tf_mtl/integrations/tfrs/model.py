"""MultiTaskTFRSModel: a TensorFlow Recommenders model of several tasks."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tf_mtl import aggregators
from tf_mtl.aggregators import RowAggregator
from tf_mtl.integrations.tfrs.end_epoch import EndEpoch
from tf_mtl.integrations.tfrs.loss_means import LossMeans
from tf_mtl.integrations.tfrs.step import (
    TrainStep,
    regularization_loss,
    shared_variables,
)

# See `TrainStep`.
_as_it_is = tf.autograph.experimental.do_not_convert


class MultiTaskTFRSModel(tfrs.Model):
    """A `tfrs.Model` whose train step sees the gradient of each task.

    Subclass it as you would `tfrs.Model`, and write `compute_losses` in place of
    `compute_loss`. The rest is `compile(optimizer, aggregator=...)` and `fit`.

    Which task reaches which variable is read from the graph: the backward pass of each
    loss says so. Variables that several tasks reach get the aggregated gradient, a
    variable that one task reaches the plain gradient of that task. Tables that are
    looked up have rows of the looked-up ids only. Regularisation losses are added after
    the aggregation. A batch with a loss or gradient that is not finite changes nothing,
    metrics included, and is counted in `skipped_updates`.

    The state of the aggregator is part of a checkpoint of the model, by
    `tf.train.Checkpoint(model=model)`, `model.save_weights("path")` and
    `tf.keras.callbacks.ModelCheckpoint(..., save_weights_only=True)`; not of an HDF5
    file, which has no optimizer either.

    Attributes:
        task_names: names of the tasks in the order of all rows: that of the first
            `compute_losses`; None before.
        aggregator: `Aggregator`, None before `compile`.

    Example:
    >>> class Joint(MultiTaskTFRSModel):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.users = tf.keras.layers.Embedding(10, 4)
    ...         self.items = tf.keras.layers.Embedding(20, 4)
    ...         self.head = tf.keras.layers.Dense(1)
    ...         self.rating = tfrs.tasks.Ranking(tf.keras.losses.MeanSquaredError())
    ...         self.watch = tfrs.tasks.Retrieval()
    ...
    ...     def compute_losses(self, inputs, training=False):
    ...         user, item = self.users(inputs["user"]), self.items(inputs["item"])
    ...         score = self.head(tf.concat([user, item], axis=1))
    ...         return {
    ...             "rating": self.rating(labels=inputs["rating"], predictions=score),
    ...             "watch": self.watch(user, item, compute_metrics=not training),
    ...         }
    >>> model = Joint()
    >>> model.compile(LazyAdam(0.01), aggregator="gradcraft")
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task_names: tuple[str, ...] | None = None
        self.aggregator: Any = None
        self._is_prepared = False
        self._loss_means: Any = None

    # -- what a subclass provides ------------------------------------------------

    def compute_losses(
        self, inputs: Any, training: bool = False
    ) -> Mapping[str, tf.Tensor]:
        """Losses by task. Updates the metrics of the tasks too.

        Args:
            inputs: a batch: features, labels and weights.
            training: bool.

        Returns:
            dict from the name of each task to a scalar loss, weighted as you like; the
            same tasks in every batch. The loss of an absent task (`present_tasks`) must
            be finite and without gradient, as that of tasks of `tfrs` is where all
            `sample_weight` are 0.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `compute_losses(inputs, training)`: "
            "a dict of scalar losses by task."
        )

    def present_tasks(self, inputs: Any) -> Mapping[str, tf.Tensor]:
        """Tells which tasks have a known label in a batch.

        A task without one is absent: its row is left out of the aggregation and its
        state is left as it was.

        Args:
            inputs: as `compute_losses` takes them.

        Returns:
            dict of bool scalars by task. Tasks that are not in it are present; here,
            all are.
        """
        del inputs
        return {}

    # -- Keras interface ---------------------------------------------------------

    def compile(  # noqa: D417 (the rest is described by Keras)
        self, optimizer: Any = "adam", aggregator: Any = "ew", **kwargs: Any
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: optimizer of `tf.keras`. `LazyAdam` of this package, and Adagrad
                and SGD of `tf.keras`, cost nothing per row that is not looked up.
            aggregator: name, config or object, see `tf_mtl.aggregators`. They see the
                exact gradients (`surface="parameters"` elsewhere).
            **kwargs: see `tf.keras.Model.compile`: `jit_compile`, `run_eagerly`,
                `steps_per_execution`.

        Raises:
            ValueError: if the aggregator is unknown, the optimizer is one of Keras 3,
                or the model is under a strategy of several replicas.
        """
        if isinstance(optimizer, keras.optimizers.Optimizer):
            raise ValueError(
                "`optimizer` must be one of tf.keras (Keras 2), as the layers of "
                f"TensorFlow Recommenders are. Received: {type(optimizer).__name__} "
                "of Keras 3. Use `tf_mtl.integrations.tfrs.LazyAdam`, or one of "
                "`tf.keras.optimizers`."
            )
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"{type(self).__name__} trains on one replica. Received: a strategy "
                f"with {replicas}."
            )
        self.aggregator = aggregators.get(aggregator)
        self._is_prepared = False
        super().compile(optimizer=optimizer, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> tf.keras.callbacks.History:
        """`tf.keras.Model.fit`, which also warns once when updates were skipped."""
        arguments = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        callbacks = arguments.pop("callbacks", None)
        if isinstance(callbacks, tf.keras.callbacks.CallbackList):
            callbacks.append(EndEpoch())
        elif isinstance(callbacks, (list, tuple)):
            callbacks = [EndEpoch(), *callbacks]
        else:
            callbacks = [EndEpoch(), *([] if callbacks is None else [callbacks])]
        return super().fit(**arguments, callbacks=callbacks)

    def train_step(self, inputs: Any) -> dict[str, tf.Tensor]:
        """One update of all variables from a batch of `fit`."""
        self._prepare(inputs)
        present = self._present(self.present_tasks(inputs))
        step = TrainStep(self, present)
        with step.tape:
            step.take(self.by_task(self.compute_losses(inputs, training=True)))
        step.update()
        if self.aggregator.observes_update:
            step.observe(self.by_task(self.compute_losses(inputs, training=False)))
        is_ok = step.finish()
        self._loss_means.update(step.losses, step.penalty, present, is_ok)
        return self._logs(training=True)

    def test_step(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Losses and metrics of a batch of `evaluate`."""
        losses = self.by_task(self.compute_losses(inputs, training=False))
        present = self._present(self.present_tasks(inputs))
        self._loss_means.update(
            losses, regularization_loss(self), present, tf.constant(True)
        )
        return self._logs(training=False)

    def compute_loss(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Sum of the losses of the tasks, as `tfrs.Model` defines it."""
        return tf.add_n(self.by_task(self.compute_losses(inputs, training=training)))

    # -- parts -------------------------------------------------------------------

    @_as_it_is
    def by_task(self, losses: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """What `compute_losses` gave, in the order of the tasks, as float32 scalars.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it holds no loss, a loss that is not a scalar, or other tasks
                than at first.
        """
        if not isinstance(losses, Mapping):
            raise TypeError(
                "`compute_losses` must return a dict of losses by task. "
                f"Received: {losses!r}."
            )
        if self.task_names is None and losses:
            self.task_names = tuple(losses)
            self._loss_means = LossMeans(self.task_names)
        if not losses or set(losses) != set(self.task_names or ()):
            raise ValueError(
                "`compute_losses` must return the same tasks in every batch, one or "
                f"more. Received: {list(losses)}, at first {self.task_names}. Say with "
                "`present_tasks` which of them have labels."
            )
        tensors = {name: tf.convert_to_tensor(loss) for name, loss in losses.items()}
        for name, loss in tensors.items():
            if loss.shape.rank != 0:
                raise ValueError(
                    "`compute_losses` must return scalars. Received: a loss of shape "
                    f"{tuple(loss.shape)} for task {name!r}. Take its mean or sum."
                )
        return [tf.cast(tensors[name], tf.float32) for name in self.task_names or ()]

    def _prepare(self, inputs: Any) -> None:
        """Creates all variables, and the state that depends on them."""
        if not self._is_prepared:
            self._build_state(shared_variables(self, inputs))

    @_as_it_is
    def _build_state(self, shared: list[tf.Variable]) -> None:
        aggregator = self.aggregator
        with tf.init_scope():
            aggregator.build(len(self.task_names or ()))
            if isinstance(aggregator, RowAggregator):
                aggregator.build_rows([variable.shape for variable in shared])
            # Puts the state, variables of Keras 3, into checkpoints of the model.
            self._aggregator_state = tf.train.Checkpoint(
                variables=[variable.value for variable in aggregator.variables]
            )
        self._is_prepared = True

    @_as_it_is
    def _present(self, present: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What `present_tasks` gave, as a bool tensor `(num_tasks,)`."""
        names = self.task_names or ()
        unknown = sorted(set(present) - set(names))
        if unknown:
            raise ValueError(
                f"`present_tasks` must name tasks. Received: {unknown}. "
                f"Known tasks: {list(names)}."
            )
        return tf.stack([tf.cast(present.get(name, True), tf.bool) for name in names])

    @_as_it_is
    def _logs(self, training: bool) -> dict[str, tf.Tensor]:
        """Metrics of the tasks, and the losses."""
        of_losses = {id(metric) for metric in self._loss_means.metrics}
        logs = {m.name: m.result() for m in self.metrics if id(m) not in of_losses}
        logs |= self._loss_means.results(training)
        if training and self.aggregator.may_fall_back:
            logs["fallbacks"] = self.aggregator.fallbacks()
        return logs
