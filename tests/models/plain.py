"""Parts of the architectures as loops over plain layers, in NumPy."""

import keras
import numpy as np


def perceptron(mlp, index, inputs):
    """Slice `index` of a `StackedMLP`, layer by layer."""
    for layer in mlp.dense:
        inputs = inputs @ layer.kernel.numpy()[index] + layer.bias.numpy()[index]
        if layer.activation is keras.activations.relu:
            inputs = np.maximum(inputs, 0)
    return inputs


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def weighted_sum(weights, vectors):
    """Sum over vectors, each `(batch, units)`, by weights `(batch, their number)`."""
    assert weights.shape[-1] == len(vectors)
    return sum(weights[:, i, None] * vector for i, vector in enumerate(vectors))
