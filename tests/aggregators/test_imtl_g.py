import numpy as np
import pytest

from tf_mtl.aggregators import IMTLG

# Unit rows e1, e2 and one between them and above, which equal projections need to be
# taken away: C^-1 1 is (10, 10, -5) / 7. With norms 1, 1 and 0.1 the sum is -30 / 7.
ROWS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.06, 0.06, 0.1 * np.sqrt(0.28)]])


def projections(direction, rows):
    return rows @ direction / np.linalg.norm(rows, axis=1)


def test_orthogonal_rows_match_hand_computation():
    # v = (1/2, 1/3), and the weights are (3/5, 2/5).
    direction = IMTLG()([[2.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(direction, [1.2, 1.2])


@pytest.mark.parametrize("num_tasks", [2, 4, 7])
def test_projections_are_equal(num_tasks):
    random = np.random.default_rng(num_tasks)
    rows = random.normal(size=(num_tasks, 10)) * 10.0 ** random.uniform(
        -2, 2, (num_tasks, 1)
    )
    found = projections(IMTLG()(rows).numpy(), rows)
    np.testing.assert_allclose(found, np.full(num_tasks, found[0]), rtol=1e-8)
    assert found[0] > 0


def test_guard_keeps_the_projections_positive():
    guarded, plain = IMTLG(), IMTLG(guard=False)
    np.testing.assert_allclose(projections(guarded(ROWS).numpy(), ROWS), 7 / 30)
    np.testing.assert_allclose(projections(plain(ROWS).numpy(), ROWS), -7 / 30)
    assert sum(plain.weights(ROWS @ ROWS.T).numpy()) == pytest.approx(1.0)


def test_weights_that_nearly_cancel_are_limited():
    # The sum of v is 0 when the last norm is 1 / 4.
    rows = ROWS * [[1.0], [1.0], [2.5]]
    weights = IMTLG().weights(rows @ rows.T).numpy()
    assert np.abs(weights).sum() <= 1e6 * (1 + 1e-9)


def test_equal_rows_share_the_weight_of_one():
    rows = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    weights = IMTLG().weights(rows @ rows.T)
    np.testing.assert_allclose(weights, [0.3, 0.3, 0.4], rtol=1e-3)


def test_a_zero_row_is_left_out():
    weights = IMTLG().weights(np.diag([4.0, 0.0, 9.0]))
    np.testing.assert_allclose(weights, [0.6, 0.0, 0.4])


def test_opposite_rows_give_no_direction():
    direction = IMTLG()([[1.0, 2.0], [-2.0, -4.0]])
    np.testing.assert_allclose(direction, [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_direction_scales_with_the_rows(scale):
    np.testing.assert_allclose(IMTLG()(scale * ROWS), scale * IMTLG()(ROWS), rtol=1e-9)
