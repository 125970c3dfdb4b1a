"""Stacked perceptrons whose units are rescaled by personal gates."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tf_mtl.layers.dropout import Dropout
from tf_mtl.layers.personal_gate import PersonalGate
from tf_mtl.layers.stacked import StackedDense
from tf_mtl.names import unknown_name_error

Placement = Literal["input", "output"]


@keras.saving.register_keras_serializable(package="tf_mtl")
class PersonalMLP(keras.layers.Layer):
    """`StackedMLP` with a `PersonalGate` before each layer.

    The output of a hidden layer is the input of the next, so that both placements are
    one: `"output"` leaves out the gate on the input of the first layer. The last layer
    is linear and never has a gate on its output, which would multiply the logit by a
    positive number of each person and spoil its calibration.

    Gates start as the identity, so that the layer starts as a `StackedMLP`.

    Args:
        num_slices: int. Number of perceptrons.
        units: sequence of int, the widths of the hidden layers.
        activation: Keras activation of the hidden layers.
        output_units: int. Width of the last, linear layer.
        placement: `"input"` for gates on the input of every layer, or `"output"` for
            gates on the output of every hidden layer.
        dropout: float in `[0, 1)`, after each hidden layer.
        kernel_regularizer: Keras regularizer, not of the gates.

    Call arguments:
        inputs: float tensor of shape `(num_slices, batch, width)`.
        personal: sequence of `num_gates` tensors, what each gate reads; see
            `PersonalGate`.
        training: bool.

    Returns:
        tensor of shape `(num_slices, batch, output_units)`.

    Raises:
        ValueError: if `placement` is unknown, or is `"output"` without hidden layers;
            in `build` if `personal` has not one tensor for each gate.

    Reference:
        PPNet in Chang et al., PEPNet, KDD 2023, arXiv:2302.01115, has `"input"`; hidden
        layers with gated outputs are LHUC of Swietojanski et al., Learning Hidden Unit
        Contributions for Unsupervised Acoustic Model Adaptation, arXiv:1601.02828.
    """

    def __init__(
        self,
        num_slices: int,
        units: Sequence[int],
        activation: Any = "relu",
        output_units: int = 1,
        placement: Placement = "input",
        dropout: float = 0.0,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if placement not in get_args(Placement):
            raise unknown_name_error("placement", placement, get_args(Placement))
        if placement == "output" and not units:
            raise ValueError(
                "`units` must not be empty with placement='output', since only hidden "
                f"layers have gates. Received: units={units}. Use placement='input'."
            )
        self.num_slices = num_slices
        self.units = tuple(int(width) for width in units)
        self.activation = keras.activations.get(activation)
        self.output_units = output_units
        self.placement = placement
        self.dropout = dropout
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        widths = [(width, self.activation) for width in self.units]
        self.dense = [
            StackedDense(
                num_slices,
                width,
                activation=function,
                kernel_regularizer=self.kernel_regularizer,
                name=f"dense_{index}",
                dtype=self.dtype_policy,
            )
            for index, (width, function) in enumerate([*widths, (output_units, None)])
        ]
        self.gates = [
            PersonalGate(use_bias=True, name=f"gate_{index}", dtype=self.dtype_policy)
            for index in range(len(self.dense))
            if index > 0 or placement == "input"
        ]
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    @property
    def num_gates(self) -> int:
        """Number of gates, each with an entry of `personal`."""
        return len(self.gates)

    def build(
        self,
        inputs_shape: Sequence[int | None],
        personal_shape: Sequence[Sequence[int | None]],
    ) -> None:
        """Builds layers and gates in order."""
        if len(personal_shape) != self.num_gates:
            raise ValueError(
                f"`personal` must have a tensor for each of {self.num_gates} gates. "
                f"Received: {len(personal_shape)}."
            )
        shapes = [inputs_shape]
        for layer in self.dense:
            layer.build(shapes[-1])
            shapes.append(layer.compute_output_shape(shapes[-1]))
        gated = shapes[-1 - self.num_gates : -1]
        for gate, *both in zip(self.gates, gated, personal_shape, strict=True):
            gate.build(*both)

    def call(
        self, inputs: tf.Tensor, personal: Sequence[tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Applies all layers, each to rescaled inputs."""
        ungated = len(self.dense) - self.num_gates
        for index, layer in enumerate(self.dense):
            if index >= ungated:
                gate = index - ungated
                inputs = self.gates[gate](inputs, personal[gate])
            inputs = layer(inputs)
            if self.dropout and index < len(self.units):
                inputs = self.drop(inputs, training=training)
        return inputs

    def compute_output_shape(
        self, inputs_shape: Sequence[int | None], personal_shape: Any
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        del personal_shape
        return (*inputs_shape[:-1], self.output_units)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_slices": self.num_slices,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "output_units": self.output_units,
            "placement": self.placement,
            "dropout": self.dropout,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
