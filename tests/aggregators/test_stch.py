import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import GOLDEN
from tf_mtl.aggregators import SmoothTchebycheff


def as_losses(values):
    return tf.constant(values, tf.float64)


def test_plain_weights_match_hand_computation():
    aggregator = SmoothTchebycheff(mu=0.5, min_losses=[0.0, 1.0])
    # Half of the gaps 1 and 3, over 0.5.
    odds = np.exp([1.0, 3.0])
    weights = aggregator.weights(as_losses([1.0, 4.0]))
    np.testing.assert_allclose(weights, 0.5 * odds / odds.sum())


def test_preference_scales_the_gaps():
    aggregator = SmoothTchebycheff(mu=1.0, preference=[3.0, 1.0])
    losses = as_losses([1.0, 2.0])
    shares = tf.constant([0.75, 0.25], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        total = tf.reduce_logsumexp(shares * losses)
    expected = tape.gradient(total, losses)
    np.testing.assert_allclose(aggregator.weights(losses), expected, rtol=1e-12)


def test_small_mu_looks_at_the_worst_task_alone():
    weights = SmoothTchebycheff(mu=1e-4).weights([0.1, 0.5, 0.4])
    np.testing.assert_allclose(weights, [0.0, 1 / 3, 0.0], atol=1e-6)


def test_log_form_measures_the_nadir_after_the_warm_up():
    aggregator = SmoothTchebycheff("log_nadir", mu=1.0, warmup_epochs=1)
    for batches in ([[5.0, 0.5]], [[1.0, 2.0], [3.0, 6.0]]):
        for losses in batches:
            np.testing.assert_allclose(
                aggregator.weights(as_losses(losses)), 1.0 / np.array(losses)
            )
        aggregator.end_epoch()
    # The nadir is (2, 4): the losses are a half and three quarters of it.
    expected = 2.0 * np.array([0.4, 0.6]) / [1.0, 3.0]
    np.testing.assert_allclose(aggregator.weights(as_losses([1.0, 3.0])), expected)


def test_log_form_matches_golden_value():
    [sequence] = [s for s in GOLDEN["sequences"] if s["id"] == "s25:stch"]
    [step] = sequence["steps"]
    aggregator = SmoothTchebycheff("log_nadir", mu=0.5, warmup_epochs=0)
    aggregator.weights(as_losses(step["nadir"]))
    aggregator.end_epoch()
    direction = aggregator(np.array(step["J"]), as_losses(step["losses"]))
    np.testing.assert_allclose(direction, step["expected_d"], rtol=1e-9)


def test_log_form_does_not_depend_on_the_scale_of_a_loss():
    scale = np.array([1.0, 100.0])
    aggregators = [SmoothTchebycheff("log_nadir", warmup_epochs=0) for _ in range(2)]
    for losses in np.random.default_rng(0).uniform(0.5, 2.0, size=(4, 2)):
        plain = aggregators[0].weights(as_losses(losses))
        scaled = aggregators[1].weights(as_losses(losses * scale))
        np.testing.assert_allclose(scaled * scale, plain)
        for aggregator in aggregators:
            aggregator.end_epoch()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"form": "log"}, "`form` must be"),
        ({"mu": 0.0}, "`mu` must be finite and positive"),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be an int"),
        ({"min_losses": [np.inf]}, "`min_losses` must be finite"),
        ({"form": "log_nadir", "min_losses": [0.0]}, "`min_losses` must be None"),
    ],
)
def test_bad_argument_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        SmoothTchebycheff(**arguments)


def test_min_losses_must_fit_the_tasks():
    aggregator = SmoothTchebycheff(min_losses=[0.0, 0.0])
    with pytest.raises(ValueError, match="`min_losses` must hold one float for each"):
        aggregator.build(3)
