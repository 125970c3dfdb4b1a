import numpy as np
import pytest

from tf_mtl.aggregators import EqualWeighting

JACOBIAN = [[1.0, 2.0], [3.0, -4.0], [5.0, 0.0]]


@pytest.mark.parametrize(
    ("reduction", "expected"), [("sum", [9.0, -2.0]), ("mean", [3.0, -2.0 / 3.0])]
)
def test_direction_is_the_sum_or_mean(reduction, expected):
    direction = EqualWeighting(reduction)(JACOBIAN)
    np.testing.assert_allclose(direction, expected, rtol=1e-6)


def test_mean_is_over_present_tasks():
    weights = EqualWeighting("mean").weights([1.0, 1.0, 1.0], [True, False, True])
    np.testing.assert_array_equal(weights, [0.5, 0.0, 0.5])


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="`reduction` must be 'sum' or 'mean'"):
        EqualWeighting("max")
