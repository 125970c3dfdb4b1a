"""Hard-concrete gates against their distribution and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers import HardConcreteGate

LOG_ALPHA = np.array([[-4.0, -0.5, 0.0], [0.3, 1.0, 5.0]], "float32")


def make(log_alpha=LOG_ALPHA, **kwargs):
    gate = HardConcreteGate(log_alpha.shape, **{"seed": 1, **kwargs})
    gate.build()
    gate.log_alpha.assign(log_alpha)
    return gate


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def samples():
    """40,000 draws of each gate, in one call."""
    gate = make(np.tile(LOG_ALPHA, (40_000, 1, 1)))
    return gate, gate(gate.draw()).numpy()


def test_serving_is_the_closed_form_bit_for_bit_twice():
    gate = make()
    expected = np.clip(sigmoid(LOG_ALPHA) * 1.2 - 0.1, 0, 1)
    np.testing.assert_allclose(gate(), expected, rtol=1e-6)
    np.testing.assert_array_equal(gate(), gate())
    assert expected[0, 0] == 0 and expected[1, 2] == 1


def test_noise_and_log_alpha_are_divided_by_beta():
    gate = make(beta=0.5, gamma=-0.2, zeta=1.3)
    noise = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)
    expected = np.clip(sigmoid((noise + LOG_ALPHA) / 0.5) * 1.5 - 0.2, 0, 1)
    np.testing.assert_allclose(gate(tf.constant(noise)), expected, rtol=1e-5)


def test_mean_of_draws_is_the_analytic_mean(samples):
    # P(z > x) of the stretched variable, integrated over x from 0 to 1.
    beta, gamma, zeta = 2 / 3, -0.1, 1.1
    middle = (np.arange(100_000) + 0.5) / 100_000
    unstretched = (middle - gamma) / (zeta - gamma)
    shift = beta * np.log(unstretched / (1 - unstretched))
    expected = [sigmoid(a - shift).mean() for a in LOG_ALPHA.ravel()]
    # 40,000 draws: the standard deviation of a mean is below 0.0025.
    actual = samples[1].mean(axis=0).ravel()
    np.testing.assert_allclose(actual, expected, atol=0.01)


def test_gates_are_exactly_0_or_1_as_often_as_they_should(samples):
    gate, draws = samples
    is_open = gate.open_probability().numpy()[0]
    np.testing.assert_allclose((draws > 0).mean(axis=0), is_open, atol=0.01)
    # By symmetry of gamma and zeta a gate is 1 as often as its mirror image is 0.
    is_one = sigmoid(LOG_ALPHA + 2 / 3 * np.log(0.1 / 1.1))
    np.testing.assert_allclose((draws == 1).mean(axis=0), is_one, atol=0.01)
    assert is_open[1, 0] < 0.99 and is_one[0, 2] > 0.01


def test_loss_is_the_closed_form_in_training_only():
    gate = make(l0_weight=0.3)
    gate()
    assert gate.losses == []
    gate(gate.draw())
    expected = 0.3 * sigmoid(LOG_ALPHA - 2 / 3 * np.log(0.1 / 1.1)).sum()
    np.testing.assert_allclose(gate.losses, [expected], rtol=1e-6)
    gate.gates(gate.draw())
    assert len(gate.losses) == 1


def test_gradients_of_gates_and_of_their_loss_reach_log_alpha():
    gate = make(np.zeros(3, "float32"), l0_weight=0.5)
    with tf.GradientTape(persistent=True) as tape:
        gates = gate(tf.constant([-0.2, 0.0, 0.2]))
        [loss] = gate.losses
    assert [v.path for v in gate.trainable_variables] == [gate.log_alpha.path]
    of_gates = tape.gradient(gates, gate.log_alpha.value).numpy()
    slope = sigmoid(np.array([-0.3, 0.0, 0.3]))
    np.testing.assert_allclose(of_gates, slope * (1 - slope) * 1.8, rtol=1e-5)
    p = sigmoid(-2 / 3 * np.log(0.1 / 1.1))
    of_loss = tape.gradient(loss, gate.log_alpha.value).numpy()
    np.testing.assert_allclose(of_loss, np.full(3, 0.5 * p * (1 - p)), rtol=1e-5)


def test_each_step_draws_anew_and_eager_is_xla():
    gates = make(), make()
    compiled = tf.function(gates[1].draw, jit_compile=True)
    eager = [gates[0].draw().numpy() for _ in range(2)]
    assert (eager[0] != eager[1]).all()
    for noise in eager:
        np.testing.assert_allclose(compiled(), noise, rtol=1e-5, atol=1e-6)


def test_noise_stays_float32_under_mixed_precision():
    gate, mixed = make(), make(dtype="mixed_bfloat16")
    noise = gate.draw()
    np.testing.assert_array_equal(mixed(noise), gate(noise))


def test_round_trip():
    gate = make(beta=0.5, gamma=-0.2, zeta=1.3, log_alpha_init=2.0, l0_weight=0.1)
    config = keras.saving.serialize_keras_object(gate)
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == gate.get_config()
    np.testing.assert_array_equal(revived.log_alpha, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(revived.draw(), gate.draw())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"beta": 0.0}, "`beta` must be above 0. Received: beta=0.0"),
        ({"gamma": 0.0}, "`gamma` must be below 0"),
        ({"zeta": 1.0}, "`zeta` must be above 1"),
        ({"l0_weight": -1.0}, "`l0_weight` must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        HardConcreteGate((2,), **arguments)
