"""Names and types of the inputs of signatures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl import MultiTask, Task, models
from tf_mtl.export.signatures import input_specs, make_signatures
from tf_mtl.features import Categorical, IntegerRange, Numeric

TASKS = [Task("click")]


def make_model(columns):
    features = [Numeric(name, normalization=None, default=0.0) for name in columns]
    return models.SharedBottom(features, TASKS, bottom_units=(2,), tower_units=())


def wrap(inputs):
    """A network on vectors of width 3, whose output tells inputs apart by position."""
    flat = keras.tree.flatten(inputs)
    factors = [keras.layers.Rescaling(10.0**i)(tensor) for i, tensor in enumerate(flat)]
    total = keras.layers.Concatenate()([*factors, flat[0]])
    outputs = keras.layers.Dense(1, kernel_initializer="ones")(total)
    return MultiTask(keras.Model(inputs, outputs), [Task("value", kind="regression")])


def vector(name=None):
    return keras.Input((3,), name=name)


def test_raw_columns_keep_names_and_types():
    features = [
        Categorical("city", vocabulary=["Rome"]),
        IntegerRange("code", 3),
        IntegerRange("codes", 3, missing_value=-1, max_length=2),
        Numeric("age", normalization=None, default=0.0),
        Numeric("log_age", column="age", normalization=None, default=1.0),
    ]
    model = models.SharedBottom(features, TASKS, bottom_units=(2,))
    assert input_specs(model) == {
        "city": tf.TensorSpec([None], tf.string, "city"),
        "code": tf.TensorSpec([None], tf.int64, "code"),
        "codes": tf.TensorSpec([None, None], tf.int64, "codes"),
        "age": tf.TensorSpec([None], tf.float32, "age"),
    }
    signatures = make_signatures(model)
    assert list(signatures) == ["serving_default", "serve_examples"]


@pytest.mark.parametrize(
    ("make_inputs", "names"),
    [
        (lambda: vector(), ["inputs"]),
        (lambda: vector("user"), ["user"]),
        (lambda: [vector("user"), vector("item")], ["user", "item"]),
        (lambda: [vector("user"), vector()], ["user", "inputs_1"]),
        (lambda: {"b": vector("b"), "a": vector("a")}, ["a", "b"]),
    ],
    ids=["unnamed", "named", "list", "partly named", "dict"],
)
def test_network_inputs_are_named_and_reach_their_places(make_inputs, names):
    model = wrap(make_inputs())
    assert list(input_specs(model)) == names
    signatures = make_signatures(model)
    assert list(signatures) == ["serving_default"]
    raw = {name: tf.fill([2, 3], float(i + 1)) for i, name in enumerate(names)}
    value = signatures["serving_default"](raw)["value"]
    expected = sum(3 * (i + 1) * 10.0**i for i in range(len(names))) + 3
    np.testing.assert_allclose(value, [expected] * 2, rtol=1e-6)


def test_sequential_network_forgets_its_first_batch_size():
    network = keras.Sequential([keras.layers.Dense(1)])
    network(tf.zeros([4, 3]))
    model = MultiTask(network, TASKS)
    assert input_specs(model) == {"inputs": tf.TensorSpec([None, 3], name="inputs")}
    outputs = make_signatures(model)["serving_default"](tf.zeros([7, 3]))
    assert outputs["click"].shape == (7,)


def test_subclassed_network_without_features_is_refused():
    class Network(keras.Model):
        def call(self, inputs):
            return inputs[:, 0]

    network = Network()
    network(tf.zeros([2, 3]))
    with pytest.raises(ValueError, match="Network, which is not functional"):
        make_signatures(MultiTask(network, TASKS))


@pytest.mark.parametrize(
    "columns",
    [["a b"], ["_a"], ["ä"], ["a:0"], ["self"], ["Class"], ["a", "A"], ["a-b", "a.b"]],
    ids=" ".join,
)
def test_names_that_no_signature_can_have_are_refused(columns):
    with pytest.raises(ValueError, match=r"Received: \[.*Rename the columns"):
        make_signatures(make_model(columns))


def test_odd_names_that_a_signature_can_have_stay(tmp_path):
    names = ["hours-per-week", "1st", "x.y", "A"]
    model = make_model(names)
    signatures = make_signatures(model)
    module = tf.Module()
    module.weights = [v.value for v in model.weights]
    tf.saved_model.save(module, str(tmp_path), signatures)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    raw = {name: tf.constant([float(i)]) for i, name in enumerate(names)}
    expected = model.predictions(model.features(raw))
    np.testing.assert_allclose(served(**raw)["click"], expected["click"], atol=1e-6)
