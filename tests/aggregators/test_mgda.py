import numpy as np
import pytest

from tf_mtl import aggregators

# The shortest vector between the rows is (4, 2) / 5: 0.4 g_1 + 0.6 g_2.
JACOBIAN = np.array([[2.0, -1.0], [0.0, 2.0]])


def test_weights_match_hand_computation():
    gramian = JACOBIAN @ JACOBIAN.T
    share = (4.0 + 2.0) / (5.0 + 4.0 + 4.0)
    weights = aggregators.MGDA().weights(gramian)
    np.testing.assert_allclose(weights, [share, 1 - share], rtol=1e-9)


def test_all_losses_fall_by_the_squared_norm_at_least():
    rows = np.random.default_rng(0).normal(size=(6, 9)) + 0.3
    direction = aggregators.MGDA()(rows).numpy()
    assert np.min(rows @ direction) == pytest.approx(direction @ direction, rel=1e-6)


def test_inside_the_hull_the_direction_is_zero():
    rows = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    np.testing.assert_allclose(aggregators.MGDA()(rows), 0.0, atol=1e-9)


def test_normalization_changes_the_weights_and_combines_the_rows_as_they_are():
    orthogonal = np.diag([1.0, 4.0])
    losses = np.array([1.0, 2.0])
    # Norms after scaling -> weights in inverse proportion to their squares.
    for name, norms in {
        "none": [1.0, 4.0],
        "l2": [1.0, 1.0],
        "loss": [1.0, 2.0],
        "loss+": [1.0, 0.5],
    }.items():
        weights = 1 / np.square(norms)
        weights /= weights.sum()
        direction = aggregators.MGDA(normalization=name)(orthogonal, losses)
        np.testing.assert_allclose(direction, weights * [1.0, 4.0], rtol=1e-9)


def test_a_finished_task_stops_the_others_unless_it_is_dropped():
    rows = np.array([[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(aggregators.MGDA()(rows), [0.0, 0.0])
    dropped = aggregators.MGDA(drop_zero_rows=True)
    np.testing.assert_allclose(dropped(rows), [1.0, 0.0])


def test_losses_are_needed_for_their_normalization_only():
    aggregators.MGDA()(JACOBIAN)
    with pytest.raises(ValueError, match="`losses` must be given to MGDA"):
        aggregators.MGDA(normalization="loss")(JACOBIAN)


def test_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="`normalization` must be one of"):
        aggregators.MGDA(normalization="max")
