import numpy as np
import pytest

from tf_mtl.aggregators import PCGradPlus

# Rows meet at an inner product of -2; squared norms are 5 and 10.
JACOBIAN = np.array([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]])


def reference(jacobian, tau, eps):
    """Mean of the edited rows in natural order, by editing them."""
    norms = np.linalg.norm(jacobian, axis=1)
    scaled = jacobian * (tau * norms.max() / norms + 1 - tau)[:, None]
    edited = scaled.copy()
    for i in range(len(edited)):
        for row in scaled:
            product = edited[i] @ row
            if product < 0:
                margin = eps * np.linalg.norm(row) * np.linalg.norm(edited[i])
                edited[i] += (margin - product) / (row @ row) * row
    return edited.mean(axis=0)


def test_without_balance_and_margin_two_tasks_get_pcgrad():
    direction = PCGradPlus(tau=0.0, eps=0.0)(JACOBIAN)
    np.testing.assert_allclose(direction, [0.8, 1.8, 0.7])


def test_magnitudes_are_balanced_first():
    # Scaled by sqrt(2), the first row has the norm of the second: 10 for 5.
    scaled = JACOBIAN * [[np.sqrt(2.0)], [1.0]]
    direction = PCGradPlus(tau=1.0, eps=0.0)(JACOBIAN)
    expected = (1 + 0.2 * np.sqrt(2.0)) * scaled.sum(0) / 2
    np.testing.assert_allclose(direction, expected)


def test_margin_is_reached_along_the_conflicting_row():
    direction = PCGradPlus(tau=0.0, eps=0.1, reduction="sum")(JACOBIAN)
    # g1 + (2/10 + eps sqrt(5/10)) g2 and g2 + (2/5 + eps sqrt(10/5)) g1.
    weights = [1.4 + 0.1 * np.sqrt(2.0), 1.2 + 0.1 * np.sqrt(0.5)]
    np.testing.assert_allclose(direction, weights @ JACOBIAN)


@pytest.mark.parametrize("num_tasks", [3, 6])
@pytest.mark.parametrize(("tau", "eps"), [(0.1, 0.05), (1.0, 0.3)])
def test_natural_order_matches_reference(num_tasks, tau, eps):
    random = np.random.default_rng(num_tasks)
    jacobian = random.normal(size=(num_tasks, num_tasks)) - 0.2
    aggregator = PCGradPlus(tau=tau, eps=eps, order="natural")
    np.testing.assert_allclose(
        aggregator(jacobian), reference(jacobian, tau, eps), rtol=1e-9
    )


def test_a_row_that_turned_against_itself_is_seen():
    order = [[1, 0], [1, 0]]
    aggregator = PCGradPlus(tau=0.0, eps=0.5, order=order, reduction="sum")
    # The first row goes past 0 to -0.5 by its margin, then meets itself: 0.25. The
    # second meets itself before, and stays at 0.5.
    np.testing.assert_allclose(aggregator([[1.0], [-1.0]]), [0.25 + 0.5])


@pytest.mark.parametrize("argument", [{"tau": -0.1}, {"tau": 1.1}, {"eps": 1.0}])
def test_argument_outside_its_range_is_refused(argument):
    [name] = argument
    with pytest.raises(ValueError, match=f"`{name}` must be in"):
        PCGradPlus(**argument)
