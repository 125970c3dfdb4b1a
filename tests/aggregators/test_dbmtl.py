import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import aggregators
from tf_mtl.aggregators import DBMTL
from tf_mtl.gradients import unique_ids

# Norms 5 and 2, losses 0.5 and 4: rows of the log losses have norms 10 and 0.5.
JACOBIAN = np.array([[3.0, 4.0], [0.0, -2.0]])
LOSSES = np.array([0.5, 4.0])


def test_log_losses_get_one_norm():
    direction = DBMTL(beta=0.0)(JACOBIAN, LOSSES)
    np.testing.assert_allclose(direction, [6.0, 8.0 - 10.0], rtol=1e-6)


def test_without_logarithm_rows_get_the_largest_norm():
    direction = DBMTL(beta=0.0, log_loss=False)(JACOBIAN, LOSSES)
    np.testing.assert_allclose(direction, [3.0, 4.0 - 5.0], rtol=1e-6)


def test_towers_get_the_gradient_of_the_log_loss():
    factors = DBMTL(eps=1.0).loss_weights(tf.constant(LOSSES))
    np.testing.assert_allclose(factors, [1 / 1.5, 1 / 5.0])
    plain = DBMTL(log_loss=False).loss_weights(tf.constant(LOSSES))
    np.testing.assert_array_equal(plain, [1.0, 1.0])


def test_factors_of_a_loss_weighting_come_on_top():
    inner = aggregators.get("fixed", weights=[1.0, 3.0])
    factors = DBMTL(loss_weighting=inner).loss_weights(tf.constant(LOSSES))
    np.testing.assert_allclose(factors, [2.0, 0.75], rtol=1e-6)


@pytest.mark.parametrize("beta_decay", [0.0, 0.5])
def test_rows_are_averaged(beta_decay):
    aggregator = DBMTL(beta=0.5, beta_decay=beta_decay, log_loss=False)
    average = np.zeros((2, 2))
    for step, scale in enumerate([1.0, -3.0, 2.0], start=1):
        rows = JACOBIAN * [[scale], [1.0]]
        beta = 0.5 / step**beta_decay
        average = beta * average + (1 - beta) * rows
        norms = np.linalg.norm(average, axis=1)
        # State is float32.
        np.testing.assert_allclose(
            aggregator(rows, LOSSES),
            norms.max() * (average.T / norms).sum(1),
            rtol=1e-6,
        )


def test_an_absent_task_adds_nothing_and_keeps_its_average():
    aggregator, without = DBMTL(log_loss=False), DBMTL(log_loss=False)
    aggregator(JACOBIAN, LOSSES)
    direction = aggregator(JACOBIAN, LOSSES, present=[False, True])
    without(JACOBIAN[1:], LOSSES[1:])
    expected = without(JACOBIAN[1:], LOSSES[1:])
    np.testing.assert_allclose(direction, expected, rtol=1e-6)
    tables = aggregator.variables[-1].numpy().reshape(2, 2)
    np.testing.assert_allclose(tables[0], 0.1 * JACOBIAN[0], rtol=1e-6)


def test_a_zero_row_adds_nothing():
    direction = DBMTL(beta=0.0)(JACOBIAN * [[1.0], [0.0]], LOSSES)
    np.testing.assert_allclose(direction, [6.0, 8.0], rtol=1e-6)


def test_rows_of_a_table_count_once_and_only_where_looked_up():
    ids, _ = unique_ids(tf.constant([2, 0, 2, 2]))
    aggregator = DBMTL(beta=0.5, log_loss=False)
    aggregator.build(2)
    aggregator.build_rows([(4, 1)])
    rows = np.zeros((2, 4, 1))
    rows[:, 0, 0], rows[:, 1, 0] = [3.0, 1.0], [4.0, 0.0]
    # The padding repeats an id that has an average by now: it must not count.
    for share in (0.5, 0.75):
        [direction] = aggregator.combine([rows], LOSSES, ids=[ids])
        expected = share * np.array([3.0 + 5.0, 4.0, 0.0, 0.0])
        np.testing.assert_allclose(direction[:, 0], expected, rtol=1e-6)
    other, _ = unique_ids(tf.constant([1, 1, 1, 1]))
    rows[:, 1:] = 0.0
    [direction] = aggregator.combine([rows], LOSSES, ids=[other])
    expected = np.array([0.5 * (3.0 + 3.0), 0.0, 0.0, 0.0])
    np.testing.assert_allclose(direction[:, 0], expected, rtol=1e-6)


def test_without_average_there_is_no_tracked_state():
    for beta, num_tables in ((0.0, 0), (0.9, 1)):
        aggregator = DBMTL(beta=beta)
        aggregator.build(2)
        before = len(aggregator.variables)
        aggregator.build_rows([(4, 1)])
        assert len(aggregator.variables) == before + num_tables


def test_an_update_with_a_negative_loss_is_skipped():
    assert np.all(np.isnan(DBMTL()(JACOBIAN, [-0.5, 4.0])))


def test_losses_must_be_given():
    with pytest.raises(ValueError, match="`losses` must be given to DBMTL"):
        DBMTL()(JACOBIAN)


@pytest.mark.parametrize(
    "argument", [{"beta": 1.0}, {"beta_decay": -1.0}, {"eps": 0.0}], ids=str
)
def test_argument_outside_its_range_is_refused(argument):
    [name] = argument
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        DBMTL(**argument)
