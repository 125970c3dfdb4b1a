import numpy as np
import pytest

from tests.aggregators.solvers.problems import (
    NUM_TASKS,
    PRECISIONS,
    all_jacobians,
    gramians,
    row_norms,
    solve_all,
)
from tf_mtl.aggregators import GradCraft, PCGrad

# Rows meet at an inner product of -2; squared norms are 5 and 10.
JACOBIAN = [[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]]


def reference(jacobian, tau, eps):
    """Mean of the moved rows, by moving them one at a time."""
    norms = np.linalg.norm(jacobian, axis=1)
    rows = jacobian * (tau * norms.max() / norms + 1.0 - tau)[:, None]
    moved = rows.copy()
    for i, row in enumerate(rows):
        others = rows[rows @ row < 0]
        units = others / np.linalg.norm(others, axis=1)[:, None]
        targets = eps * np.linalg.norm(row) - units @ row
        moved[i] += units.T @ np.linalg.lstsq(units @ units.T, targets, rcond=1e-9)[0]
    return moved.mean(axis=0)


def scaled_norms(rows, tau=0.1):
    norms = row_norms(rows)
    return tau * norms.max() + (1.0 - tau) * norms


def test_projection_matches_hand_computation():
    weights = GradCraft(tau=0.0, eps=0.0).weights(
        np.matmul(JACOBIAN, np.transpose(JACOBIAN))
    )
    # g1 + 2/10 g2 and g2 + 2/5 g1, averaged.
    np.testing.assert_allclose(weights, [0.7, 0.6], rtol=1e-9)


def test_magnitudes_match_hand_computation():
    # The first row grows by sqrt(2); the inner product becomes -2 sqrt(2), both
    # squared norms 10, so that each row adds sqrt(2)/5 of the other.
    direction = GradCraft(tau=1.0, eps=0.0)(np.array(JACOBIAN))
    factor = 0.5 * (1.0 + 0.2 * np.sqrt(2.0))
    expected = factor * (np.sqrt(2.0) * np.array(JACOBIAN[0]) + JACOBIAN[1])
    np.testing.assert_allclose(direction, expected, rtol=1e-9)


def test_sum_is_the_mean_times_the_number_of_tasks():
    np.testing.assert_allclose(
        GradCraft(reduction="sum")(JACOBIAN), 2.0 * GradCraft()(JACOBIAN), rtol=1e-6
    )


def test_two_tasks_without_balancing_are_pcgrad():
    np.testing.assert_allclose(
        GradCraft(tau=0.0, eps=0.0)(JACOBIAN),
        PCGrad(reduction="mean")(JACOBIAN),
        rtol=1e-6,
    )


@pytest.mark.parametrize("num_tasks", [3, 5, 8])
@pytest.mark.parametrize(("tau", "eps"), [(0.0, 0.0), (0.3, 1e-10), (1.0, 0.05)])
def test_direction_matches_reference(num_tasks, tau, eps):
    random = np.random.default_rng(num_tasks)
    jacobian = random.normal(size=(num_tasks, 12)) * 10.0 ** random.uniform(
        -3, 3, size=(num_tasks, 1)
    )
    direction = GradCraft(tau, eps)(jacobian)
    expected = reference(jacobian, tau, eps)
    # The ridge moves the solution by about 1e-10 of the largest row.
    scale = np.linalg.norm(jacobian, axis=1).max()
    np.testing.assert_allclose(direction, expected, atol=1e-8 * scale)


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_dependent_and_nearly_dependent_rows_match_reference(num_tasks):
    jacobians = {
        name: rows
        for name, rows in all_jacobians(num_tasks).items()
        # Rows nearer than that are one to the ridge.
        if not name.startswith(("pair at 1e-6", "pair at 1e-4"))
    }
    found = solve_all(GradCraft().weights, gramians(jacobians))
    for (name, rows), weights in zip(jacobians.items(), found, strict=True):
        expected = reference(rows, tau=0.1, eps=1e-10)
        error = np.linalg.norm(weights @ rows - expected)
        # The ridge, over the smallest eigenvalue of 1e-6 of the nearly parallel rows.
        assert error < 1e-3 * scaled_norms(rows).mean(), name


@PRECISIONS
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_moved_rows_are_no_longer_than_before(num_tasks, precision):
    jacobians = all_jacobians(num_tasks)
    found = solve_all(GradCraft().weights, gramians(jacobians).astype(precision))
    # Rounding of the Gramian is felt where rows are nearly dependent.
    most = 1.2 if precision == "float32" else 1.0 + 1e-6
    for (name, rows), weights in zip(jacobians.items(), found, strict=True):
        length = np.linalg.norm(weights.astype("float64") @ rows)
        assert length < most * scaled_norms(rows).mean(), name


def test_rounding_of_a_nearly_parallel_pair_is_not_the_step():
    # Each angle is the root of the rounding of float32; the products of some draws say
    # that the rows are equal, and those with the first row that they are not.
    random = np.random.default_rng(0)
    aggregator = GradCraft()
    for draw in range(200):
        first, second = random.normal(size=(2, 8))
        pair = [second, second + 3.5e-4 * random.normal(size=8)]
        rows = np.stack([first, *pair]).astype("float32")
        rows[0] *= -np.sign(rows[0] @ rows[1])
        direction = aggregator(rows)
        assert np.linalg.norm(direction) < 1.1 * scaled_norms(rows).mean(), draw


def test_opposite_rows_vanish():
    jacobian = np.array([[1.0, 2.0], [-1.0, -2.0]])
    np.testing.assert_allclose(GradCraft(tau=0.0)(jacobian), [0.0, 0.0], atol=1e-9)


def test_dependent_rows_in_a_conflict_set_are_solved():
    # The first row conflicts with two equal rows, as it would with one.
    jacobian = np.array([[2.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]])
    # It moves to (1, 1), each of the others to (0, 1).
    direction = GradCraft(tau=0.0, eps=0.0)(jacobian)
    np.testing.assert_allclose(direction, [1.0 / 3.0, 1.0], atol=1e-9)


def test_norm_average_matches_hand_computation():
    aggregator = GradCraft(tau=1.0, norm_ema=0.5)
    # Orthogonal rows: only the magnitudes change.
    aggregator(np.diag([1.0, 4.0]))
    direction = aggregator(np.diag([3.0, 2.0]))
    # Corrected averages: (0.25 * 1 + 0.5 * 3) / 0.75 and (0.25 * 4 + 0.5 * 2) / 0.75.
    averages = np.array([7.0, 8.0]) / 3.0
    expected = 0.5 * np.array([3.0, 2.0]) * averages.max() / averages
    np.testing.assert_allclose(direction, expected, rtol=1e-9)


def test_norm_average_of_a_task_starts_with_its_first_gradient():
    aggregator = GradCraft(tau=1.0, norm_ema=0.9)
    rows = np.diag([1.0, 4.0])
    aggregator(rows, present=[False, True])
    # Without bias correction the late task would look small and be blown up.
    np.testing.assert_allclose(aggregator(rows), [2.0, 2.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", -0.1), ("tau", 1.1), ("eps", -1e-3), ("eps", 1.0), ("norm_ema", 1.0)],
)
def test_argument_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be in"):
        GradCraft(**{name: value})
