"""Gates over experts: by a softmax, or by the name of their kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.layers.dselect_k import DSelectKGate
from tf_mtl.layers.expert_mask import checked_mask
from tf_mtl.layers.stacked import StackedDense
from tf_mtl.names import unknown_name_error


@keras.saving.register_keras_serializable(package="tf_mtl")
class SoftmaxGate(StackedDense):
    """Gates that mix all experts: a softmax of a linear function without bias.

    Args:
        num_gates: int. Gates, computed together.
        num_experts: int.
        kernel_initializer: initializer of one gate; `"zeros"` starts with the mean of
            the experts.
        shared_input: bool. True when every gate reads the same input.
        mask: bools of shape `(num_gates, num_experts)`, False for an expert that a gate
            does not have. None: every gate has all.

    Call arguments:
        inputs: see `StackedDense`.
        training: bool, of no effect.

    Returns:
        float32 tensor of shape `(num_gates, batch, num_experts)`: weights that add up
        to 1, and are 0 for experts that a gate does not have.

    Raises:
        ValueError: if a number is less than 1, or `mask` has another shape or a gate
            without an expert.
    """

    def __init__(
        self,
        num_gates: int,
        num_experts: int,
        kernel_initializer: Any = "glorot_uniform",
        shared_input: bool = True,
        mask: Sequence[Sequence[bool]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            num_gates,
            num_experts,
            use_bias=False,
            kernel_initializer=kernel_initializer,
            shared_input=shared_input,
            **kwargs,
        )
        self.mask = checked_mask(mask, num_gates, num_experts)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Weights of the experts."""
        del training
        logits = tf.cast(super().call(inputs), tf.float32)
        if self.mask is not None:
            # Finite, since the gradient of an infinite logit is not a number.
            mask = tf.constant(self.mask)[:, None]
            logits = tf.where(mask, logits, tf.float32.min / 2)
        return tf.nn.softmax(logits)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super(StackedDense, self).get_config(),
            "num_gates": self.num_slices,
            "num_experts": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "shared_input": self.shared_input,
            "mask": self.mask,
        }


def make_gate(
    gate: str | Mapping[str, Any], num_gates: int, num_experts: int, **kwargs: Any
) -> SoftmaxGate | DSelectKGate:
    """Gates of a kind, as the argument of an architecture names it.

    Args:
        gate: `"softmax"`; `"dselect_k"`; or a dict of arguments of `DSelectKGate`.
        num_gates: int. Gates, computed together.
        num_experts: int.
        **kwargs: further arguments of the layer.

    Returns:
        layer that gives weights `(num_gates, batch, num_experts)`.

    Raises:
        ValueError: if `gate` is another name, or a number is out of range.
    """
    if not isinstance(gate, str):
        return DSelectKGate(num_gates, num_experts, **gate, **kwargs)
    kinds = {"dselect_k": DSelectKGate, "softmax": SoftmaxGate}
    if gate not in kinds:
        raise unknown_name_error("gate", gate, sorted(kinds))
    return kinds[gate](num_gates, num_experts, **kwargs)
