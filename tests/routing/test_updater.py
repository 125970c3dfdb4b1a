"""Updater against hand computation, its feedback and its state."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.routing import Updater

RULES = pytest.mark.parametrize("rule", ["ratio", "softmax_sum", "fixed"])


def built(num_primary=1, **kwargs):
    updater = Updater(**kwargs)
    updater.build((num_primary, 2, None))
    return updater


@RULES
def test_weights_start_equal(rule):
    np.testing.assert_array_equal(built(2, rule=rule).branch_weights(), [[0.5] * 2] * 2)


def test_fixed_weights_stay():
    updater = built(rule="fixed")
    updater.update([[3.0, 1.0]])
    np.testing.assert_array_equal(updater.branch_weights(), [[0.5, 0.5]])
    assert updater.weights == []


def test_ratio_matches_hand_computation():
    updater = built(decay=0.9)
    updater.update([[3.0, 1.0]])
    # 3 / 0.5 and 1 / 0.5.
    np.testing.assert_allclose(updater.branch_weights(), [[0.75, 0.25]])
    updater.update([[3.0, 2.0]])
    # 0.9 * 6 + 3 / 0.75 = 9.4 and 0.9 * 2 + 2 / 0.25 = 9.8.
    expected = [[9.4 / 19.2, 9.8 / 19.2]]
    np.testing.assert_allclose(updater.branch_weights(), expected)


def test_softmax_sum_matches_hand_computation():
    updater = built(rule="softmax_sum")
    updater.update([[3.0, 1.0]])
    updater.update([[1.0, 2.0]])
    expected = np.exp([4.0, 3.0]) / np.exp([4.0, 3.0]).sum()
    np.testing.assert_allclose(updater.branch_weights(), [expected])


def test_ratio_does_not_depend_on_the_scale_of_the_norms():
    plain, scaled = built(), built()
    for norms in ([[3.0, 1.0]], [[0.5, 2.0]]):
        plain.update(norms)
        scaled.update(1e-6 * tf.constant(norms))
    np.testing.assert_allclose(plain.branch_weights(), scaled.branch_weights())


@pytest.mark.parametrize(
    ("rule", "expected"), [("ratio", 1.05 / 2.05), ("softmax_sum", 1.0)]
)
def test_only_softmax_sum_feeds_itself(rule, expected):
    # The gradient of a branch is proportional to its weight.
    updater = built(rule=rule)
    for _ in range(100):
        updater.update(updater.branch_weights() * [[10.5, 10.0]])
    np.testing.assert_allclose(updater.branch_weights()[0, 0], expected, rtol=1e-3)


def test_ratio_is_kept_within_the_floor():
    updater = built(floor=0.1)
    updater.update([[0.0, 1.0]])
    np.testing.assert_allclose(updater.branch_weights(), [[0.1, 0.9]])
    updater.update([[1e9, 0.0]])
    np.testing.assert_allclose(updater.branch_weights(), [[0.9, 0.1]])
    assert not np.any(updater.dead_branches())


def test_softmax_sum_neither_overflows_nor_hides_a_dead_branch():
    updater = built(2, rule="softmax_sum")
    np.testing.assert_array_equal(updater.dead_branches(), np.zeros([2, 2], bool))
    updater.update([[1e30, 0.0], [1.0, 2.0]])
    weights = updater.branch_weights()
    np.testing.assert_array_equal(weights[0], [1.0, 0.0])
    np.testing.assert_array_equal(
        updater.dead_branches(), [[False, True], [False, False]]
    )


def test_no_gradient_at_all_leaves_the_weights_equal():
    updater = built()
    updater.update([[0.0, 0.0]])
    np.testing.assert_array_equal(updater.branch_weights(), [[0.5, 0.5]])


@RULES
def test_absent_and_broken_tasks_keep_their_weights(rule):
    updater, alone = built(3, rule=rule), built(rule=rule)
    for up in (updater, alone):
        up.update([[2.0, 1.0]] * len(up.branch_weights()))
    before = updater.branch_weights()
    norms = [[1.0, 1.5], [1.0, 1.5], [np.nan, 1.0]]
    updater.update(norms, present=[True, False, True])
    alone.update(norms[:1])
    after = updater.branch_weights()
    np.testing.assert_array_equal(after[0], alone.branch_weights()[0])
    np.testing.assert_array_equal(after[1:], before[1:])


def test_output_is_the_weighted_sum_of_the_branches():
    updater = Updater()
    outputs = tf.constant([[[1.0, 2.0], [3.0, 5.0]]])
    np.testing.assert_allclose(updater(outputs), [[2.0, 3.5]])
    updater.update([[3.0, 1.0]])
    np.testing.assert_allclose(updater(outputs), [[1.5, 2.75]])


def test_output_is_float32_in_mixed_precision():
    updater = Updater(dtype="mixed_bfloat16")
    outputs = tf.constant([[[1.0], [3.0]]], tf.bfloat16)
    assert updater(outputs).dtype == tf.float32
    assert {v.dtype for v in updater.weights} == {"float64"}


def test_gradient_of_a_branch_is_its_weight():
    updater = built()
    updater.update([[3.0, 1.0]])
    outputs = tf.ones([1, 2, 2])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total = tf.reduce_sum(updater(outputs))
    expected = [[[0.75] * 2, [0.25] * 2]]
    np.testing.assert_allclose(tape.gradient(total, outputs), expected)


@RULES
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager(rule, jit_compile):
    eager, graph = built(2, rule=rule), built(2, rule=rule)
    step = tf.function(graph.update, jit_compile=jit_compile)
    for norms in ([[3.0, 1.0], [1.0, 2.0]], [[0.5, 2.0], [1.0, 1.0]]):
        present = np.array([True, norms[0][0] > 1])
        eager.update(norms, present)
        step(tf.constant(norms), tf.constant(present))
    np.testing.assert_allclose(graph.branch_weights(), eager.branch_weights())


@RULES
def test_state_is_saved_with_a_model(rule, tmp_path):
    inputs = keras.Input(batch_shape=(2, 2, 4))
    model = keras.Model(inputs, Updater(rule, decay=0.9, floor=0.1, name="up")(inputs))
    updater = model.get_layer("up")
    updater.update([[3.0, 1.0], [1.0, 1.5]])
    assert all(variable.path.startswith("up/") for variable in updater.weights)
    assert not updater.trainable_weights
    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras").get_layer("up")
    assert revived.get_config() == updater.get_config()
    for each in (updater, revived):
        each.update([[1.0, 2.0], [2.0, 1.0]])
    np.testing.assert_array_equal(revived.branch_weights(), updater.branch_weights())


@pytest.mark.parametrize(
    "kwargs", [{"rule": "mean"}, {"decay": 1.0}, {"floor": 0.0}, {"floor": 0.5}]
)
def test_arguments_are_checked(kwargs):
    with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}`"):
        Updater(**kwargs)


@pytest.mark.parametrize("shape", [(2, 8), (2, 3, 8), (None, 2, 8)])
def test_shape_is_checked(shape):
    with pytest.raises(ValueError, match="num_primary, 2, batch"):
        Updater().build(shape)
