"""MultiTask: Keras models of users, and plain Keras as the reference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl
from tf_mtl import models

from .problem import (
    TASKS,
    as_tensors,
    assert_same,
    make_batch,
    make_dataset,
    make_model,
    make_network,
)

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = {
    "click": (X[:, 0] > 0).astype("float32"),
    "like": (X[:, 1] + X[:, 2] > 0).astype("float32"),
}
PAIR = (tf_mtl.Task("click"), tf_mtl.Task("like"))


class SummedAdam(keras.optimizers.Adam):
    """Adam as published: the rows of repeated ids are summed, then squared.

    Keras squares the rows of `tf.IndexedSlices` first and sums the squares. The train
    step hands it unique rows, so that it does not happen there.
    """

    def apply(self, grads, trainable_variables=None):
        super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)


# For the reference and for the model.
OPTIMIZERS = {
    "momentum": [lambda: keras.optimizers.SGD(0.1, momentum=0.9)] * 2,
    "adam": [lambda: SummedAdam(0.01), lambda: keras.optimizers.Adam(0.01)],
}


def small_network(outputs="dict", activation=None, regularizer=None, detached=False):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(
        4, "relu", kernel_regularizer=regularizer, name="hidden"
    )(inputs)
    heads = {
        name: keras.layers.Dense(1, activation, name=name)(
            inputs if detached and name == "like" else hidden
        )
        for name in ("click", "like")
    }
    return keras.Model(inputs, heads if outputs == "dict" else list(heads.values()))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A network without a graph of layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(4, "relu")
        self.click = keras.layers.Dense(1)
        self.like = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        hidden = self.hidden(inputs)
        return {"click": self.click(hidden), "like": self.like(hidden)[:, 0]}


def wrap(network, tasks=PAIR, aggregator="ew", **kwargs):
    model = models.MultiTask(network, tasks, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), aggregator, run_eagerly=True)
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equal_weighting_is_plain_keras(optimizer, jit_compile):
    reference, network = make_network(), make_network()
    reference_optimizer, model_optimizer = (make() for make in OPTIMIZERS[optimizer])
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    reference.compile(
        reference_optimizer,
        loss={"click": cross_entropy, "like": cross_entropy, "dwell": "mse"},
        loss_weights={task.name: task.weight for task in TASKS},
        jit_compile=jit_compile,
    )
    model = models.MultiTask(network, TASKS)
    model.compile(model_optimizer, "ew", jit_compile=jit_compile)
    dataset = make_dataset(20)
    reference.fit(dataset, verbose=0)
    model.fit(dataset, verbose=0)
    # The rules are the same, the kernels that add up a batch need not be. Adam
    # divides by the size of the gradient, so that rounding of small ones shows.
    atol = 1e-3 if optimizer == "adam" else 1e-5
    assert_same(network.get_weights(), reference.get_weights(), rtol=1e-4, atol=atol)


def test_regularizer_acts_as_in_keras_whatever_the_aggregator():
    penalty = keras.regularizers.L2(0.1)
    reference = small_network(regularizer=penalty)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    reference.compile(
        keras.optimizers.SGD(0.1),
        loss={"click": cross_entropy, "like": cross_entropy},
        run_eagerly=True,
    )
    reference.fit(X, {k: v[:, None] for k, v in Y.items()}, batch_size=16, verbose=0)
    model = wrap(small_network(regularizer=penalty))
    model.fit(X, Y, batch_size=16, verbose=0)
    assert_same(model.get_weights(), reference.get_weights())
    # Added after aggregation: removing the task gradients leaves the decay alone.
    for surface in ("parameters", "representation"):
        network = small_network(regularizer=penalty)
        kernel = network.get_layer("hidden").kernel.numpy()
        model = models.MultiTask(network, PAIR, representation="hidden")
        model.compile(keras.optimizers.SGD(0.1), "gradcraft", surface, run_eagerly=True)
        labels = {name: np.full(16, np.nan, "float32") for name in Y}
        model.fit(X, labels, batch_size=16, verbose=0)
        decayed = network.get_layer("hidden").kernel.numpy()
        np.testing.assert_allclose(decayed, kernel * (1 - 0.1 * 0.2), rtol=1e-5)


def test_outputs_may_be_a_dict_or_a_list():
    runs = []
    for outputs in ("dict", "list"):
        model = wrap(small_network(outputs), aggregator="gradcraft")
        model.fit(X, Y, batch_size=16, verbose=0)
        runs.append(model.get_weights())
    assert_same(runs[1], runs[0], rtol=0, atol=0)


def test_subclassed_network_trains_and_predicts():
    model = wrap(Subclassed(), aggregator="pcgrad")
    logs = model.fit(X, Y, batch_size=16, epochs=5, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
    predictions = model.predict(X, verbose=0)
    assert {value.shape for value in predictions.values()} == {(16,)}


@pytest.mark.parametrize("aggregator", ["gradcraft", "moco", "excess_mtl"])
def test_subclassed_network_is_saved(tmp_path, aggregator):
    # The inputs are not known when it is loaded, so that the state of the rows is
    # created in the first step after that.
    model = wrap(Subclassed(), aggregator=aggregator)
    model.fit(X, Y, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(X, Y, batch_size=16, verbose=0)
    assert_same(loaded.get_weights(), model.get_weights())


def test_one_task_may_give_a_tensor():
    network = small_network()
    single = keras.Model(network.input, network.output["click"])
    model = wrap(single, PAIR[:1], aggregator="gradcraft")
    model.fit(X, Y["click"], batch_size=16, verbose=0)
    assert model.predict(X, verbose=0)["click"].shape == (16,)


def test_probabilities_train_and_predict_as_logits():
    logits = wrap(small_network())
    probabilities = wrap(small_network(activation="sigmoid"), from_logits=False)
    for model in (logits, probabilities):
        model.fit(X, Y, batch_size=16, verbose=0)
    # A logit made of a probability is rounded.
    assert_same(probabilities.get_weights(), logits.get_weights(), rtol=1e-4)
    first, second = (m.predict(X, verbose=0) for m in (logits, probabilities))
    assert_same(list(second.values()), list(first.values()), rtol=1e-4)


def test_detached_task_is_refused_unless_allowed():
    with pytest.raises(ValueError, match="no output for the tasks"):
        wrap(small_network(), [*PAIR, tf_mtl.Task("dwell")]).predict(X, verbose=0)

    # A third task, so that the others still share a layer.
    def network():
        keras.utils.set_random_seed(1)
        base = small_network(detached=True)
        third = keras.layers.Dense(1)(base.get_layer("hidden").output)
        return keras.Model(base.input, {**base.output, "share": third})

    tasks = [*PAIR, tf_mtl.Task("share")]
    labels = {**Y, "share": Y["click"]}
    model = wrap(network(), tasks, "gradcraft")
    with pytest.raises(ValueError, match=r"\['like'\].*allow_detached"):
        model.fit(X, labels, batch_size=16, verbose=0)
    model = wrap(network(), tasks, "gradcraft", allow_detached=["like"])
    model.fit(X, labels, batch_size=16, verbose=0)
    with pytest.raises(ValueError, match="`allow_detached` must name tasks"):
        wrap(network(), tasks, allow_detached=["lik"])


def test_outputs_must_fit_the_tasks():
    with pytest.raises(ValueError, match="one output per task"):
        wrap(small_network("list"), PAIR[:1]).predict(X, verbose=0)
    inputs = keras.Input((5,))
    wide = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match=r"\(batch, 1\)"):
        wrap(wide, PAIR[:1]).predict(X, verbose=0)


def test_the_representation_must_be_named_and_known():
    model = models.MultiTask(small_network(), PAIR)
    with pytest.raises(ValueError, match="representation='name of a layer'"):
        model.compile("sgd", "gradcraft", "representation")
    with pytest.raises(ValueError, match="hiden"):
        models.MultiTask(small_network(), PAIR, representation="hiden")
    with pytest.raises(ValueError, match="functional"):
        models.MultiTask(Subclassed(), PAIR, representation="hidden")


def test_representation_takes_inputs_of_other_names():
    inputs = {"a": keras.Input((5,), name="first"), "b": keras.Input((2,), name="last")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    hidden = keras.layers.Dense(4, name="hidden")(joined)
    outputs = {task.name: keras.layers.Dense(1)(hidden) for task in PAIR}
    model = models.MultiTask(
        keras.Model(inputs, outputs), PAIR, representation="hidden"
    )
    model.compile("sgd", "gradcraft", "representation", jit_compile=False)
    logs = model.fit({"a": X, "b": X[:, :2]}, Y, verbose=0).history
    assert logs["skipped_updates"] == [0]


def test_representation_gramian_is_that_of_the_cotangents():
    model = make_model("multi_task")
    model.compile("sgd", "gradcraft", "representation")
    inputs, labels = as_tensors(make_batch())
    network = model.network
    layer = network.get_layer("representation")
    probe = keras.Model(network.inputs, [layer.output, network.output])
    targets = tf_mtl.tasks.read_targets(TASKS, labels)
    seen = []

    def weigh(gramian):
        seen.append(gramian.numpy())
        return tf.ones([3])

    model.representation_backward(
        inputs, lambda out: model._task_losses(out, targets), weigh
    )
    with tf.GradientTape(persistent=True) as tape:
        representation, outputs = probe(inputs)
        flat = [outputs[task.name][:, 0] for task in TASKS]
        losses = model._task_losses(flat, targets)
    rows = [tape.gradient(loss, representation).numpy().ravel() for loss in losses]
    np.testing.assert_allclose(seen[0], np.inner(rows, rows), rtol=1e-4)
