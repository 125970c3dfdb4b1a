import numpy as np
import pytest

from tf_mtl import aggregators


def random_rows(seed, shape=(4, 7)):
    return np.random.default_rng(seed).normal(size=shape) + 0.2


def test_orthogonal_rows_match_hand_computation():
    # By symmetry g_w is the mean: d = (1 + c) g_0.
    direction = aggregators.CAGrad(c=0.5, rescale=0)(np.eye(2))
    np.testing.assert_allclose(direction, [0.75, 0.75], rtol=1e-9)


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
def test_direction_is_on_the_ball_and_best_for_the_worst_task(c):
    rng = np.random.default_rng(0)
    rows = random_rows(3)
    mean = rows.mean(0)
    direction = aggregators.CAGrad(c=c, rescale=0)(rows).numpy()
    radius = c * np.linalg.norm(mean)
    assert np.linalg.norm(direction - mean) == pytest.approx(radius, rel=1e-6)
    steps = rng.normal(size=(20_000, rows.shape[1]))
    steps *= radius / np.linalg.norm(steps, axis=1, keepdims=True)
    others = np.min(rows @ (mean + steps).T, axis=0)
    assert np.min(rows @ direction) >= np.max(others)


def test_c_of_zero_is_the_mean():
    rows = random_rows(1)
    np.testing.assert_allclose(aggregators.CAGrad(c=0.0)(rows), rows.mean(0))


def test_rescaling_divides():
    rows = random_rows(2)
    plain = aggregators.CAGrad(c=0.5, rescale=0)(rows)
    for rescale, divisor in ((1, 1.25), (2, 1.5)):
        scaled = aggregators.CAGrad(c=0.5, rescale=rescale)(rows)
        np.testing.assert_allclose(scaled, plain / divisor, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e6])
def test_scaled_gradients_give_the_scaled_direction(scale):
    rows = random_rows(4)
    expected = aggregators.CAGrad()(rows)
    scaled = aggregators.CAGrad()(scale * rows)
    np.testing.assert_allclose(scaled / scale, expected, rtol=1e-6)


def test_where_the_combination_vanishes_it_is_the_mean():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    aggregator = aggregators.CAGrad()
    np.testing.assert_allclose(aggregator(rows), rows.mean(0), atol=1e-9)
    assert aggregator.fallback_count.numpy() == 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`c` must be in"):
        aggregators.CAGrad(c=1.0)
    with pytest.raises(ValueError, match="`rescale` must be one of"):
        aggregators.CAGrad(rescale=3)
