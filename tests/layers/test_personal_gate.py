"""The personal gate against its equation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import PersonalGate

SLICES, BATCH, WIDTH, UNITS = 3, 5, 4, 2
RNG = np.random.default_rng(0)
PERSONAL = RNG.normal(size=(BATCH, WIDTH)).astype("float32")
INPUTS = {
    "one": RNG.normal(size=(BATCH, UNITS)).astype("float32"),
    "slices": RNG.normal(size=(SLICES, BATCH, UNITS)).astype("float32"),
}
every_form = pytest.mark.parametrize("form", INPUTS)


def randomized(layer, inputs):
    """The layer with weights that are not those of the start."""
    layer(inputs, PERSONAL)
    for variable in layer.weights:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@every_form
@pytest.mark.parametrize("hidden_units", [None, 6])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_starts_as_the_identity(form, hidden_units, policy):
    layer = PersonalGate(hidden_units, use_bias=True, dtype=policy)
    inputs = tf.cast(INPUTS[form], layer.compute_dtype)
    gated = layer(inputs, PERSONAL)
    assert gated.dtype == inputs.dtype
    np.testing.assert_array_equal(tf.cast(gated, "float32"), tf.cast(inputs, "float32"))


@every_form
@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_layer_is_the_equation_of_the_paper(form, jit_compile):
    layer = randomized(PersonalGate(), INPUTS[form])
    (kernel,) = layer.weights
    gates = 2 * sigmoid(PERSONAL @ kernel.numpy())
    expected = INPUTS[form] * (gates if form == "slices" else gates[0])
    call = tf.function(layer, jit_compile=jit_compile)
    np.testing.assert_allclose(call(INPUTS[form], PERSONAL), expected, rtol=1e-5)


@every_form
@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_are_those_of_the_equation(form, jit_compile):
    layer = randomized(PersonalGate(), INPUTS[form])
    (kernel,) = layer.weights
    weight = RNG.normal(size=INPUTS[form].shape)

    @tf.function(jit_compile=jit_compile)
    def gradients(fn):
        inputs, personal = tf.constant(INPUTS[form]), tf.constant(PERSONAL)
        with tf.GradientTape() as tape:
            tape.watch([inputs, personal])
            loss = tf.reduce_sum(weight * fn(inputs, personal))
        return tape.gradient(loss, [inputs, personal, kernel.value])

    def equation(inputs, personal):
        gates = 2 * tf.sigmoid(personal @ kernel.value)
        return inputs * (gates if form == "slices" else gates[0])

    for found, expected in zip(gradients(layer), gradients(equation), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("logit", [-1e4, -12.0, -4.0, 4.0, 1e4])
def test_gates_far_out_are_finite_and_exact_in_any_dtype(policy, jit_compile, logit):
    layer = PersonalGate(dtype=policy)
    one = tf.ones([1, 1])
    layer(one, one)
    layer.weights[0].assign([[[logit]]])

    @tf.function(jit_compile=jit_compile)
    def values_and_gradients(inputs, personal):
        with tf.GradientTape() as tape:
            tape.watch([inputs, personal])
            gated = layer(inputs, personal)
        return gated, *tape.gradient(gated, [inputs, personal])

    with np.errstate(over="ignore"):
        gate = 2 * sigmoid(logit)
    expected = [gate, gate, logit * gate * (1 - gate / 2)]
    found = [float(each[0, 0]) for each in values_and_gradients(one, one)]
    # Two roundings of bfloat16; nothing below the smallest numbers of float16.
    np.testing.assert_allclose(found, expected, rtol=2**-7, atol=1e-6)


@every_form
def test_hidden_layer(form):
    layer = randomized(PersonalGate(6, use_bias=True), INPUTS[form])
    kernel, bias, out_kernel, out_bias = (v.numpy() for v in layer.weights)
    hidden = np.maximum(PERSONAL @ kernel + bias, 0)
    gates = 2 * sigmoid(hidden @ out_kernel + out_bias)
    expected = INPUTS[form] * (gates if form == "slices" else gates[0])
    found = layer(INPUTS[form], PERSONAL)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_embeddings_learn_through_the_gate_unless_stopped(stop_gradient):
    layer = randomized(PersonalGate(stop_gradient=stop_gradient), INPUTS["one"])
    personal, inputs = tf.constant(PERSONAL), tf.constant(INPUTS["one"])
    with tf.GradientTape() as tape:
        tape.watch([personal, inputs])
        gated = layer(inputs, personal)
    to_personal, to_inputs, to_kernel = tape.gradient(
        gated, [personal, inputs, layer.weights[0].value]
    )
    assert (to_personal is None) is stop_gradient
    assert np.any(to_inputs) and np.any(to_kernel)


def test_each_slice_reads_its_copy():
    layer = randomized(PersonalGate(), INPUTS["slices"])
    copies = tf.repeat(PERSONAL[None], SLICES, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        gated = layer(INPUTS["slices"], copies)
        first = tf.reduce_sum(gated[0])
    np.testing.assert_array_equal(gated, layer(INPUTS["slices"], PERSONAL))
    found = tape.gradient(first, copies)
    assert np.any(found[0]) and not np.any(found[1:])


@every_form
def test_round_trip(form, tmp_path):
    inputs = keras.Input(batch_shape=INPUTS[form].shape)
    personal = keras.Input(batch_shape=PERSONAL.shape)
    layer = PersonalGate(6, use_bias=True, stop_gradient=True, name="gate")
    model = keras.Model([inputs, personal], layer(inputs, personal))
    randomized(layer, INPUTS[form])
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    assert revived.get_layer("gate").get_config() == layer.get_config()
    data = [tf.constant(INPUTS[form]), tf.constant(PERSONAL)]
    np.testing.assert_array_equal(revived(data), model(data))


def test_arguments_and_shapes_are_checked():
    with pytest.raises(ValueError, match="hidden_units=0"):
        PersonalGate(0)
    with pytest.raises(ValueError, match="`inputs` must have shape"):
        PersonalGate().build((2, 3, 4, 5), (4, 5))
