"""Sub-network routing: gated connections from one row of networks to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.freezing import frozen, is_freezing
from tf_mtl.layers.hard_concrete import HardConcreteGate
from tf_mtl.layers.initializers import PerSlice
from tf_mtl.layers.stitch import stitch, stitch_gramian


@keras.saving.register_keras_serializable(package="tf_mtl")
class SubNetworkRouting(keras.layers.Layer):
    """Connects each of `num_outputs` networks with each of `num_inputs`, by gates `z`.

    Output `o` is the sum over `i` of `z[o, i] * inputs[i] @ kernel[o, i]`, or without
    the kernel. A kernel starts as that of a dense layer divided by the root of
    `num_inputs`, so that the sum has the spread of one term. An exported model holds
    the kernels of the connections that are open when it is served, and no others.

    Args:
        num_inputs: int.
        num_outputs: int.
        transform: bool. Whether connections have a kernel, from units to as many.
        gate: dict of arguments of `HardConcreteGate`.

    Call arguments:
        inputs: tensor of shape `(num_inputs, batch, units)`; or a copy of that for each
            output, `(num_outputs, num_inputs, batch, units)`.
        noise: see `HardConcreteGate`.

    Returns:
        tensor of shape `(num_outputs, batch, units)`.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        transform: bool = True,
        gate: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Noise stays float32 under mixed precision.
        super().__init__(**{"autocast": False, **kwargs})
        self.num_inputs = num_inputs
        self.num_outputs = num_outputs
        self.transform = transform
        self._gate_arguments = dict(gate or {})
        self.gate = HardConcreteGate(
            (num_outputs, num_inputs),
            name="gate",
            dtype=self.dtype_policy,
            **self._gate_arguments,
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the gates and kernels `(num_outputs, num_inputs, units, units)`."""
        units = input_shape[-1]
        self.gate.build()
        if self.transform:
            one = keras.initializers.VarianceScaling(
                1 / self.num_inputs, "fan_avg", "uniform"
            )
            self.kernel = self.add_weight(
                shape=(self.num_outputs, self.num_inputs, units, units),
                initializer=PerSlice(PerSlice(one), one.seed),
                autocast=False,
                name="kernel",
            )

    def call(self, inputs: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Sums over the open connections."""
        if self.transform and noise is None and is_freezing():
            return self._call_open(inputs)
        gates = self.gate(noise)
        if not self.transform:
            return stitch(gates[..., None], inputs)
        kernel = tf.cast(self._gated_kernel(gates), inputs.dtype)
        joined = tf.concat(tf.unstack(inputs, axis=-3), axis=-1)
        if joined.shape.rank == 2:
            return tf.einsum("bi,tio->tbo", joined, kernel)
        return tf.matmul(joined, kernel)

    def gramian(
        self, cotangents: tf.Tensor, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Gramian of the gradients at the inputs, without forming them.

        Args:
            cotangents: gradients at the outputs, `(num_outputs, batch, units)`.
            noise: what `call` got.

        Returns:
            float32 tensor of shape `(num_outputs, num_outputs)`.
        """
        gates = self.gate.gates(noise)
        if not self.transform:
            return stitch_gramian(gates[..., None], cotangents)
        # Sums over the batch and over all inputs come first, then one over pairs of
        # units of two outputs.
        kernel, units = self._gated_kernel(gates), cotangents.shape[-1]
        at_outputs, of_kernels = (
            tf.matmul(wide, wide, transpose_a=True)
            for wide in map(_side_by_side, (tf.cast(cotangents, tf.float32), kernel))
        )
        shape = [self.num_outputs, units, self.num_outputs, units]
        return tf.reduce_sum(tf.reshape(at_outputs * of_kernels, shape), axis=[1, 3])

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """Shape of the output for the shapes of the inputs."""
        return (self.num_outputs, *input_shape[-2:])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_inputs": self.num_inputs,
            "num_outputs": self.num_outputs,
            "transform": self.transform,
            "gate": self._gate_arguments,
        }

    def _call_open(self, inputs: tf.Tensor) -> tf.Tensor:
        """`call` without noise, by the open connections alone."""
        parts = tf.unstack(inputs)
        outputs = []
        for opened, kernel in self._open_kernels():
            if not opened:
                outputs.append(tf.zeros_like(parts[0]))
                continue
            joined = tf.concat([parts[i] for i in opened], axis=-1)
            outputs.append(tf.matmul(joined, tf.cast(kernel, inputs.dtype)))
        return tf.stack(outputs)

    @frozen
    def _open_kernels(self) -> list[tuple[list[int], tf.Tensor]]:
        """By output: the open inputs, and their kernels times gates, joined."""
        gates = self.gate.gates()
        by_input = tf.reshape(self._gated_kernel(gates), self.kernel.shape)
        units = self.kernel.shape[-1]
        return [
            (
                opened.tolist(),
                tf.reshape(tf.gather(kernels, opened), [len(opened) * units, units]),
            )
            for opened, kernels in zip(
                map(np.flatnonzero, gates), tf.unstack(by_input), strict=True
            )
        ]

    def _gated_kernel(self, gates: tf.Tensor) -> tf.Tensor:
        """Kernels times gates, `(num_outputs, num_inputs * units, units)`."""
        kernel = gates[..., None, None] * tf.convert_to_tensor(self.kernel)
        return tf.reshape(kernel, [self.num_outputs, -1, kernel.shape[-1]])


def _side_by_side(slices: tf.Tensor) -> tf.Tensor:
    """`(slices, rows, units)` as `(rows, slices * units)`."""
    count, _, units = slices.shape
    return tf.reshape(tf.transpose(slices, [1, 0, 2]), [-1, count * units])
