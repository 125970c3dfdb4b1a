"""MultiTask: trains a Keras model of your own with any aggregator."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl import gradients
from tf_mtl.features import Preprocessor
from tf_mtl.gradients.replicas import first_replica, replica_sum
from tf_mtl.models.network_outputs import raw_outputs
from tf_mtl.models.passes import Backward, LossesFn, Weigh
from tf_mtl.models.training import TaskTrainer
from tf_mtl.tasks import Task


@keras.saving.register_keras_serializable(package="tf_mtl")
class MultiTask(TaskTrainer):
    """Wraps a functional or subclassed Keras model with one output per task.

    Which task reaches which variable is read from the graph: the backward pass of each
    loss says so. A variable that one loss reaches gets the plain gradient of that loss.

    Args:
        network: Keras model. Its outputs are a dict by task name, a list in task order,
            or, for one task, a tensor; each of shape `(batch,)` or `(batch, 1)`.
        tasks: sequence of `Task`.
        representation: name of a layer of a functional `network`, whose output is the
            shared representation. Needed for `surface="representation"` only.
        from_logits: bool. Whether the outputs of binary tasks are logits; else they are
            probabilities, which are turned back into logits.
        allow_detached: sequence of task names that may reach no shared variable.
        features: optional `Preprocessor` that makes the inputs of `network`, so that an
            export takes raw columns.

    Raises:
        ValueError: if a name is unknown.

    Example:
    >>> inputs = keras.Input((4,))
    >>> hidden = keras.layers.Dense(8, activation="relu")(inputs)
    >>> outputs = {name: keras.layers.Dense(1)(hidden) for name in ("click", "like")}
    >>> network = keras.Model(inputs, outputs)
    >>> model = MultiTask(network, [Task("click"), Task("like")])
    >>> model.compile("adam", aggregator="gradcraft")
    """

    def __init__(
        self,
        network: keras.Model,
        tasks: Sequence[Task],
        representation: str | None = None,
        from_logits: bool = True,
        allow_detached: Sequence[str] = (),
        features: Preprocessor | None = None,
        **kwargs: Any,
    ):
        super().__init__(tasks, **kwargs)
        names = [task.name for task in self.tasks]
        unknown = sorted(set(allow_detached) - set(names))
        if unknown:
            raise ValueError(
                f"`allow_detached` must name tasks. Received: {unknown}. "
                f"Known tasks: {names}."
            )
        self.network = network
        self.representation = representation
        self.from_logits = from_logits
        self.allow_detached = tuple(allow_detached)
        self.features = features
        if representation is not None:
            self._representation_layer()
        self.built = network.built

    def build(self, input_shape: Any = None) -> None:
        """Builds the network."""
        if not self.network.built:
            self.network.build(input_shape)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of all variables from a batch of `fit`."""
        if not self.network.built:
            # Variables must exist before the forward pass: gradients are taken by them.
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.network(
                tf.nest.map_structure(
                    lambda x: keras.Input(x.shape[1:], dtype=x.dtype.name), inputs
                )
            )
            self.built = True
        return super().train_step(data)

    def task_outputs(self, inputs: Any, training: bool) -> list[tf.Tensor]:
        """Raw outputs by task, each of shape `(batch,)`."""
        return self._by_task(self.network(inputs, training=training))

    def task_gradients(
        self, inputs: Any, losses_fn: LossesFn
    ) -> tuple[list[gradients.Gradient], gradients.TaskGradients]:
        """Plain gradients of task-specific variables, and rows of shared ones."""
        variables = [v.value for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.task_outputs(inputs, training=True)
            penalty = self.penalty()
            losses = losses_fn(outputs)
        rows = [tape.gradient(loss, variables) for loss in losses]
        own, shared = gradients.split_task_specific(rows)
        self._check_attached(shared)
        plain = gradients.add_penalty(tape, penalty, own, variables)
        return plain, gradients.stack_rows(shared, variables)

    def representation_backward(
        self, inputs: Any, losses_fn: LossesFn, weigh: Weigh | None
    ) -> Backward:
        """Rows at the representation, then one pass of the weighted loss."""
        variables = [v.value for v in self.trainable_variables]
        network = self.network
        probe = keras.Model(
            # Structured as the user made them: a batch need not have their names.
            network.input,
            [self._representation_layer().output, network.output],
        )
        with tf.GradientTape(persistent=True) as tape:
            representation, outputs = probe(inputs, training=True)
            penalty = self.penalty()
            losses = losses_fn(self._by_task(outputs))
        rows = [tape.gradient(loss, [representation, *variables]) for loss in losses]
        cotangents = tf.stack(
            [
                tf.zeros_like(representation) if row[0] is None else row[0]
                for row in rows
            ]
        )
        weights = tf.ones([len(rows)])
        if weigh is not None:
            weights = weigh(replica_sum(gradients.gramian(cotangents)))
        weighted = tape.gradient(
            losses, variables, output_gradients=tf.unstack(weights, len(losses))
        )
        in_bottom = tape.gradient(representation, variables)
        columns = list(zip(*[row[1:] for row in rows], strict=True))
        is_own = [
            bottom is None and _count(column) == 1
            for bottom, column in zip(in_bottom, columns, strict=True)
        ]
        found = [
            next(g for g in column if g is not None) if alone else g
            for column, alone, g in zip(columns, is_own, weighted, strict=True)
        ]
        none: list[gradients.Gradient] = [None] * len(variables)
        penalties = gradients.add_penalty(tape, penalty, none, variables)
        return Backward(found, none, penalties)

    def variable_groups(self, inputs: Any) -> dict[str, tuple[frozenset[str], ...]]:
        """Which task reaches which variable, for an example batch.

        Returns:
            dict from the path of each trainable variable to a set of task names.
        """
        variables = [first_replica(v.value) for v in self.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.task_outputs(inputs, training=False)
        rows = [tape.gradient(output, variables) for output in outputs]
        return {
            v.path: (
                frozenset(
                    task.name
                    for task, g in zip(self.tasks, column, strict=True)
                    if g is not None
                ),
            )
            for v, column in zip(
                self.trainable_variables, zip(*rows, strict=True), strict=True
            )
        }

    def shared_variables(self) -> list[keras.Variable] | None:
        """Variables that several tasks reach; None if the inputs are not known yet."""
        inputs = self.example_inputs()
        if inputs is None:
            return None
        groups = self.variable_groups(inputs)
        return [v for v in self.trainable_variables if len(groups[v.path][0]) > 1]

    def example_inputs(self) -> Any:
        """Inputs of one row of zeros; None if the inputs are not known yet."""
        if not self.network.built or not getattr(self.network, "inputs", None):
            return None
        return tf.nest.map_structure(
            lambda x: tf.zeros([1, *(n or 1 for n in x.shape[1:])], x.dtype),
            self.network.input,
        )

    @property
    def has_representation(self) -> bool:
        """Whether a layer was named as the representation."""
        return self.representation is not None

    def get_build_config(self) -> dict[str, Any]:
        """Nothing: the network is saved as it was built."""
        return {"input_shape": None}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Takes the network as it was loaded."""
        self.built = self.network.built

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "network": serialize(self.network),
            "tasks": [serialize(task) for task in self.tasks],
            "representation": self.representation,
            "from_logits": self.from_logits,
            "allow_detached": list(self.allow_detached),
            "features": None if self.features is None else serialize(self.features),
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None
    ) -> "MultiTask":
        """Inverse of `get_config`."""
        del custom_objects
        revive = keras.saving.deserialize_keras_object
        config = dict(config)
        config["network"] = revive(config["network"])
        config["tasks"] = [revive(task) for task in config["tasks"]]
        if config["features"] is not None:
            config["features"] = revive(config["features"])
        return cls(**config)

    def _by_task(self, outputs: Any) -> list[tf.Tensor]:
        return raw_outputs(self.tasks, outputs, self.from_logits)

    def _representation_layer(self) -> keras.layers.Layer:
        if not self.network.built or not getattr(self.network, "inputs", None):
            raise ValueError(
                "`representation` names a layer of a functional model. "
                f"Received: network of type {type(self.network).__name__}."
            )
        return self.network.get_layer(self.representation)

    def _check_attached(self, shared: Sequence[Sequence[gradients.Gradient]]) -> None:
        """Takes the rows of shared variables."""
        reaches = [_count(row) > 0 for row in shared]
        if not any(reaches):
            return
        detached = [
            task.name
            for task, reaches_any in zip(self.tasks, reaches, strict=True)
            if not reaches_any and task.name not in self.allow_detached
        ]
        if detached:
            raise ValueError(
                f"The losses of the tasks {detached} reach no shared variable. Their "
                "towers may not read the representation, or `stop_gradient` cuts them "
                f"off. Pass `allow_detached={detached}` if this is intended."
            )


def _count(column: Sequence[gradients.Gradient]) -> int:
    return sum(gradient is not None for gradient in column)
