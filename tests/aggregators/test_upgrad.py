import numpy as np
import pytest

from tf_mtl import aggregators

# Inner product -2, squared norms 5 and 10.
JACOBIAN = np.array([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]])


def test_two_rows_are_each_projected():
    # As PCGrad for two tasks, and the mean.
    direction = aggregators.UPGrad(ridge=1e-12)(JACOBIAN)
    expected = np.array([1.4, 1.2]) / 2 @ JACOBIAN
    np.testing.assert_allclose(direction, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_without_conflict_it_is_the_mean(name):
    rows = np.abs(np.random.default_rng(0).normal(size=(4, 6)))
    np.testing.assert_allclose(aggregators.get(name)(rows), rows.mean(0), rtol=1e-9)


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_no_task_loses(name, scale):
    rows = scale * (np.random.default_rng(1).normal(size=(6, 9)) - 0.2)
    gains = rows @ aggregators.get(name, ridge=1e-8)(rows).numpy()
    assert np.min(rows @ rows.mean(0)) < 0  # The mean would hurt somebody.
    assert np.min(gains) >= -1e-5 * scale**2


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_a_small_gradient_is_freed_too_if_the_ridge_acts_on_cosines(name):
    rows = np.array([[1e3, 0.0], [-1e-3, 1e-3]])
    kept = rows @ aggregators.get(name)(rows).numpy()
    freed = rows @ aggregators.get(name, ridge_scale="cosines")(rows).numpy()
    assert kept[1] < -0.1
    # What is left is the ridge times the weight.
    assert freed[1] == pytest.approx(0.0, abs=1e-4)


def test_preference_weights_the_projected_rows():
    weights = aggregators.UPGrad(preference=[3.0, 1.0]).weights(np.eye(2))
    np.testing.assert_allclose(weights, [0.75, 0.25], rtol=1e-7)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`ridge` must be finite and positive"):
        aggregators.UPGrad(ridge=0.0)
    with pytest.raises(ValueError, match="`ridge_scale` must be one of"):
        aggregators.DualProj(ridge_scale="norm")
