"""compile, fit, evaluate, predict and callbacks do what Keras users expect."""

import keras
import numpy as np
import pytest
import sklearn.metrics

import tf_mtl
from tf_mtl import models

from .problem import (
    ARCHITECTURES,
    TASKS,
    as_tensors,
    assert_same,
    is_different,
    make_batch,
    make_dataset,
    make_model,
)

METRICS = ["click_auc", "like_auc", "dwell_rmse"]
LOSSES = ["loss", "click_loss", "like_loss", "dwell_loss"]


@pytest.fixture(scope="module")
def model():
    """A model that is trained no further."""
    model = make_model("mmoe", dropout=0.5)
    model.compile(keras.optimizers.Adam(0.05), "gradcraft", jit_compile=False)
    model.fit(make_dataset(), epochs=10, verbose=0)
    return model


@pytest.fixture
def eager_model():
    model = make_model("shared_bottom")
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def test_history_holds_losses_and_validation_metrics(eager_model):
    logs = eager_model.fit(
        make_dataset(), validation_data=make_dataset(1, seed=1), verbose=0
    ).history
    validation = [f"val_{key}" for key in LOSSES + METRICS]
    assert set(logs) == {*LOSSES, "skipped_updates", *validation}


def test_train_metrics_add_the_metrics_of_the_tasks():
    model = make_model("shared_bottom")
    model.compile(
        "sgd", "gradcraft", train_metrics=True, jit_compile=False, run_eagerly=True
    )
    logs = model.fit(make_dataset(), verbose=0).history
    assert set(logs) == {*LOSSES, *METRICS, "skipped_updates", "fallbacks"}
    assert all(np.isfinite(value) for [value] in logs.values())


def test_loss_is_the_weighted_sum_of_task_losses(eager_model):
    logs = eager_model.evaluate(*make_batch(), verbose=0, return_dict=True)
    expected = sum(task.weight * logs[f"{task.name}_loss"] for task in TASKS)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-6)


def test_auc_equals_scikit_learn(model):
    inputs, labels = make_batch(400, seed=5)
    logs = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    predictions = model.predict(inputs, verbose=0)
    for name in ("click", "like"):
        expected = sklearn.metrics.roc_auc_score(labels[name], predictions[name])
        # Keras' AUC is a sum over 2000 thresholds.
        assert logs[f"{name}_auc"] == pytest.approx(expected, abs=2e-3)
    expected = np.sqrt(np.mean((labels["dwell"] - predictions["dwell"]) ** 2))
    assert logs["dwell_rmse"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 40])
def test_predict_gives_probabilities_and_values(model, rows):
    inputs, _ = make_batch(rows)
    predictions = model.predict(inputs, verbose=0)
    assert list(predictions) == ["click", "like", "dwell"]
    for values in predictions.values():
        assert values.shape == (rows,)
        assert values.dtype == np.float32
    for name in ("click", "like"):
        assert np.all((predictions[name] > 0) & (predictions[name] < 1))


def test_predict_twice_is_equal_bit_for_bit(model):
    inputs, _ = make_batch(40)
    first, second = (model.predict(inputs, verbose=0) for _ in range(2))
    assert_same(list(second.values()), list(first.values()), rtol=0, atol=0)


def test_call_gives_what_predict_is_made_of(model):
    inputs, _ = make_batch()
    outputs = model(as_tensors(inputs))
    predictions = model.predict(inputs, verbose=0)
    for task in TASKS:
        expected = task.predictions(outputs[task.name])
        np.testing.assert_allclose(predictions[task.name], expected, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_batch_of_one_row_trains(name):
    model = make_model(name)
    model.compile(keras.optimizers.SGD(0.1), "gradcraft", run_eagerly=True)
    before = model.get_weights()
    model.fit(*make_batch(1), verbose=0)
    assert is_different(model.get_weights(), before)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_early_stopping_restores_the_best_weights(eager_model):
    # Too large a step: the first epoch is the best one.
    eager_model.optimizer.learning_rate = 5.0
    stop = keras.callbacks.EarlyStopping(
        "val_loss", mode="min", patience=1, restore_best_weights=True
    )
    valid = make_dataset(1, seed=1)
    logs = eager_model.fit(
        make_dataset(), validation_data=valid, epochs=8, verbose=0, callbacks=[stop]
    ).history
    assert len(logs["loss"]) < 8
    after = eager_model.evaluate(valid, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(min(logs["val_loss"]), rel=1e-5)


def test_model_checkpoint_keeps_a_model_that_loads(eager_model, tmp_path):
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "val_click_auc", mode="max", save_best_only=True
    )
    eager_model.fit(
        make_dataset(),
        validation_data=make_dataset(1, seed=1),
        verbose=0,
        callbacks=save,
    )
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert_same(loaded.get_weights(), eager_model.get_weights(), rtol=0, atol=0)


def test_learning_rate_schedule_is_followed():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.0])
    runs = []
    for steps in (2, 4):
        model = make_model("shared_bottom")
        model.compile(keras.optimizers.SGD(schedule), "gradcraft", jit_compile=False)
        model.fit(make_dataset(4).take(steps), verbose=0)
        runs.append(model.get_weights())
    # Boundary 1: the steps 0 and 1 move, later ones do not.
    assert_same(runs[1], runs[0], rtol=0, atol=0)


