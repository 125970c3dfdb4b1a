import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import GOLDEN, PRECISIONS, assert_close, of_method
from tf_mtl.aggregators import GradDrop

# Purities are 3/4, 1/2 (no gradient), 1 and 1/4.
JACOBIAN = np.array([[3.0, 0.0, 1.0, 1.0], [-1.0, 0.0, 2.0, -3.0]])


def told(aggregator, uniforms):
    """The aggregator, told what to draw."""
    aggregator._uniforms = lambda block: tf.constant(uniforms, block.dtype)
    return aggregator


@pytest.mark.parametrize(
    ("uniforms", "expected"),
    [
        ([0.7, 0.5, 0.99, 0.2], [3.0, 0.0, 3.0, 1.0]),
        ([0.8, 0.5, 0.99, 0.3], [-1.0, 0.0, 3.0, -3.0]),
    ],
)
def test_entries_of_the_drawn_sign_are_kept(uniforms, expected):
    direction = told(GradDrop(), uniforms)(JACOBIAN)
    np.testing.assert_array_equal(direction, expected)


def test_a_share_leaks():
    direction = told(GradDrop(leak=0.5), [0.7, 0.5, 0.99, 0.2])(JACOBIAN)
    np.testing.assert_array_equal(direction, [2.5, 0.0, 3.0, -0.5])


def test_each_task_has_its_own_leak():
    direction = told(GradDrop(leak=[0.0, 1.0]), [0.7, 0.5, 0.99, 0.2])(JACOBIAN)
    np.testing.assert_array_equal(direction, [2.0, 0.0, 3.0, -2.0])


@PRECISIONS
@pytest.mark.parametrize("entry", of_method("entries", "graddrop"))
def test_direction_matches_golden_value(entry, dtype, tolerance):
    rows = tf.constant(GOLDEN["cases"][entry["case"]]["rows"], dtype)
    aggregator = told(GradDrop(), entry["params"]["uniforms"])
    assert_close(aggregator(rows), entry["d"], entry["scale"], entry[tolerance])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_mean_over_draws_is_the_expectation(jit_compile):
    step = tf.function(GradDrop(seed=0), jit_compile=jit_compile)
    drawn = np.stack([step(tf.constant(JACOBIAN)) for _ in range(1000)])
    purity = np.array([0.75, 0.5, 1.0, 0.25])
    positive, negative = JACOBIAN.clip(0).sum(0), JACOBIAN.clip(max=0).sum(0)
    expected = purity * positive + (1 - purity) * negative
    # Five standard errors of 1000 draws between values up to 4 apart.
    np.testing.assert_allclose(drawn.mean(0), expected, atol=5 * 2 / np.sqrt(1000))
    # Coordinates are drawn one by one.
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 3])[0, 1]) < 5 / np.sqrt(1000)


def test_blocks_and_steps_draw_anew():
    aggregator = GradDrop(seed=0)
    block = np.stack([np.ones(100), -np.ones(100)])
    first, second = aggregator.combine([block, block])
    third, _ = aggregator.combine([block, block])
    assert np.any(first != second)
    assert np.any(first != third)


def test_resumed_state_draws_the_same_signs():
    block = np.stack([np.ones(100), -np.ones(100)])
    aggregator = GradDrop(seed=1)
    aggregator(block)
    # A skipped step must not draw.
    aggregator(block * np.nan)
    resumed = GradDrop(seed=2)
    resumed.build(2)
    for variable, other in zip(resumed.variables, aggregator.variables, strict=True):
        variable.assign(other)
    uninterrupted = GradDrop.from_config(aggregator.get_config())
    uninterrupted(block)
    expected = uninterrupted(block)
    np.testing.assert_array_equal(aggregator(block), expected)
    np.testing.assert_array_equal(resumed(block), expected)


@pytest.mark.parametrize("leak", [-0.1, 1.1, [0.5, 2.0]])
def test_leak_outside_its_range_is_refused(leak):
    with pytest.raises(ValueError, match="`leak` must be in"):
        GradDrop(leak=leak)


def test_number_of_leaks_is_checked_in_build():
    with pytest.raises(ValueError, match="one float for each of 3 tasks"):
        GradDrop(leak=[0.5, 0.5]).build(3)
