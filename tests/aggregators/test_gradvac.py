import numpy as np
import pytest

from tests.aggregators.test_golden import of_method
from tf_mtl.aggregators import GradVac, PCGrad

# Rows meet at a cosine of -2 / sqrt(50).
JACOBIAN = np.array([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]])
COSINE = -2.0 / np.sqrt(50.0)


def targets(aggregator):
    [found] = [v for v in aggregator.variables if v.name == "cosine_targets"]
    return found


def with_target(value):
    aggregator = GradVac(beta=0.25)
    aggregator.build(2)
    targets(aggregator).assign(np.full((2, 2), value))
    return aggregator


def cosine(first, second):
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


def test_first_step_is_that_of_pcgrad():
    jacobian = np.random.default_rng(1).normal(size=(5, 6))
    direction = GradVac(order="natural")(jacobian)
    expected = PCGrad(order="natural")(jacobian)
    np.testing.assert_allclose(direction, expected, rtol=1e-9)


def test_cosine_becomes_the_target():
    weights = with_target(0.6).weights(JACOBIAN @ JACOBIAN.T).numpy()
    # Each row adds some of the other: the weight is 1 and what the other took.
    edited = JACOBIAN + (weights[::-1] - 1.0)[:, None] * JACOBIAN[::-1]
    assert cosine(edited[0], JACOBIAN[1]) == pytest.approx(0.6)
    assert cosine(edited[1], JACOBIAN[0]) == pytest.approx(0.6)


def test_rows_above_the_target_are_left_alone():
    direction = with_target(COSINE - 0.1)(JACOBIAN)
    np.testing.assert_allclose(direction, JACOBIAN.sum(0))


@pytest.mark.parametrize("value", [-0.9, 0.0, 0.6])
def test_target_follows_on_both_sides(value):
    aggregator = with_target(value)
    aggregator(JACOBIAN)
    new = 0.75 * value + 0.25 * COSINE
    expected = [[value, new], [new, value]]
    np.testing.assert_allclose(targets(aggregator), expected)


def test_pairs_with_a_zero_row_or_an_absent_task_keep_their_target():
    aggregator = with_target(0.5)
    aggregator([[1.0, 2.0], [0.0, 0.0]])
    aggregator(JACOBIAN, present=[True, False])
    np.testing.assert_array_equal(targets(aggregator), np.full((2, 2), 0.5))


def test_parallel_rows_with_a_target_of_one_give_a_finite_direction():
    aggregator = with_target(1.0)
    direction = aggregator(JACOBIAN)
    assert np.all(np.isfinite(direction))
    assert aggregator.fallback_count.numpy() == 0


@pytest.mark.parametrize("sequence", of_method("sequences", "gradvac"))
def test_targets_match_golden_values(sequence):
    aggregator = GradVac(beta=sequence["params"]["beta"], order="natural")
    for step in sequence["steps"]:
        aggregator(np.array(step["J"]))
        expected = np.array(step["expected_ema"])
        np.fill_diagonal(expected, 0.0)
        np.testing.assert_allclose(targets(aggregator), expected, atol=1e-7)


@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_bad_beta_is_refused(beta):
    with pytest.raises(ValueError, match="`beta` must be in"):
        GradVac(beta=beta)
