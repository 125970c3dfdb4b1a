import numpy as np
import pytest

from tf_mtl import aggregators

JACOBIAN = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_only_the_gradient_of_the_task_counts():
    np.testing.assert_array_equal(aggregators.Single(1)(JACOBIAN), JACOBIAN[1])


def test_where_the_task_is_absent_nothing_moves():
    direction = aggregators.Single(1)(JACOBIAN, present=[True, False])
    np.testing.assert_array_equal(direction, [0.0, 0.0])


def test_bad_task_is_refused():
    with pytest.raises(ValueError, match="`task` must be at least 0"):
        aggregators.Single(-1)
    with pytest.raises(ValueError, match="less than the number of tasks, 2"):
        aggregators.Single(2)(JACOBIAN)
