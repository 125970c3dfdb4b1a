import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import PRECISIONS, assert_close, of_method
from tf_mtl.aggregators import MetaBalance

# Norms are 5 and 1 in the first variable, 2 and 4 in the second.
FIRST = np.array([[3.0, 4.0], [0.0, 1.0]])
SECOND = np.array([[2.0], [-4.0]])


def test_each_variable_is_balanced_on_its_own():
    first, second = MetaBalance(relax=0.5).combine([FIRST, SECOND])
    # Scales of the second task are 0.5 * 5 / 1 + 0.5 and 0.5 * 2 / 4 + 0.5.
    np.testing.assert_allclose(first, [3.0, 7.0])
    np.testing.assert_allclose(second, [-1.0])


def test_the_target_sets_the_magnitude():
    first, second = MetaBalance(relax=1.0, target=1).combine([FIRST, SECOND])
    np.testing.assert_allclose(first, [0.6, 1.8])
    np.testing.assert_allclose(second, [0.0])


def test_norms_are_averaged():
    aggregator = MetaBalance(relax=1.0, beta=0.5)
    aggregator.combine([FIRST, SECOND])
    direction = aggregator.combine([FIRST, 4 * SECOND])[1]
    # Averages of 2 and 8, 4 and 16 keep their ratio.
    np.testing.assert_allclose(direction, 8.0 - 8.0)
    direction = aggregator.combine([FIRST, SECOND * [[1.0], [0.0]]])[1]
    np.testing.assert_allclose(direction, 2.0)
    direction = aggregator.combine([FIRST, SECOND])[1]
    target = (2 + 2 * 8 + 4 * 2 + 8 * 2) / 15
    norm = (4 + 2 * 16 + 4 * 0 + 8 * 4) / 15
    np.testing.assert_allclose(direction, 2.0 - 4.0 * target / norm)


def test_an_absent_target_still_sets_the_magnitude():
    aggregator = MetaBalance(relax=1.0)
    aggregator.combine([FIRST, SECOND])
    first, second = aggregator.combine([FIRST, SECOND], present=[False, True])
    np.testing.assert_allclose(first, [0.0, 5.0])
    np.testing.assert_allclose(second, [-2.0])


def test_a_variable_without_gradient_of_the_target_gets_the_plain_sum():
    first, second = MetaBalance(relax=1.0).combine([FIRST, SECOND * [[0.0], [1.0]]])
    np.testing.assert_allclose(first, [3.0, 9.0])
    np.testing.assert_allclose(second, [-4.0])


def test_without_relaxation_nothing_is_changed():
    np.testing.assert_allclose(MetaBalance(relax=0.0)(FIRST), [3.0, 5.0])


@PRECISIONS
@pytest.mark.parametrize("sequence", of_method("sequences", "metabalance"))
def test_sequence_matches_golden_value(sequence, dtype, tolerance):
    params = sequence["params"]
    aggregator = MetaBalance(params["relax"], params["beta"], params["target_task"])
    for step in sequence["steps"]:
        blocks = [tf.constant(block, dtype) for block in step["J_blocks"]]
        found = aggregator.combine(blocks)
        for direction, expected in zip(found, step["expected_d_blocks"], strict=True):
            scale = np.linalg.norm(expected)
            assert_close(direction, expected, scale, sequence[tolerance])


@pytest.mark.parametrize(
    "argument", [{"relax": 1.5}, {"beta": 1.0}, {"target": -1}], ids=str
)
def test_argument_outside_its_range_is_refused(argument):
    [name] = argument
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        MetaBalance(**argument)


def test_target_is_checked_in_build():
    with pytest.raises(ValueError, match="`target` must be the index of one of 2"):
        MetaBalance(target=2).build(2)
