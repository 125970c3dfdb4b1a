import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tf_mtl.aggregators.solvers import project_to_simplex


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([1.0, 1.0], [0.5, 0.5]),
        ([5.0, 0.0, -1.0], [1.0, 0.0, 0.0]),
        ([0.9, 0.5, -3.0], [0.7, 0.3, 0.0]),
        ([-7.0], [1.0]),
    ],
)
def test_projection_matches_hand_computation(vector, expected):
    projected = project_to_simplex(tf.constant(vector, tf.float64))
    np.testing.assert_allclose(projected, expected, atol=1e-15)


@pytest.mark.parametrize("num_tasks", [2, 6, 14])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_projection_matches_scipy(num_tasks, scale):
    vector = scale * np.random.default_rng(num_tasks).normal(size=num_tasks)
    # The threshold is where the clipped entries sum to 1.
    threshold = scipy.optimize.brentq(
        lambda value: np.maximum(vector - value, 0.0).sum() - 1.0,
        vector.min() - 1.0,
        vector.max(),
        xtol=1e-14,
    )
    projected = project_to_simplex(tf.constant(vector))
    np.testing.assert_allclose(
        projected, np.maximum(vector - threshold, 0.0), atol=1e-12 * scale + 1e-12
    )


def test_absent_tasks_get_no_weight():
    vector = tf.constant([3.0, 0.4, 0.2], tf.float64)
    projected = project_to_simplex(vector, tf.constant([False, True, True]))
    np.testing.assert_allclose(projected, [0.0, 0.6, 0.4])
    nobody = project_to_simplex(vector, tf.constant([False, False, False]))
    np.testing.assert_array_equal(nobody, [0.0, 0.0, 0.0])