def test_several_steps_per_execution_do_the_same_steps():
    runs = []
    for steps in (1, 2):
        model = make_model("shared_bottom")
        model.compile("sgd", "ew", jit_compile=False, steps_per_execution=steps)
        model.fit(make_dataset(4), verbose=0)
        runs.append(model.get_weights())
    assert_same(runs[1], runs[0])


def test_training_lowers_every_loss():
    model = make_model("mmoe")
    model.compile(tf_mtl.optimizers.LazyAdam(0.02), "gradcraft", jit_compile=False)
    logs = model.fit(make_dataset(), epochs=15, verbose=0).history
    for key in LOSSES:
        assert logs[key][-1] < logs[key][0]


def test_labels_must_hold_every_task(eager_model):
    inputs, labels = make_batch()
    del labels["like"]
    message = r"'like'.*Received columns: \['click', 'dwell'\]"
    with pytest.raises(ValueError, match=message):
        eager_model.fit(inputs, labels, verbose=0)
    with pytest.raises(ValueError, match="dict of columns"):
        eager_model.evaluate(inputs, labels["click"], verbose=0)


def test_one_task_takes_its_label_column_alone():
    inputs, labels = make_batch()
    model = make_model("shared_bottom", TASKS[:1])
    model.compile("sgd", run_eagerly=True)
    logs = [
        model.evaluate(inputs, each, verbose=0, return_dict=True)
        for each in (labels, labels["click"])
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surface": "parameter"}, r"`surface`.*\('parameters', 'representation'\)"),
        ({"aggregator": "gradcarft"}, "Did you mean 'gradcraft'"),
        (
            {
                "aggregator": "pcgrad",
                "optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2),
            },
            "gradient_accumulation_steps",
        ),
    ],
)
def test_compile_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model("shared_bottom").compile(**arguments)


def test_the_surface_must_suit_the_kind_of_aggregator():
    class Rows(tf_mtl.aggregators.RowAggregator):
        """Smallest aggregator that edits rows."""

        def _combine(self, blocks, ids, losses, present):
            return [block[0] for block in blocks]

    model = make_model("shared_bottom")
    with pytest.raises(ValueError, match="edits rows"):
        model.compile(aggregator=Rows(), surface="representation")
    model.compile(keras.optimizers.SGD(0.1), Rows(), run_eagerly=True)
    model.fit(make_dataset(1), verbose=0)


def test_models_by_name():
    assert models.names() == sorted(models.names())
    assert models.get("mmoe") is models.MMoE
    with pytest.raises(ValueError, match="Did you mean 'mmoe'"):
        models.get("mmeo")


def test_features_that_learn_must_be_adapted_first():
    model = models.SharedBottom([tf_mtl.features.Categorical("city")], TASKS)
    assert not model.built
    with pytest.raises(ValueError, match="adapt"):
        model.build()


def test_callbacks_may_come_by_position(eager_model):
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch)
    )
    inputs, labels = as_tensors(make_batch())
    eager_model.fit(inputs, labels, 8, 2, 0, callback)
    assert seen == [0, 1]


def test_task_of_weight_zero_is_not_trained_but_logged():
    tasks = [tf_mtl.Task("click"), tf_mtl.Task("like", weight=0.0)]
    model = make_model("shared_bottom", tasks=tasks)
    model.compile("sgd", run_eagerly=True)
    inputs, labels = as_tensors(make_batch())
    logs = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert logs["like_loss"] > 0
    assert logs["loss"] == pytest.approx(logs["click_loss"], rel=1e-6)
