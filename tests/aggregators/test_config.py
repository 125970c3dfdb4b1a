import numpy as np
import pytest

from tf_mtl.aggregators import ConFIG


def cosines(direction, rows):
    return rows @ direction / np.linalg.norm(rows, axis=1) / np.linalg.norm(direction)


def test_orthogonal_rows_match_hand_computation():
    # The bisector (1, 1) / sqrt(2), with projections of 2 and 3 over sqrt(2).
    direction = ConFIG()([[2.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(direction, [2.5, 2.5])


@pytest.mark.parametrize("num_tasks", [2, 4, 7])
def test_cosines_are_equal_and_the_length_is_the_sum_of_projections(num_tasks):
    random = np.random.default_rng(num_tasks)
    scales = 10.0 ** random.uniform(-2, 2, (num_tasks, 1))
    rows = random.normal(size=(num_tasks, 10)) * scales
    direction = ConFIG()(rows).numpy()
    found = cosines(direction, rows)
    np.testing.assert_allclose(found, np.full(num_tasks, found[0]), rtol=1e-8)
    assert found[0] > 0
    length = np.linalg.norm(direction)
    assert length == pytest.approx((rows @ direction).sum() / length)


def test_cosines_follow_the_preference():
    rows = np.random.default_rng(0).normal(size=(3, 5))
    found = cosines(ConFIG(preference=[1.0, 2.0, 4.0])(rows).numpy(), rows)
    np.testing.assert_allclose(found / found[0], [1.0, 2.0, 4.0], rtol=1e-9)


def test_opposite_rows_give_zero():
    direction = ConFIG()([[1.0, 2.0], [-2.0, -4.0]])
    np.testing.assert_array_equal(direction, [0.0, 0.0])


def test_a_zero_row_is_left_out():
    direction = ConFIG()([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(direction, [2.5, 2.5])


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_direction_scales_with_the_rows(scale):
    rows = np.random.default_rng(0).normal(size=(3, 5))
    direction = ConFIG()(scale * rows)
    np.testing.assert_allclose(direction, scale * ConFIG()(rows), rtol=1e-9)
