"""Options that all methods of a kind have in common."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators

JACOBIAN = np.array([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0], [0.5, 0.5, 8.0]])
GRAMIAN = JACOBIAN @ JACOBIAN.T


def norm(weights):
    return np.linalg.norm(np.asarray(weights) @ JACOBIAN)


def test_normalized_direction_has_the_norm_of_the_mean():
    aggregator = aggregators.get("gradcraft", tau=1.0, normalize_to="mean")
    plain = aggregators.get("gradcraft", tau=1.0)(JACOBIAN)
    direction = aggregator(JACOBIAN)
    assert np.linalg.norm(direction) == pytest.approx(np.linalg.norm(JACOBIAN.mean(0)))
    cosine = np.dot(plain, direction) / np.linalg.norm(plain)
    assert cosine == pytest.approx(np.linalg.norm(direction))


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_long_direction_is_shortened(limit):
    free = norm(aggregators.get("pcgrad").weights(GRAMIAN))
    weights = aggregators.get("pcgrad", max_norm=limit).weights(GRAMIAN)
    assert norm(weights) == pytest.approx(min(limit, free))


def test_weights_are_used_again():
    aggregator = aggregators.get("gradcraft", update_every=2, max_norm=1.0)
    first = aggregator.weights(GRAMIAN)
    assert not aggregator.is_due()
    second = aggregator.weights(100.0 * GRAMIAN)
    # The limit looks at the direction of each step.
    np.testing.assert_allclose(second, first / 10.0)
    assert aggregator.is_due()
    other = np.diag([1.0, 4.0, 9.0])
    assert not np.allclose(aggregator.weights(other) / second, 10.0)


def test_a_task_absent_when_weights_were_due_gets_their_mean():
    aggregator = aggregators.get("gradcraft", update_every=2)
    first = aggregator.weights(GRAMIAN, present=[True, True, False]).numpy()
    weights = aggregator.weights(GRAMIAN)
    np.testing.assert_allclose(weights, [*first[:2], first[:2].mean()])


def test_a_task_absent_when_weights_were_due_keeps_its_old_one():
    aggregator = aggregators.get("gradcraft", update_every=2)
    old = aggregator.weights(GRAMIAN).numpy()
    aggregator.weights(GRAMIAN)
    aggregator.weights(GRAMIAN, present=[True, True, False])
    assert float(aggregator.weights(GRAMIAN)[2]) == pytest.approx(old[2])


class Unsolved(aggregators.GramianWeighting):
    """A method that never finds weights."""

    def _weights(self, gramian, losses, present):
        return tf.fill([gramian.shape[0]], tf.constant(float("nan"), tf.float64))


def test_the_mean_that_stands_in_is_shortened_too():
    aggregator = Unsolved(max_norm=0.5)
    assert np.linalg.norm(aggregator(JACOBIAN)) == pytest.approx(0.5)
    assert int(aggregator.fallbacks()) == 1


def test_what_cancels_is_not_blown_up():
    # Float32 leaves of this Gramian of rank 1 only rounding.
    rows = np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]], "float32") * 1.1
    direction = aggregators.MGDA(normalize_to="mean")(rows + [[1e-4], [0.0]])
    assert np.linalg.norm(direction) < 1e-3


def test_losses_are_needed_if_the_loss_weighting_reads_them():
    aggregator = aggregators.get("pcgrad", loss_weighting="uw")
    with pytest.raises(ValueError, match="`losses` must be given"):
        aggregator(JACOBIAN)


def test_fallbacks_of_the_loss_weighting_are_counted():
    aggregator = aggregators.get("pcgrad", loss_weighting="gls")
    aggregator(JACOBIAN, [1.0, -1.0, 1.0])
    assert int(aggregator.fallbacks()) == 1


def test_average_of_weights_is_bias_corrected():
    aggregator = aggregators.get("gradcraft", ema=0.5)
    plain = aggregators.get("gradcraft")
    first, second = GRAMIAN, np.diag([1.0, 4.0, 9.0])
    np.testing.assert_allclose(aggregator.weights(first), plain.weights(first))
    expected = (plain.weights(first) + 2 * plain.weights(second)) / 3
    np.testing.assert_allclose(aggregator.weights(second), expected)


def test_losses_are_weighted_first():
    inner = aggregators.get("fixed", weights=[1.0, 2.0, 3.0])
    aggregator = aggregators.get("gradcraft", loss_weighting=inner)
    scaled = JACOBIAN * [[1.0], [2.0], [3.0]]
    expected = aggregators.get("gradcraft")(scaled)
    np.testing.assert_allclose(aggregator(JACOBIAN), expected)
    np.testing.assert_allclose(aggregator.loss_weights(tf.ones(3)), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_preference_weights_the_tasks(reduction):
    orthogonal = np.diag([1.0, 1.0, 1.0])
    make = {"reduction": reduction, "preference": [1.0, 1.0, 2.0]}
    weights = aggregators.get("pcgrad", **make).weights(orthogonal)
    total = 3.0 if reduction == "sum" else 1.0
    np.testing.assert_allclose(weights, np.array([0.25, 0.25, 0.5]) * total)


def test_preference_is_shared_out_over_present_tasks():
    aggregator = aggregators.get("gradcraft", tau=0.0, preference=[1.0, 1.0, 3.0])
    weights = aggregator.weights(np.eye(3), present=[True, False, True])
    np.testing.assert_allclose(weights, [0.25, 0.0, 0.75])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"update_every": 0}, "`update_every` must be at least 1"),
        ({"ema": 1.0}, "`ema` must be in"),
        ({"normalize_to": "sum"}, "`normalize_to` must be 'mean' or None"),
        ({"max_norm": 0.0}, "`max_norm` must be positive"),
        ({"preference": [1.0, -1.0]}, "`preference` must be finite and positive"),
        ({"loss_weighting": "pcgrad"}, "`loss_weighting` must be a method of kind"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        aggregators.get("gradcraft", **options)


def test_preference_must_fit_the_tasks():
    aggregator = aggregators.get("gradcraft", preference=[1.0, 2.0])
    with pytest.raises(ValueError, match="`preference` must hold one float for each"):
        aggregator.build(3)


def test_a_method_without_preference_says_so():
    with pytest.raises(ValueError, match="Unsolved takes no `preference`"):
        Unsolved(preference=[1.0])
