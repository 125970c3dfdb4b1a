import numpy as np
import pytest

from tf_mtl.aggregators import FixedWeighting


def test_direction_is_the_weighted_sum():
    direction = FixedWeighting([2.0, 0.5])([[1.0, 2.0], [4.0, -2.0]])
    np.testing.assert_array_equal(direction, [4.0, 3.0])


def test_other_weights_stay_when_a_task_is_absent():
    weights = FixedWeighting([2.0, 0.5]).weights([1.0, 1.0], [False, True])
    np.testing.assert_array_equal(weights, [0.0, 0.5])


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_bad_weight_is_refused(weight):
    with pytest.raises(ValueError, match="`weights` must be finite and not negative"):
        FixedWeighting([1.0, weight])


def test_number_of_weights_is_checked_in_build():
    aggregator = FixedWeighting([1.0, 2.0])
    with pytest.raises(ValueError, match="one weight for each of 3 tasks"):
        aggregator.build(3)
    assert not aggregator.built
