import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import PRECISIONS, assert_close, of_method
from tf_mtl import aggregators
from tf_mtl.aggregators import IMTL, IMTLG, IMTLL

JACOBIAN = np.random.default_rng(0).normal(size=(3, 5))
LOSSES = np.array([0.5, 2.0, 1.0])


def log_scales(aggregator):
    [found] = [v for v in aggregator.variables if v.name == "log_scales"]
    return found


def test_first_step_is_that_of_imtl_g():
    np.testing.assert_allclose(IMTL()(JACOBIAN, LOSSES), IMTLG()(JACOBIAN))


@PRECISIONS
@pytest.mark.parametrize("sequence", of_method("sequences", "imtl"))
def test_scaled_rows_match_golden_value(sequence, dtype, tolerance):
    [step] = sequence["steps"]
    aggregator = IMTL()
    aggregator.build(3)
    log_scales(aggregator).assign(step["log_scales"])
    direction = aggregator(tf.constant(step["J"], dtype), step["losses"])
    scale = np.linalg.norm(step["expected_d"])
    assert_close(direction, step["expected_d"], scale, sequence[tolerance])


def test_towers_get_the_scales_alone():
    aggregator = IMTL()
    aggregator.build(3)
    scales = np.array([0.5, -1.0, 0.0])
    log_scales(aggregator).assign(scales)
    factors = aggregator.loss_weights(tf.constant(LOSSES))
    np.testing.assert_allclose(factors, np.exp(scales))


def test_scales_see_the_losses_only():
    aggregator, alone = IMTL(), IMTLL()
    for factor in (1.0, -3.0):
        aggregator(factor * JACOBIAN, LOSSES)
        alone(JACOBIAN, LOSSES)
    np.testing.assert_allclose(log_scales(aggregator), log_scales(alone))


def test_loss_weighting_can_be_configured():
    aggregator = IMTL(loss_weighting=IMTLL(learning_rate=0.1))
    again = aggregators.get("imtl", **aggregator.get_config())
    assert again.loss_weighting.learning_rate == 0.1
