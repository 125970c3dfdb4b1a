import numpy as np
import pytest

from tf_mtl import aggregators


def random_rows(seed, num_tasks=4):
    return np.random.default_rng(seed).normal(size=(num_tasks, 9))


def test_orthogonal_rows_get_their_unit_vectors():
    direction = aggregators.NashMTL(max_norm=None)(np.diag([2.0, 100.0]))
    np.testing.assert_allclose(direction, [1.0, 1.0], rtol=1e-9)


@pytest.mark.parametrize("num_tasks", [2, 5, 8])
def test_weights_solve_the_bargaining_equation(num_tasks):
    rows = random_rows(num_tasks, num_tasks) * 10.0 ** np.arange(num_tasks)[:, None]
    aggregator = aggregators.NashMTL(max_norm=None)
    weights = aggregator.weights(rows @ rows.T).numpy()
    direction = weights @ rows
    np.testing.assert_allclose(weights * (rows @ direction), 1.0, rtol=1e-6)
    assert direction @ direction == pytest.approx(num_tasks)


def test_norms_of_the_gradients_do_not_matter():
    rows = random_rows(1)
    plain = aggregators.NashMTL()(rows)
    scaled = aggregators.NashMTL()(rows * [[1e-4], [1.0], [1e4], [3.0]])
    np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-8)
    assert np.linalg.norm(plain) == pytest.approx(1.0)


def test_preference_is_the_bargaining_power():
    rows = random_rows(2, 3)
    aggregator = aggregators.NashMTL(max_norm=None, preference=[1.0, 2.0, 3.0])
    weights = aggregator.weights(rows @ rows.T).numpy()
    gains = weights * (rows @ (weights @ rows))
    np.testing.assert_allclose(gains, [0.5, 1.0, 1.5], rtol=1e-6)


def test_row_of_norm_zero_is_left_out():
    rows = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 5.0]])
    direction = aggregators.NashMTL(max_norm=None)(rows)
    np.testing.assert_allclose(direction, [1.0, 1.0], rtol=1e-9)


def test_opposite_rows_give_a_short_direction():
    aggregator = aggregators.NashMTL()
    direction = aggregator(np.array([[1.0, 2.0], [-1.0, -2.0]]))
    assert np.linalg.norm(direction) < 1e-3
    assert aggregator.fallback_count.numpy() == 0
