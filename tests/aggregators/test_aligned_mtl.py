import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.aggregators import AlignedMTL

# Orthogonal rows of norms 3, 2 and 1: eigenvalues 9, 4 and 1.
ORTHOGONAL = np.diag([3.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("scale_mode", "singular_value"),
    [("min", 1.0), ("median", 2.0), ("rmse", np.sqrt(14.0 / 3.0))],
)
def test_orthogonal_rows_get_one_length(scale_mode, singular_value):
    direction = AlignedMTL(scale_mode)(ORTHOGONAL)
    np.testing.assert_allclose(direction, np.full(3, singular_value / 3.0))


def test_median_of_an_even_number_is_the_lower_one():
    direction = AlignedMTL("median")(ORTHOGONAL[:2])
    np.testing.assert_allclose(direction, [1.0, 1.0, 0.0])


def test_sum_is_the_mean_times_the_number_of_tasks():
    direction = AlignedMTL(reduction="sum")(ORTHOGONAL)
    np.testing.assert_allclose(direction, np.ones(3))


def test_aligned_rows_are_orthogonal():
    jacobian = np.random.default_rng(0).normal(size=(4, 6))
    # A preference for one task shows where its row ends up.
    aligned = np.stack(
        [
            AlignedMTL(preference=[1.0 if i == j else 1e-12 for j in range(4)])(
                jacobian
            )
            for i in range(4)
        ]
    )
    smallest = np.linalg.eigvalsh(jacobian @ jacobian.T)[0]
    np.testing.assert_allclose(aligned @ aligned.T, smallest * np.eye(4), atol=1e-10)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("scale_mode", ["min", "median", "rmse"])
def test_dependent_rows_are_left_out_of_the_rank(scale_mode, jit_compile):
    # A duplicate counts as one direction: eigenvalues 18, 4 and 0.
    jacobian = ORTHOGONAL[[0, 0, 1]]
    step = tf.function(AlignedMTL(scale_mode), jit_compile=jit_compile)
    scale = {"min": 2.0, "median": 2.0, "rmse": np.sqrt(11.0)}[scale_mode]
    expected = scale * np.array([np.sqrt(2.0), 1.0, 0.0]) / 3.0
    np.testing.assert_allclose(step(tf.constant(jacobian)), expected, rtol=1e-9)


def test_a_zero_row_has_no_say():
    jacobian = ORTHOGONAL * [[1.0], [0.0], [1.0]]
    weights = AlignedMTL().weights(jacobian @ jacobian.T)
    np.testing.assert_allclose(weights, [1 / 9, 0.0, 1 / 3], atol=1e-12)


def test_without_gradients_the_weights_are_the_shares():
    aggregator = AlignedMTL(preference=[1.0, 3.0])
    np.testing.assert_allclose(aggregator.weights(np.zeros((2, 2))), [0.25, 0.75])


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_direction_scales_with_the_rows(scale):
    jacobian = np.random.default_rng(0).normal(size=(4, 6))
    direction = AlignedMTL()(scale * jacobian)
    np.testing.assert_allclose(direction, scale * AlignedMTL()(jacobian), rtol=1e-9)


def test_unknown_scale_mode_is_refused():
    with pytest.raises(ValueError, match="`scale_mode` must be one of"):
        AlignedMTL("max")
