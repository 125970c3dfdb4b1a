"""`mix` and its gradients against an einsum."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import mix, mix_gramian, mix_own

GATES, BATCH, EXPERTS, UNITS = 3, 5, 4, 2
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(GATES, BATCH, EXPERTS)).astype("float32")
OUTPUTS = RNG.normal(size=(EXPERTS, BATCH, UNITS)).astype("float32")


def test_shared_experts():
    expected = np.einsum("tbe,ebh->tbh", WEIGHTS, OUTPUTS)
    np.testing.assert_allclose(
        mix(tf.constant(WEIGHTS), tf.constant(OUTPUTS)), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("copies", [None, GATES])
def test_gradients_are_those_of_an_einsum(copies):
    upstream = RNG.normal(size=(GATES, BATCH, UNITS)).astype("float32")
    gates, experts = tf.constant(WEIGHTS), tf.constant(OUTPUTS)
    if copies:
        experts = tf.repeat(experts[None], copies, axis=0)
    with tf.GradientTape() as tape:
        tape.watch([gates, experts])
        mixed = mix(gates, experts)
    to_gates, to_experts = tape.gradient(mixed, [gates, experts], upstream)
    expected = np.einsum("tbh,ebh->tbe", upstream, OUTPUTS)
    np.testing.assert_allclose(to_gates, expected, rtol=1e-5, atol=1e-6)
    equation = "tbe,tbh->tebh" if copies else "tbe,tbh->ebh"
    expected = np.einsum(equation, WEIGHTS, upstream)
    np.testing.assert_allclose(to_experts, expected, rtol=1e-5, atol=1e-6)


def test_a_copy_of_the_experts_for_each_gate_keeps_the_gradients_apart():
    copies = tf.repeat(tf.constant(OUTPUTS)[None], GATES, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        mixed = mix(tf.constant(WEIGHTS), copies)
    expected = np.einsum("tbe,ebh->tbh", WEIGHTS, OUTPUTS)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)
    gradient = tape.gradient(mixed, copies)
    expected = np.repeat(WEIGHTS.transpose(0, 2, 1)[..., None], UNITS, axis=-1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_an_expert_with_an_owner_learns_from_that_gate_alone():
    owners = (0, 2, 2, 1)
    upstream = RNG.normal(size=(GATES, BATCH, UNITS)).astype("float32")
    gates, experts = tf.constant(WEIGHTS), tf.constant(OUTPUTS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([gates, experts])
        mixed, free = mix_own(gates, experts, owners), mix(gates, experts)
    np.testing.assert_array_equal(mixed, free)
    found = tape.gradient(mixed, [gates, experts], upstream)
    np.testing.assert_allclose(
        found[0], tape.gradient(free, gates, upstream), rtol=1e-5, atol=1e-6
    )
    expected = np.stack(
        [WEIGHTS[t, :, e, None] * upstream[t] for e, t in enumerate(owners)]
    )
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-6)


def test_gramian_is_that_of_the_gradients_at_the_experts():
    cotangents = RNG.normal(size=(GATES, BATCH, UNITS)).astype("float32")
    rows = np.einsum("tbe,tbh->tebh", WEIGHTS, cotangents).reshape(GATES, -1)
    np.testing.assert_allclose(
        mix_gramian(tf.constant(WEIGHTS), tf.constant(cotangents)),
        rows @ rows.T,
        rtol=1e-4,
        atol=1e-5,
    )
