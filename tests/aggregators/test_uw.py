import numpy as np
import pytest

from tests.aggregators.test_golden import GOLDEN, of_method
from tf_mtl.aggregators import IMTLL, UncertaintyWeighting


def with_log_variances(values, **kwargs):
    aggregator = UncertaintyWeighting(**kwargs)
    aggregator.build(len(values))
    aggregator._log_variances.assign(values)
    return aggregator


def test_weights_match_hand_computation():
    losses = [2.0, 2.0, 1.0]
    log_variances = [0.0, np.log(4.0), 0.0]
    aggregator = with_log_variances(log_variances, learning_rate=0.1)
    np.testing.assert_allclose(aggregator.weights(losses), [0.5, 0.125, 0.5])
    # The gradients are -1/2, 1/4 and 0, and the first step of Adam is their sign.
    moved = np.array(log_variances) + [0.1, -0.1, 0.0]
    np.testing.assert_allclose(aggregator.weights(losses), 0.5 * np.exp(-moved))


def test_classification_doubles_the_weights():
    log_variances = [0.5, -1.0]
    aggregator = with_log_variances(log_variances, form="classification")
    np.testing.assert_allclose(
        aggregator.weights([1.0, 1.0]), np.exp([-0.5, 1.0]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("form", "losses"), [("regression", [3.0, 0.2]), ("classification", [0.5, 4.0])]
)
def test_weights_end_at_half_the_inverse_loss(form, losses):
    aggregator = UncertaintyWeighting(form, learning_rate=0.05)
    for _ in range(200):
        weights = aggregator.weights(losses)
    np.testing.assert_allclose(weights, 0.5 / np.array(losses), rtol=1e-2)


def test_it_is_half_of_imtl_l():
    plain, half = IMTLL(learning_rate=0.1), UncertaintyWeighting(learning_rate=0.1)
    for losses in np.random.default_rng(0).uniform(0.1, 3.0, size=(5, 3)):
        np.testing.assert_allclose(
            half.weights(losses), 0.5 * plain.weights(losses), rtol=1e-6
        )


def test_weight_of_a_perfect_task_is_limited():
    aggregator = with_log_variances([-9.95], learning_rate=0.1)
    for _ in range(3):
        aggregator.weights([0.0])
    np.testing.assert_allclose(aggregator.weights([0.0]), [0.5 * np.exp(10.0)])


@pytest.mark.parametrize("entry", of_method("entries", "uw"))
def test_direction_matches_golden_value(entry):
    case = GOLDEN["cases"][entry["case"]]
    aggregator = with_log_variances(entry["params"]["log_var"])
    direction = aggregator(np.array(case["rows"]), case["losses"])
    error = np.linalg.norm(direction - entry["d"])
    assert error <= entry["tol64"] * entry["scale"]


@pytest.mark.parametrize("sequence", of_method("sequences", "uw"))
def test_step_matches_golden_value(sequence):
    [step] = sequence["steps"]
    aggregator = with_log_variances(step["log_var"])
    direction = aggregator(np.array(step["J"]), np.array(step["losses"]))
    tolerance = sequence["tol64"]
    np.testing.assert_allclose(direction, step["expected_d"], rtol=tolerance)
    moved = aggregator._log_variances.numpy() - step["log_var"]
    # The first step of Adam tells the sign of the gradient.
    np.testing.assert_array_equal(
        np.sign(moved), -np.sign(step["expected_grad_log_var"])
    )


@pytest.mark.parametrize(
    ("name", "value"), [("form", "poisson"), ("learning_rate", 0.0)]
)
def test_bad_argument_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        UncertaintyWeighting(**{name: value})
