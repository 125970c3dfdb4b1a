"""Task: one target with its label, loss, metrics, mask and weight."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

KINDS = ("binary", "regression")

LossFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="tf_mtl")
@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One target of a multi-task model.

    A label is *known* where its mask is neither 0 nor NaN, it is not NaN and it is not
    `missing_label`. The loss of the task is the mean over the known labels of
    `sample_weight * loss`, times `weight`. A task without a known label in a batch is
    *absent* from that step.

    Args:
        name: str. Names the output, the logs and the row of the Jacobian.
        kind: `"binary"` (a logit inside, a probability at the output) or
            `"regression"` (the value itself).
        label: str, the key of the label column. Defaults to `name`.
        loss: `None` for the default of the kind (cross-entropy from logits, squared
            error), the name of a Keras loss, a `keras.losses.Loss`, or a function
            `(labels, outputs) -> losses` on float32 tensors of shape `(batch, 1)`.
            Outputs of a binary task are logits: a function with the argument
            `from_logits` is told so.
        metrics: list of names or objects of Keras metrics on predictions
            (probabilities for a binary task). Default: `["auc"]` or `["rmse"]`.
        weight: float, not negative. Static factor of the loss.
        mask: str or `None`, the key of a column which is 0 or NaN where the label is
            unknown.
        missing_label: float or `None`. A label value that means "unknown", for
            example `-1`. NaN always does.
        sample_weight: str or `None`, the key of a column of importance weights.
        primary: bool. Whether the task is a main target, for models and reports that
            distinguish main from auxiliary tasks.

    Raises:
        ValueError: if an argument is outside its range.
    """

    name: str
    kind: str = "binary"
    label: str | None = None
    loss: str | keras.losses.Loss | LossFn | None = None
    metrics: Sequence[str | keras.metrics.Metric] | None = None
    weight: float = 1.0
    mask: str | None = None
    missing_label: float | None = None
    sample_weight: str | None = None
    primary: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                f"`name` must be a non-empty string. Received: name={self.name!r}."
            )
        if self.kind not in KINDS:
            raise ValueError(
                f"`kind` of task {self.name!r} must be one of {KINDS}. "
                f"Received: kind={self.kind!r}."
            )
        wrong = [
            metric
            for metric in self.metrics or ()
            if not isinstance(metric, (str, keras.metrics.Metric))
        ]
        if wrong:
            raise TypeError(
                f"`metrics` of task {self.name!r} must be names or objects of Keras "
                f"metrics. Received: {wrong}. Wrap a function: "
                "keras.metrics.MeanMetricWrapper(function, name=...)."
            )
        loss = self._keras_loss()
        config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
        if self.kind == "binary" and config.get("from_logits") is False:
            name = type(loss).__name__
            raise ValueError(
                f"`loss` of binary task {self.name!r} gets logits. Received: "
                f"loss={self.loss!r}, which is {name}(from_logits=False). Pass "
                f"keras.losses.{name}(from_logits=True)."
            )
        names = [m if isinstance(m, str) else m.name for m in self.metrics or ()]
        if len(set(names)) < len(names):
            raise ValueError(
                f"`metrics` of task {self.name!r} must have different names. "
                f"Received: names={names}."
            )
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(
                f"`weight` of task {self.name!r} must be finite and not negative. "
                f"Received: weight={self.weight}."
            )

    @property
    def label_key(self) -> str:
        """Key of the label column."""
        return self.label or self.name

    def example_losses(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Loss of each example, unweighted.

        Args:
            labels: float32 tensor of shape `(batch,)`.
            outputs: float32 tensor of shape `(batch,)`: logits of a binary task,
                values of a regression.

        Returns:
            float32 tensor of shape `(batch,)`.
        """
        if self.loss is None:
            if self.kind == "binary":
                return tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)
            return tf.square(outputs - labels)
        loss = self._keras_loss()
        options = {}
        if isinstance(loss, keras.losses.Loss):
            call = loss.call
        else:
            call = loss
            if _takes_logits(call):
                options["from_logits"] = self.kind == "binary"
        losses = tf.convert_to_tensor(
            call(labels[:, None], outputs[:, None], **options)
        )
        if losses.shape.rank not in (1, 2) or losses.shape[1:].num_elements() != 1:
            raise ValueError(
                f"`loss` of task {self.name!r} must give one value per row, `(batch,)` "
                f"or `(batch, 1)`. Received: shape={tuple(losses.shape)}."
            )
        return tf.reshape(losses, [-1])

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """Probability (binary) or value (regression) for raw model outputs."""
        return tf.sigmoid(outputs) if self.kind == "binary" else outputs

    def make_metrics(self) -> list[keras.metrics.Metric]:
        """New metric objects, named `<task>_<metric>`."""
        default = ["auc"] if self.kind == "binary" else ["rmse"]
        identifiers = default if self.metrics is None else self.metrics
        return [_make_metric(self.name, identifier) for identifier in identifiers]

    def _keras_loss(self) -> Any:
        """The loss as an object or a function; raises for an unknown name."""
        return keras.losses.get(self.loss) if isinstance(self.loss, str) else self.loss

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, objects serialised."""
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        serialize = keras.saving.serialize_keras_object
        if self.loss is not None and not isinstance(self.loss, str):
            config["loss"] = serialize(self.loss)
        if self.metrics is not None:
            config["metrics"] = [
                m if isinstance(m, str) else serialize(m) for m in self.metrics
            ]
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Task":
        """Inverse of `get_config`."""
        revive = keras.saving.deserialize_keras_object
        config = dict(config)
        if isinstance(config.get("loss"), Mapping):
            config["loss"] = revive(config["loss"])
        if config.get("metrics") is not None:
            config["metrics"] = [
                m if isinstance(m, str) else revive(m) for m in config["metrics"]
            ]
        return cls(**config)


@dataclasses.dataclass(frozen=True)
class Targets:
    """Labels of one batch, in task order.

    Attributes:
        labels: list of float32 tensors `(batch,)`, 0 where the label is unknown.
        known: list of bool tensors `(batch,)`.
        weights: list of float32 tensors `(batch,)`, sample weights, 0 where unknown.
    """

    labels: list[tf.Tensor]
    known: list[tf.Tensor]
    weights: list[tf.Tensor]


def check_tasks(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Checks a list of tasks: not empty, all `Task`s, no name twice.

    Args:
        tasks: sequence of `Task`.

    Returns:
        The tasks as a tuple, order kept.

    Raises:
        TypeError: if an entry is not a `Task`.
        ValueError: if the list is empty or a name repeats.
    """
    tasks = tuple(tasks)
    for task in tasks:
        if not isinstance(task, Task):
            raise TypeError(
                f"`tasks` must hold `tf_mtl.Task` objects. Received: {task!r}."
            )
    names = [task.name for task in tasks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise ValueError(
            "`tasks` must be a non-empty list with unique names. "
            f"Received: names={names}, repeated: {repeated}."
        )
    return tasks


def read_targets(
    tasks: Sequence[Task], columns: Any, sample_weight: Any = None
) -> Targets:
    """Reads labels, masks and sample weights of a batch.

    Args:
        tasks: the tasks, in order.
        columns: dict of tensors `(batch,)` or `(batch, 1)`; for a single task the
            label tensor alone will do.
        sample_weight: optional tensor `(batch,)`, a factor for every task; or a dict of
            such tensors by label key.

    Returns:
        `Targets`.

    Raises:
        ValueError: if a column is missing.
        TypeError: if a column is not numeric.
    """
    if not isinstance(columns, Mapping):
        if len(tasks) > 1 or columns is None:
            raise ValueError(
                "Labels must be a dict of columns by key, "
                f"with the keys {[task.label_key for task in tasks]}. "
                f"Received: {type(columns).__name__}."
            )
        columns = {tasks[0].label_key: columns}
    labels, known, weights = [], [], []
    for task in tasks:
        label = _column(task, task.label_key, columns)
        is_known = tf.math.logical_not(tf.math.is_nan(label))
        if task.missing_label is not None:
            is_known &= tf.not_equal(label, task.missing_label)
        if task.mask:
            mask = _column(task, task.mask, columns)
            is_known &= tf.not_equal(mask, 0.0) & ~tf.math.is_nan(mask)
        weight = tf.ones_like(label)
        if sample_weight is not None:
            # Keras repeats the weights of arrays for each column of the labels.
            is_dict = isinstance(sample_weight, Mapping)
            if is_dict and task.label_key not in sample_weight:
                raise ValueError(
                    f"`sample_weight` has no entry for task {task.name!r}, by the key "
                    f"{task.label_key!r}. Received: {sorted(sample_weight)}."
                )
            given = sample_weight[task.label_key] if is_dict else sample_weight
            weight = _float_vector(given, "sample_weight")
        if task.sample_weight:
            weight *= _column(task, task.sample_weight, columns)
        labels.append(tf.where(is_known, label, 0.0))
        known.append(is_known)
        weights.append(tf.where(is_known, weight, 0.0))
    return Targets(labels, known, weights)


def _column(task: Task, key: str, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if key not in columns:
        raise ValueError(
            f"Task {task.name!r} reads the label column {key!r}, which the batch does "
            f"not have. Received columns: {sorted(columns)}."
        )
    return _float_vector(columns[key], key)


def _float_vector(column: tf.Tensor, key: str) -> tf.Tensor:
    column = tf.convert_to_tensor(column)
    if not (
        column.dtype.is_floating or column.dtype.is_integer or column.dtype.is_bool
    ):
        raise TypeError(
            f"Label column {key!r} must be numeric or bool. "
            f"Received: dtype={column.dtype.name}. Encode it before training."
        )
    if column.shape.rank not in (1, 2) or column.shape[1:].num_elements() != 1:
        raise ValueError(
            f"Label column {key!r} must have shape `(batch,)` or `(batch, 1)`. "
            f"Received: shape={tuple(column.shape)}."
        )
    return tf.reshape(tf.cast(column, tf.float32), [-1])


def _make_metric(task: str, identifier: str | keras.metrics.Metric) -> Any:
    if identifier == "auc":
        # Rare events crowd near probability 0: Keras' 200 thresholds are too coarse.
        return keras.metrics.AUC(num_thresholds=2000, name=f"{task}_auc")
    if identifier == "rmse":
        return keras.metrics.RootMeanSquaredError(name=f"{task}_rmse")
    if identifier == "accuracy":
        return keras.metrics.BinaryAccuracy(name=f"{task}_accuracy")
    metric = keras.metrics.get(identifier)
    if isinstance(metric, keras.metrics.Metric):
        config = {**metric.get_config(), "name": f"{task}_{metric.name}"}
        return metric.__class__.from_config(config)
    return keras.metrics.MeanMetricWrapper(metric, name=f"{task}_{identifier}")


def _takes_logits(function: Callable[..., Any]) -> bool:
    return "from_logits" in inspect.signature(function).parameters
