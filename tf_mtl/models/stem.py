"""STEM: an embedding for each task next to a shared one, and experts on each."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import FeatureEmbedding, StackedMLP, mix, mix_gramian, mix_own
from tf_mtl.layers.gates import make_gate
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.models.task_experts import expert_counts, owners_of, streams_of
from tf_mtl.tasks import Task


@register("stem")
@keras.saving.register_keras_serializable(package="tf_mtl")
class STEM(MultiTaskModel):
    """Shared and task-specific embeddings: all tasks forward, own task backward.

    Each id has a vector of its own for each task, and a shared one: a stream for each
    task and a shared stream. The experts of a task read its stream, the shared experts
    the shared stream. The gate of a task reads the sum of both streams and mixes all
    experts, also those of other tasks; but these it cannot train: their outputs are
    constants to it.

    So embeddings and experts of a task are task-specific, as are gates and towers, and
    the tasks meet in the shared stream. The representation is that stream and the
    output of the shared experts. Numbers, which have no embedding, are part of every
    stream.

    Args:
        features: see `MultiTaskModel`. Tables take `num_tasks + 1` times the memory.
        tasks: see `MultiTaskModel`.
        num_shared_experts: int.
        num_task_experts: int, or one for each task.
        expert_units: widths of the layers of each expert.
        tower_units: widths of the hidden layers of each tower.
        gate: kind of the gates, see `MMoE`.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if a number is less than 1, `num_task_experts` has not one number
            for each task, `gate` is unknown, or a trunk or pooling is given, which
            tasks would share.

    Reference:
        Su et al., STEM: Unleashing the Power of Embeddings for Multi-Task
        Recommendation, AAAI 2024, arXiv:2308.13537. One layer: stacked layers, whose
        shared gate lets the gradients of all tasks into the experts of each, are left
        out. The authors' gates have hidden layers and their experts three of 512 units.
        Embeddings of tasks are one table, shared ones another: a lookup each.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_shared_experts: int = 1,
        num_task_experts: int | Sequence[int] = 1,
        expert_units: Sequence[int] = (256, 128),
        tower_units: Sequence[int] = (64,),
        gate: str | Mapping[str, Any] = "softmax",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        num_tasks = len(self.tasks)
        if num_shared_experts < 1:
            raise ValueError(
                "`num_shared_experts` must be at least 1. "
                f"Received: num_shared_experts={num_shared_experts}."
            )
        self._refuse_trunk("Use CGC, whose tasks share all embeddings.")
        self.num_shared_experts = num_shared_experts
        self.num_task_experts = expert_counts(num_task_experts, num_tasks)
        self.expert_units = tuple(expert_units)
        self.tower_units = tuple(tower_units)
        self._gate_arguments = gate if isinstance(gate, str) else dict(gate)
        self.dropout = dropout
        self._owners = owners_of(self.num_task_experts)
        self.task_embedding = FeatureEmbedding(
            self.features.features,
            num_tasks,
            l2=self.embedding_l2,
            name="task_embedding",
            dtype=self.dtype_policy,
        )
        self.shared_expert = StackedMLP(
            num_shared_experts,
            self.expert_units,
            dropout=dropout,
            shared_input=True,
            name="shared_expert",
            **self.stack_arguments,
        )
        self.task_expert = StackedMLP(
            len(self._owners),
            self.expert_units,
            dropout=dropout,
            name="task_expert",
            **self.stack_arguments,
        )
        self.gate = make_gate(
            gate,
            num_tasks,
            len(self._owners) + num_shared_experts,
            shared_input=False,
            name="gate",
            dtype=self.dtype_policy,
        )
        self.tower = StackedMLP(
            num_tasks,
            self.tower_units,
            output_units=1,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    def slice_tasks(self, variable: keras.Variable) -> tuple[int, ...]:
        """Index of the task that each slice of a stacked variable belongs to."""
        of_experts = {id(weight) for weight in self.task_expert.weights}
        return self._owners if id(variable) in of_experts else self.tower_tasks

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Shared experts `(num_shared_experts, batch, units)`, and what they read."""
        stream = self.embed(inputs, training)
        experts = self.shared_expert(stream, training=training)
        return {"experts": experts, "stream": stream}

    def own_tensors(self, inputs: Mapping[str, tf.Tensor], training: bool) -> Shared:
        """The stream of each task."""
        streams = self.task_embedding(inputs, training=training)
        return {"streams": streams if len(self.tasks) > 1 else streams[None]}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The mixture of each task, `(num_tasks, batch, units)`."""
        read = streams_of(shared["streams"], self._owners)
        own = self.task_expert(read, training=training)
        weights = tf.cast(self._weights(shared, training), own.dtype)
        of_tasks, of_shared = self._split(weights)
        mixed = mix_own(of_tasks, own, self._owners)
        return mixed + mix(of_shared, shared["experts"])

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products of the cotangents at the shared experts."""
        _, of_shared = self._split(self._weights(shared))
        return mix_gramian(of_shared, cotangents)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_shared_experts": self.num_shared_experts,
            "num_task_experts": self.num_task_experts,
            "expert_units": self.expert_units,
            "tower_units": self.tower_units,
            "gate": self._gate_arguments,
            "dropout": self.dropout,
        }

    def _weights(self, shared: Shared, training: bool = False) -> tf.Tensor:
        """Weights of all experts, `(num_tasks, batch, number of experts)`."""
        return self.gate(shared["streams"] + shared["stream"], training=training)

    def _split(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Weights of the experts of tasks, and of shared ones."""
        count = len(self._owners)
        return weights[..., :count], weights[..., count:]
