"""MMoE and OMoE: shared experts, mixed by one gate per task or one gate for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedMLP, mix, mix_gramian
from tf_mtl.layers.gates import make_gate
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("mmoe")
@keras.saving.register_keras_serializable(package="tf_mtl")
class MMoE(MultiTaskModel):
    """Multi-gate mixture of experts.

    Experts are shared; the gate of each task weights them, by default by a softmax of a
    linear function, without bias, of the embedded features. The representation is the
    output of the experts, not the mixtures, which are task-specific.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        num_experts: int. Default: one more than tasks, at least 4.
        expert_units: widths of the layers of each expert.
        tower_units: widths of the hidden layers of each tower.
        single_gate: bool. One gate for all tasks, which is then shared: OMoE.
        gate: `"softmax"`; or `"dselect_k"`, or a dict of arguments of
            `layers.DSelectKGate` such as `{"num_selectors": 3}`, for gates that end
            with few experts.
        gate_initializer: initializer of one softmax gate; `"zeros"` starts with the
            mean of the experts.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if `num_experts` is less than 1, or `gate` is none of the above.

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
        gate: str | Mapping[str, Any] = "softmax",
        gate_initializer: Any = None,
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
        self._gate_arguments = gate if isinstance(gate, str) else dict(gate)
        if gate_initializer is not None and gate != "softmax":
            raise ValueError(
                "`gate_initializer` is for softmax gates. Received: "
                f"gate_initializer={gate_initializer!r} with gate={gate!r}."
            )
        self.gate_initializer = keras.initializers.get(
            gate_initializer or "glorot_uniform"
        )
        self.dropout = dropout
        self.expert = StackedMLP(
            num_experts,
            self.expert_units,
            dropout=dropout,
            shared_input=True,
            name="expert",
            **self.stack_arguments,
        )
        # Only gates by softmax take the initializer, as was checked.
        own = {"kernel_initializer": self.gate_initializer} if gate == "softmax" else {}
        self.gate = make_gate(
            gate,
            1 if single_gate else num_tasks,
            num_experts,
            name="gate",
            dtype=self.dtype_policy,
            **own,
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

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Expert outputs `(num_experts, batch, units)`, and what the gates read."""
        embedded = self.embed(inputs, training)
        experts = self.expert(embedded, training=training)
        # The one gate of OMoE is shared; gates of MMoE are task-specific, so that their
        # input is a representation.
        gate = embedded
        if self.single_gate:
            gate = self.gate(embedded, training=training)[0]
        return {"experts": experts, "gate": gate}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The mixture of each task, `(num_tasks, batch, units)`."""
        experts = shared["experts"]
        weights = self._task_weights(shared["gate"], training)
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
            "gate": self._gate_arguments,
            "gate_initializer": (
                keras.initializers.serialize(self.gate_initializer)
                if self._gate_arguments == "softmax"
                else None
            ),
            "dropout": self.dropout,
        }

    def _task_weights(self, gate: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not self.single_gate:
            return self.gate(gate, training=training)
        if gate.shape.rank == 3:
            return gate
        return tf.repeat(gate[None], len(self.tasks), axis=0)
