"""A run that is saved, loaded into a new model and resumed equals one that was not."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.integrations.tfrs import LazyAdam

from .problem import Joint, make_data

FIRST, SECOND = make_data(rows=48), make_data(rows=48, seed=1)


def make(aggregator):
    model = Joint(seed=7)
    model.compile(LazyAdam(0.05), aggregator=aggregator)
    return model


def by_save_weights(model, path):
    model.save_weights(path)
    return lambda new: new.load_weights(path)


def by_checkpoint(model, path):
    written = tf.train.Checkpoint(model=model).write(path)
    return lambda new: tf.train.Checkpoint(model=new).restore(written)


# Moving averages of rows, also of tables; and a random seed.
@pytest.mark.parametrize(
    ("aggregator", "save"),
    [("moco", by_save_weights), ("moco", by_checkpoint), ("rlw", by_checkpoint)],
)
def test_resumed_equals_uninterrupted(aggregator, save, tmp_path):
    model = make(aggregator)
    model.fit(FIRST, verbose=0)
    restore = save(model, str(tmp_path / "run"))
    model.fit(SECOND, verbose=0)

    resumed = make(aggregator)
    restore(resumed)
    resumed.fit(SECOND, verbose=0)
    for value, expected in zip(resumed.weights, model.weights, strict=True):
        np.testing.assert_array_equal(value.numpy(), expected.numpy())
    for value, expected in zip(
        resumed.aggregator.variables, model.aggregator.variables, strict=True
    ):
        np.testing.assert_array_equal(value.numpy(), expected.numpy())


def test_weights_alone_do_not_resume_a_run():
    model = make("moco")
    model.fit(FIRST, verbose=0)
    weights = model.get_weights()
    model.fit(SECOND, verbose=0)
    other = make("moco")
    other.compute_losses(next(iter(FIRST)))  # Creates the weights.
    other.set_weights(weights)
    other.fit(SECOND, verbose=0)
    pairs = zip(other.get_weights(), model.get_weights(), strict=True)
    assert not all(np.array_equal(value, expected) for value, expected in pairs)
