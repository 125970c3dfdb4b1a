"""RLW and RGW draw the same weights and give them to other losses."""

import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import GOLDEN, of_method
from tf_mtl.aggregators import RandomGradientWeighting, RandomLossWeighting

every_kind = pytest.mark.parametrize(
    "method", [RandomGradientWeighting, RandomLossWeighting]
)
ROWS = np.eye(3)


def with_normals(method, normals):
    aggregator = method()
    aggregator._normals = lambda num_tasks: tf.constant(normals, tf.float64)
    return aggregator


@every_kind
def test_weights_are_the_softmax_of_normals(method):
    aggregator = with_normals(method, np.log([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(aggregator(ROWS), [0.125, 0.25, 0.625])


@every_kind
@pytest.mark.parametrize("entry", of_method("entries", "rlw"))
def test_direction_matches_golden_value(method, entry):
    aggregator = with_normals(method, entry["params"]["normals"])
    direction = aggregator(np.array(GOLDEN["cases"][entry["case"]]["rows"]))
    error = np.linalg.norm(direction - entry["d"])
    assert error <= entry["tol64"] * entry["scale"]


@every_kind
def test_weights_are_drawn_anew_and_have_the_right_mean(method):
    aggregator = method(seed=1)
    step = tf.function(lambda: aggregator(ROWS))
    directions = np.stack([step() for _ in range(400)])
    assert len(np.unique(directions[:, 0])) == 400
    np.testing.assert_allclose(directions.sum(1), np.ones(400))
    # A standard deviation of about 0.2 over 20.
    np.testing.assert_allclose(directions.mean(0), np.full(3, 1 / 3), atol=0.04)


@every_kind
def test_seed_repeats_the_weights(method):
    np.testing.assert_array_equal(method(seed=7)(ROWS), method(seed=7)(ROWS))
    assert np.any(method(seed=7)(ROWS) != method(seed=8)(ROWS))


def test_only_rlw_scales_the_losses_of_the_towers():
    losses = tf.ones([3])
    np.testing.assert_array_equal(
        RandomGradientWeighting().loss_weights(losses), losses
    )
    assert np.all(RandomLossWeighting().loss_weights(losses) < losses)
