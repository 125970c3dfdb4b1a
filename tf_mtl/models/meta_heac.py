"""MetaHeac's network: experts and critics, mixed for each task by one gate each."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedMLP, TaskGate, mix
from tf_mtl.models.base import Shared
from tf_mtl.models.partly_shared import PartlySharedModel, TaskSet
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("meta_heac")
@keras.saving.register_keras_serializable(package="tf_mtl")
class MetaHeac(PartlySharedModel):
    """Hybrid experts and critics: tasks share everything but a vector each.

    A `TaskGate` reads the vector of a task next to the embedded features and mixes the
    experts to what the task sees. Critics, which take the place of towers, each make a
    prediction of it; a second `TaskGate` mixes these. The probability of a binary task
    is the weighted sum of the probabilities of the critics, of which the logit is
    computed without forming any; the value of a regression is the weighted sum of
    their values.

    The representation is the output of the experts and what the gates read. On
    `surface="representation"` these are walked back once, gates and critics once per
    task.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        num_experts: int.
        num_critics: int.
        expert_units: widths of the layers of each expert.
        tower_units: widths of the hidden layers of each critic.
        gate_units: int. Width of the hidden layer of both gates.
        task_embedding_dim: int. Width of the vector of a task.
        dropout: float in `[0, 1)`, after each hidden layer of experts and critics.

    Raises:
        ValueError: if a number is less than 1.

    Reference:
        Zhu et al., Learning to Expand Audience via Meta Hybrid Experts and Critics for
        Recommendation and Advertising, KDD 2021, arXiv:2105.14688. The network alone:
        its meta-learning, by which it adapts to new tasks from few rows, is left out;
        the tasks are known and trained together. There gates read the mean of the
        vectors of all features, here the vectors themselves, which may differ in width.
        Some public code takes the mean over the critics instead of the sum, so that no
        prediction exceeds their largest weight.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_experts: int = 8,
        num_critics: int = 5,
        expert_units: Sequence[int] = (64, 64),
        tower_units: Sequence[int] = (64, 64),
        gate_units: int = 64,
        task_embedding_dim: int = 64,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        sizes = {
            "num_experts": num_experts,
            "num_critics": num_critics,
            "gate_units": gate_units,
            "task_embedding_dim": task_embedding_dim,
        }
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}."
                )
        self.num_experts = num_experts
        self.num_critics = num_critics
        self.expert_units = tuple(expert_units)
        self.tower_units = tuple(tower_units)
        self.gate_units = gate_units
        self.task_embedding_dim = task_embedding_dim
        self.dropout = dropout
        self.task_embedding = self.add_weight(
            shape=(len(self.tasks), task_embedding_dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="task_embedding",
        )
        self.expert = StackedMLP(
            num_experts,
            self.expert_units,
            dropout=dropout,
            shared_input=True,
            name="expert",
            **self.stack_arguments,
        )
        self.expert_gate, self.critic_gate = (
            TaskGate(units, gate_units, name=name, dtype=self.dtype_policy)
            for units, name in (
                (num_experts, "expert_gate"),
                (num_critics, "critic_gate"),
            )
        )
        self.critic = StackedMLP(
            num_critics,
            self.tower_units,
            output_units=1,
            dropout=dropout,
            shared_input=True,
            name="critic",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    def task_sets(self, variable: keras.Variable) -> tuple[TaskSet, ...]:
        """A row of the task embedding is reached by its task, all else by all."""
        places = range(len(self.tasks))
        if variable is self.task_embedding:
            return tuple(frozenset([place]) for place in places)
        return (frozenset(places),)

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Expert outputs `(num_experts, batch, units)`, and what the gates read."""
        embedded = self.embed(inputs, training)
        return {"experts": self.expert(embedded, training=training), "gate": embedded}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The mixture of each task, and the logarithms of its weights of the critics.

        Returns:
            float32 tensor of shape `(num_tasks, batch, units + num_critics)`.
        """
        del training
        experts, gate = shared["experts"], shared["gate"]
        tasks = tf.cast(tf.convert_to_tensor(self.task_embedding), gate.dtype)
        weights = tf.nn.softmax(tf.cast(self.expert_gate(tasks, gate), tf.float32))
        mixed = mix(tf.cast(weights, experts.dtype), experts)
        logits = tf.cast(self.critic_gate(tasks, gate), tf.float32)
        parts = [tf.cast(mixed, tf.float32), tf.nn.log_softmax(logits)]
        return tf.concat(parts, axis=-1)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`: what the critics say, mixed."""
        width = self.expert_units[-1]
        mixed = tf.reshape(task_inputs[..., :width], [-1, width])
        found = self.critic(mixed, training=training)
        shape = [self.num_critics, len(self.tasks), -1]
        outputs = tf.reshape(tf.cast(found, tf.float32), shape)
        log_weights = tf.stack(tf.unstack(task_inputs[..., width:], axis=-1))
        is_binary = tf.constant([[task.kind == "binary"] for task in self.tasks])
        return tf.where(
            is_binary,
            mixture_logit(outputs, log_weights),
            tf.reduce_sum(tf.exp(log_weights) * outputs, axis=0),
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "num_critics": self.num_critics,
            "expert_units": self.expert_units,
            "tower_units": self.tower_units,
            "gate_units": self.gate_units,
            "task_embedding_dim": self.task_embedding_dim,
            "dropout": self.dropout,
        }


def mixture_logit(logits: tf.Tensor, log_weights: tf.Tensor) -> tf.Tensor:
    """Logit of a weighted sum of probabilities, from their logits.

    No probability is formed, so that none rounds to 0 or 1.

    Args:
        logits: float tensor, the probabilities along its first axis.
        log_weights: tensor of the same shape, logarithms of weights that add up to 1.

    Returns:
        tensor without the first axis.
    """
    true, false = (
        tf.reduce_logsumexp(log_weights + tf.math.log_sigmoid(signed), axis=0)
        for signed in (logits, -logits)
    )
    return true - false
