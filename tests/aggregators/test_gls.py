import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.aggregators import GeometricLoss


def test_weights_match_hand_computation():
    # The geometric mean is 2, its share 1; losses are 1 and 4.
    np.testing.assert_allclose(GeometricLoss().weights([1.0, 4.0]), [1.0, 0.25])


def test_weights_are_the_gradient_of_the_product():
    losses = tf.constant([0.3, 1.7, 0.9, 12.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        total = tf.reduce_prod(losses) ** 0.25
    weights = GeometricLoss().weights(losses)
    np.testing.assert_allclose(weights, tape.gradient(total, losses), rtol=1e-12)


def test_preference_gives_the_exponents():
    aggregator = GeometricLoss(preference=[3.0, 1.0])
    # 16^(3/4) 1^(1/4) = 8.
    np.testing.assert_allclose(aggregator.weights([16.0, 1.0]), [0.375, 2.0])


def test_product_of_many_losses_stays_in_range():
    aggregator = GeometricLoss()
    weights = aggregator.weights(tf.fill([20], 1e-6))
    np.testing.assert_allclose(weights, np.full(20, 0.05), rtol=1e-5)


def test_perfect_task_keeps_a_finite_weight():
    aggregator = GeometricLoss()
    # The zero counts as 1e-8: the mean is 1e-4.
    np.testing.assert_allclose(aggregator.weights([0.0, 1.0]), [5e3, 5e-5], rtol=1e-6)
    assert aggregator.fallback_count.numpy() == 0


def test_negative_loss_takes_the_mean():
    aggregator = GeometricLoss()
    assert aggregator.weights([-1.0, 1.0]).numpy() == pytest.approx([0.5, 0.5])
    assert aggregator.fallback_count.numpy() == 1
