"""Saved, loaded and continued = not interrupted."""

import keras
import pytest

import tf_mtl
from tf_mtl import aggregators

from .problem import assert_same, is_different, make_batch, make_dataset, make_model

CASES = {
    "average_of_norms": (
        "mmoe",
        lambda: aggregators.get("gradcraft", norm_ema=0.9),
        lambda: tf_mtl.optimizers.LazyAdam(0.01),
    ),
    "random_order": (
        "shared_bottom",
        lambda: aggregators.get("pcgrad", seed=3),
        lambda: keras.optimizers.Adam(0.01),
    ),
    "random_order_of_random_weights": (
        "shared_bottom",
        lambda: aggregators.get("pcgrad", seed=3, loss_weighting="rlw"),
        lambda: keras.optimizers.SGD(0.1),
    ),
    "network": (
        "multi_task",
        lambda: aggregators.get("gradcraft", norm_ema=0.9),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    ),
    "single_task": ("single_task", lambda: "ew", lambda: tf_mtl.optimizers.LazyAdam()),
}
every_case = pytest.mark.parametrize("case", CASES)
DATASETS = [make_dataset(2, seed=seed) for seed in (0, 1)]


def make(case, seed=0):
    name, aggregator, optimizer = CASES[case]
    model = make_model(name, seed=seed, dropout=0.5)
    model.compile(optimizer(), aggregator(), jit_compile=False)
    return model


def train(model, dataset):
    model.fit(dataset, verbose=0)


def state(model):
    """Everything that the next step depends on."""
    return [
        v.numpy()
        for v in [
            *model.weights,
            *model.optimizer.variables,
            *model.aggregator.variables,
        ]
    ]


@pytest.fixture(scope="module")
def uninterrupted():
    """The state after each data set, by case."""
    found = {}
    for case in CASES:
        model = make(case)
        found[case] = []
        for dataset in DATASETS:
            train(model, dataset)
            found[case].append(state(model))
    return found


@every_case
def test_saved_model_continues(case, tmp_path, uninterrupted):
    model = make(case)
    train(model, DATASETS[0])
    model.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(99)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(state(loaded), uninterrupted[case][0], rtol=0, atol=0)
    train(loaded, DATASETS[1])
    assert_same(state(loaded), uninterrupted[case][1])
    assert loaded.surface == model.surface
    assert loaded.aggregator.get_config() == model.aggregator.get_config()


@every_case
def test_saved_weights_continue_in_a_freshly_compiled_model(
    case, tmp_path, uninterrupted
):
    model = make(case)
    train(model, DATASETS[0])
    model.save_weights(tmp_path / "model.weights.h5")
    other = make(case, seed=1)
    other.load_weights(tmp_path / "model.weights.h5")
    train(other, DATASETS[1])
    assert_same(state(other), uninterrupted[case][1])


class Interrupt(keras.callbacks.Callback):
    """Fails at a step of the second epoch, as a killed run does."""

    def __init__(self):
        super().__init__()
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 0:
            raise InterruptedError


@pytest.mark.parametrize("case", ["average_of_norms", "random_order"])
def test_backup_and_restore_continues_an_interrupted_fit(case, tmp_path):
    dataset = make_dataset(2)

    def fit(model, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        model.fit(dataset, epochs=3, verbose=0, callbacks=[backup, *callbacks])

    expected = make(case)
    expected.fit(dataset, epochs=3, verbose=0)
    with pytest.raises(InterruptedError):
        fit(make(case), Interrupt())
    restarted = make(case, seed=1)
    fit(restarted)
    assert_same(state(restarted), state(expected))


def test_dropout_and_random_order_do_matter(uninterrupted):
    model = make("random_order")
    train(model, DATASETS[0])
    other = make("random_order", seed=1)
    other.set_weights(model.get_weights())
    train(other, DATASETS[1])
    assert is_different(other.get_weights(), uninterrupted["random_order"][1])


@every_case
def test_config_round_trip_predicts_the_same(case):
    model = make(case)
    clone = type(model).from_config(model.get_config())
    inputs, _ = make_batch()
    model.predict(inputs, verbose=0)
    if not clone.built:
        clone.build()
    clone.set_weights(model.get_weights())
    actual, expected = (m.predict(inputs, verbose=0) for m in (clone, model))
    assert_same(list(actual.values()), list(expected.values()))
