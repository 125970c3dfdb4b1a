"""CrossNetwork against its equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import CrossNetwork

BATCH, WIDTH = 5, 4
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(BATCH, WIDTH)).astype("float32")
FORMS = {
    "matrix": {"kind": "matrix"},
    "vector": {"kind": "vector"},
    "low_rank": {"kind": "matrix", "projection_dim": 2},
}
every_form = pytest.mark.parametrize("form", FORMS)


def make_layer(form, **kwargs):
    """A layer with weights that are not those of the start."""
    layer = CrossNetwork(3, **FORMS[form], **kwargs)
    layer.build(INPUTS.shape)
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def reference(layer, inputs):
    """One row at a time."""
    rows = []
    for x_0 in inputs:
        x = x_0
        for kernels, bias in zip(layer.kernels, layer.biases, strict=True):
            kernels = [kernel.numpy() for kernel in kernels]
            if layer.kind == "vector":
                x = x_0 * np.dot(x, kernels[0][:, 0]) + bias.numpy() + x
            else:
                full = kernels[0] if len(kernels) == 1 else kernels[0] @ kernels[1]
                x = x_0 * (full.T @ x + bias.numpy()) + x
        rows.append(x)
    return np.stack(rows)


@every_form
@pytest.mark.parametrize("jit_compile", [False, True])
def test_equals_the_equation(form, jit_compile):
    layer = make_layer(form, concat=False)
    found = tf.function(layer, jit_compile=jit_compile)(tf.constant(INPUTS))
    np.testing.assert_allclose(found, reference(layer, INPUTS), rtol=1e-4, atol=1e-4)


@every_form
def test_concat_joins_the_input(form):
    layer = make_layer(form)
    found = layer(INPUTS).numpy()
    np.testing.assert_array_equal(found[:, :WIDTH], INPUTS)
    np.testing.assert_allclose(
        found[:, WIDTH:], reference(layer, INPUTS), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("form", "count"), [("matrix", 16), ("vector", 4), ("low_rank", 16)]
)
def test_number_of_weights(form, count):
    assert make_layer(form).count_params() == 3 * (count + WIDTH)


@every_form
def test_kernels_start_apart(form):
    layer = CrossNetwork(2, **FORMS[form])
    layer.build(INPUTS.shape)
    for first, second in zip(*layer.kernels, strict=True):
        assert not np.isclose(first.numpy(), second.numpy()).any()


def test_regularizer_sees_all_kernels():
    layer = make_layer("low_rank", kernel_regularizer="l2")
    squares = sum(np.sum(k.numpy() ** 2) for pair in layer.kernels for k in pair)
    np.testing.assert_allclose(sum(layer.losses), 0.01 * squares, rtol=1e-5)


@every_form
def test_half_precision(form):
    layer = make_layer(form, dtype="mixed_bfloat16", concat=False)
    found = layer(INPUTS)
    assert found.dtype == tf.bfloat16
    # Eight bits, over three layers of products.
    expected = reference(layer, INPUTS)
    error = np.abs(tf.cast(found, tf.float32) - expected).max()
    assert error < 0.1 * np.abs(expected).max()


@every_form
def test_round_trip(form, tmp_path):
    inputs = keras.Input((WIDTH,))
    layer = make_layer(form, name="cross")
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert revived.get_layer("cross").get_config() == layer.get_config()
    np.testing.assert_array_equal(revived(INPUTS), model(INPUTS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "matrx"}, "Did you mean 'matrix'"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"projection_dim": 0}, "projection_dim=0"),
        ({"kind": "vector", "projection_dim": 2}, "leave it out"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossNetwork(**arguments)
