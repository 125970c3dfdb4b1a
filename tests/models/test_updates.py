"""What a skipped step puts back, and what it need not look at."""

import keras
import numpy as np
import pytest

import tf_mtl
from tf_mtl import features, models
from tf_mtl.models.updates import changing_weights

from .problem import TASKS, as_tensors, make_batch
from .test_execution import traced_nodes

# A prime, so that the size stands out in any shape.
NUM_IDS = 100_003


def make_network():
    """A network around a frozen table in a model of its own, and running means."""
    ids = keras.Input((), dtype="int32", name="id")
    table = keras.layers.Embedding(NUM_IDS, 2, trainable=False)
    embedded = keras.Model(ids, table(ids))(ids)
    hidden = keras.layers.BatchNormalization()(embedded)
    outputs = {task.name: keras.layers.Dense(1)(hidden) for task in TASKS}
    return models.MultiTask(keras.Model({"id": ids}, outputs), TASKS)


def make_architecture():
    ids = features.IntegerRange("id", num_values=NUM_IDS - 2, embedding_dim=2)
    model = models.MMoE([ids], TASKS)
    model.embedding.trainable = False
    return model


@pytest.mark.parametrize("make", [make_network, make_architecture])
def test_cost_of_a_step_does_not_grow_with_a_frozen_table(make):
    model = make()
    assert NUM_IDS in {weight.shape[0] for weight in model.non_trainable_weights}
    model.compile(tf_mtl.optimizers.LazyAdam(), "gradcraft")
    _, labels = make_batch()
    data = as_tensors(({"id": np.arange(16, dtype="int32")}, labels))
    sized = {
        node.op
        for node in traced_nodes(model, data)
        for shape in node.attr["_output_shapes"].list.shape
        if NUM_IDS in [dim.size for dim in shape.dim]
    }
    # A read, before a gather, hands the buffer on and copies nothing.
    assert sized <= {"ReadVariableOp"}


def test_running_means_may_change_and_frozen_weights_may_not():
    found = changing_weights(make_network())
    assert [weight.name for weight in found] == ["moving_mean", "moving_variance"]
