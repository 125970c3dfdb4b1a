import numpy as np

from tf_mtl import aggregators


def test_mean_is_projected_onto_the_border_of_the_cone():
    # The mean (0.5, -1) opposes the second row (0, 1), and loses that component.
    rows = np.array([[1.0, -3.0], [0.0, 1.0]])
    direction = aggregators.DualProj(ridge=1e-12)(rows)
    np.testing.assert_allclose(direction, [0.5, 0.0], atol=1e-9)


def test_preference_makes_it_a_weighted_mean():
    weights = aggregators.DualProj(preference=[3.0, 1.0]).weights(np.eye(2))
    np.testing.assert_allclose(weights, [0.75, 0.25], rtol=1e-7)
