"""MMoE and OMoE: shared experts, mixed by one gate per task or one gate for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedDense, StackedMLP, mix, mix_gramian
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("mmoe")
@keras.saving.register_keras_serializable(package="tf_mtl")
class MMoE(MultiTaskModel):
    """Multi-gate mixture of experts.

    Experts are shared; the gate of each task weights them by a softmax of a linear
    function, without bias, of the embedded features. The representation is the output
    of the experts, not the mixtures, which are private.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        num_experts: int. Default: one more than tasks, at least 4.
        expert_units: widths of the layers of each expert.
        tower_units: widths of the hidden layers of each tower.
        single_gate: bool. One gate for all tasks, which is then shared: OMoE.
        gate_initializer: initializer of one gate; `"zeros"` starts with the mean of
            the experts.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if `num_experts` is less than 1.

    Reference:
        Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts, KDD 2018.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_experts: int | None = None,
        expert_units: Sequence[int] = (256, 128),
        tower_units: Sequence[int] = (64,),
        single_gate: bool = False,
        gate_initializer: Any = "glorot_uniform",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        num_tasks = len(self.tasks)
        if num_experts is None:
            num_experts = max(4, num_tasks + 1)
        self.num_experts = num_experts
        self.expert_units = tuple(expert_units)
        self.tower_units = tuple(tower_units)
        self.single_gate = single_gate
        self.gate_initializer = keras.initializers.get(gate_initializer)
        self.dropout = dropout
        self.expert = StackedMLP(
            num_experts,
            self.expert_units,
            dropout=dropout,
            shared_input=True,
            name="expert",
        )
        self.gate = StackedDense(
            1 if single_gate else num_tasks,
            num_experts,
            use_bias=False,
            kernel_initializer=self.gate_initializer,
            shared_input=True,
            name="gate",
        )
        self.tower = StackedMLP(
            num_tasks, self.tower_units, output_units=1, dropout=dropout, name="tower"
        )
        self.build_if_adapted()

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Expert outputs `(num_experts, batch, units)`, and what the gates read."""
        embedded = self.embed(inputs, training)
        experts = self.expert(embedded, training=training)
        # The one gate of OMoE is shared; gates of MMoE are private, so that their input
        # is a representation.
        gate = self.gate_weights(embedded)[0] if self.single_gate else embedded
        return {"experts": experts, "gate": gate}

    def gate_weights(self, gate: tf.Tensor) -> tf.Tensor:
        """Weights of the experts, `(num_gates, batch, num_experts)`."""
        return tf.nn.softmax(tf.cast(self.gate(gate), tf.float32))

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The mixture of each task, `(num_tasks, batch, units)`."""
        experts = shared["experts"]
        weights = self._task_weights(shared["gate"])
        return mix(tf.cast(weights, experts.dtype), experts)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products of the cotangents at the experts."""
        return mix_gramian(self._task_weights(shared["gate"]), cotangents)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "expert_units": self.expert_units,
            "tower_units": self.tower_units,
            "single_gate": self.single_gate,
            "gate_initializer": keras.initializers.serialize(self.gate_initializer),
            "dropout": self.dropout,
        }

    def _task_weights(self, gate: tf.Tensor) -> tf.Tensor:
        if not self.single_gate:
            return self.gate_weights(gate)
        if gate.shape.rank == 3:
            return gate
        return tf.repeat(gate[None], len(self.tasks), axis=0)
