"""LazyAdam of legacy Keras is that of Keras 3, and costs the looked-up rows only."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tests.optimizers.test_lazy_cost import IN_PLACE, table_sized_hlo, table_sized_ops
from tf_mtl.integrations.tfrs import LazyAdam

from .problem import Joint, make_rows

# A prime, so that the size stands out in any shape.
ROWS = 100_003
IDS = [[3, 1, 3], [0, 3, 2], [5, 5, 5]]


def gradients(step):
    rng = np.random.default_rng(step)
    values = tf.constant(rng.normal(size=(3, 2)), tf.float32)
    table = tf.IndexedSlices(values, tf.constant(IDS[step]), tf.constant([6, 2]))
    return table, tf.constant(rng.normal(size=(2, 2)), tf.float32)


@pytest.mark.parametrize(
    "options", [{}, {"amsgrad": True}, {"global_clipnorm": 0.1}, {"clipnorm": 0.1}]
)
def test_steps_are_those_of_keras_3(options):
    old, new = LazyAdam(0.1, **options), tf_mtl.optimizers.LazyAdam(0.1, **options)
    variables = [tf.Variable(tf.ones([6, 2])), tf.Variable(tf.ones([2, 2]))]
    others = [keras.Variable(np.ones((6, 2))), keras.Variable(np.ones((2, 2)))]
    for step in range(len(IDS)):
        old.apply_gradients(zip(gradients(step), variables, strict=True))
        new.apply([*gradients(step)], others)
    for variable, other in zip(variables, others, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-5)
    assert np.all(variables[0].numpy()[4] == 1.0)


def test_update_has_no_operation_of_the_size_of_the_table():
    optimizer, table = (
        LazyAdam(0.1, global_clipnorm=1.0),
        tf.Variable(tf.ones([ROWS, 4])),
    )
    optimizer.build([table])

    @tf.function(jit_compile=True)
    def step(values, ids):
        gradient = tf.IndexedSlices(values, ids, tf.constant([ROWS, 4]))
        optimizer.apply_gradients([(gradient, table)])

    arguments = tf.ones([32, 4]), tf.range(32)
    kinds = table_sized_hlo(step, *arguments, size=ROWS)
    assert "scatter" in kinds
    assert kinds <= IN_PLACE


@pytest.mark.parametrize(
    "make_optimizer", [LazyAdam, lambda: tf.keras.optimizers.Adagrad(0.1)]
)
def test_train_step_has_no_operation_of_the_size_of_the_table(make_optimizer):
    model = Joint(num_users=ROWS)
    model.compile(make_optimizer(), aggregator="gradcraft")
    batch = {name: tf.constant(column) for name, column in make_rows(16).items()}
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    step = tf.function(model.train_step).get_concrete_function(batch)
    assert table_sized_ops(step.graph, ROWS) == []


def test_config_makes_the_same_optimizer():
    config = LazyAdam(0.5, beta_1=0.8, amsgrad=True).get_config()
    again = LazyAdam.from_config(config)
    assert again.get_config() == config


@pytest.mark.parametrize("name", ["use_ema", "weight_decay", "adaptive_epsilon"])
def test_what_would_rewrite_tables_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` is not supported"):
        LazyAdam(**{name: True})


def test_a_table_with_a_constraint_is_refused():
    table = tf.Variable(tf.ones([6, 2]), constraint=lambda value: value)
    with pytest.raises(ValueError, match="`constraint` of a looked-up table"):
        LazyAdam().apply_gradients([(gradients(0)[0], table)])
