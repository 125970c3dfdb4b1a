import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.experiments.config import TrainConfig
from tf_mtl.experiments.data import prepare
from tf_mtl.experiments.evaluation import evaluate_saved_model
from tf_mtl.experiments.training import train
from tf_mtl.export.versions import find_saved_model


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise Killed


def numbers(result):
    return {key: result[key] for key in ("test", "validation", "train")}


def test_run_writes_everything_and_the_export_gives_the_same_numbers(config, tmp_path):
    config = dataclasses.replace(config, monitor_every=2)
    result = train(config, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    assert set(result) == {"test", "validation", "train", "throughput", "config"}
    assert set(result["test"]["click"]) == {"auc", "log_loss", "num_known"}
    assert result["test"]["click"]["num_known"] == 100
    assert result["config"] == dataclasses.asdict(config)
    assert len(result["train"]["history"]) == result["train"]["epochs"] == 3
    assert result["throughput"]["rows_per_second"] > 0
    assert (tmp_path / "logs" / "conflicts" / "conflicts.png").stat().st_size > 1000
    assert list((tmp_path / "logs" / "train").iterdir())
    assert find_saved_model(tmp_path) == tmp_path / "saved_model" / "1"
    info_file = tmp_path / "saved_model" / "1" / "assets.extra" / "model_info.json"
    provenance = json.loads(info_file.read_text())["provenance"]
    assert provenance["metrics"]["test"] == result["test"]
    assert provenance["num_rows"] == {"train": 270, "validation": 30, "test": 100}
    assert len(provenance["fingerprint"]) == 64
    assert provenance["choices"]["learning_rate"] == 0.01
    found = evaluate_saved_model(tmp_path, "tiny")
    for task, metrics in result["test"].items():
        for name, value in metrics.items():
            np.testing.assert_allclose(found[task][name], value, atol=1e-6)


def test_resumed_run_gives_the_numbers_of_one_that_was_not_stopped(config, tmp_path):
    whole = train(config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", extra_callbacks=[KillAt(epoch=2)])
    assert not (tmp_path / "killed" / "metrics.json").exists()
    with pytest.raises(FileExistsError, match="an unfinished run"):
        train(config, tmp_path / "killed")
    # Data may lie elsewhere on another machine.
    config = dataclasses.replace(config, data_dir="elsewhere")
    other = dataclasses.replace(config, learning_rate=0.5)
    with pytest.raises(ValueError, match="learning_rate: 0.01 then, 0.5 now"):
        train(other, tmp_path / "killed", resume=True)
    resumed = train(config, tmp_path / "killed", resume=True)
    assert numbers(resumed) == numbers(whole)
    with pytest.raises(FileExistsError, match="a finished run.*--overwrite"):
        train(config, tmp_path / "killed")
    assert train(config, tmp_path / "killed", resume=True) == resumed


def test_files_that_are_no_run_are_left_alone(config, tmp_path):
    (tmp_path / "saved_model" / "7").mkdir(parents=True)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"\['saved_model'\].*no run"):
            train(config, tmp_path, overwrite=overwrite)
    assert (tmp_path / "saved_model" / "7").exists()


def test_wrong_folder_of_the_data_leaves_no_run_behind(tmp_path):
    config = TrainConfig(manual_dir=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_export_is_calibrated_on_validation_rows_and_has_a_score(config, tmp_path):
    plain = train(config, tmp_path / "plain")
    asked = dataclasses.replace(config, calibration="platt", score="click + 2 * buy")
    result = train(asked, tmp_path / "asked")
    # The metrics are those of the model itself.
    assert numbers(result) == numbers(plain)
    version = find_saved_model(tmp_path / "asked")
    info = json.loads((version / "assets.extra" / "model_info.json").read_text())
    assert info["calibration"]["tasks"]["click"]["num_known"] == 30
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = serve(
        city=tf.constant([b"Rome"]),
        item=tf.constant([3], tf.int64),
        price=tf.constant([2.0]),
    )
    np.testing.assert_allclose(answer["score"], answer["click"] + 2 * answer["buy"])
    before, after = (
        evaluate_saved_model(tmp_path / name, "tiny")["click"]
        for name in ("plain", "asked")
    )
    assert after["auc"] == pytest.approx(before["auc"])
    assert after["log_loss"] != before["log_loss"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"score": "click + bought"}, "Received: score='bought'"),
        (
            {"calibration": "isotonic", "validation_fraction": 0.01},
            "two known labels of each class",
        ),
    ],
)
def test_export_that_cannot_be_as_asked_fails_before_training(
    config, tmp_path, choices, message
):
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(config, **choices), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_rows_are_seeded_and_no_training_rows(config):
    data = prepare(config)
    assert [len(data.train), len(data.validation), len(data.test)] == [270, 30, 100]
    again, other = prepare(config), prepare(dataclasses.replace(config, seed=1))
    rows = data.validation.inputs["price"].numpy()
    np.testing.assert_array_equal(rows, again.validation.inputs["price"])
    assert not np.array_equal(rows, other.validation.inputs["price"])
    # The price is continuous: no value is in both parts.
    assert not set(rows.ravel()) & set(data.train.inputs["price"].numpy().ravel())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"dataset": "nope"}, r"`dataset` must be one of \[.*census_income"),
        ({"model": "nope"}, r"`model` must be one of \[.*mmoe"),
        ({"aggregator": "nope"}, r"`aggregator` must be one of \[.*gradcraft"),
        ({"optimizer": "nope"}, r"`optimizer` must be one of \[.*lazy_adam"),
        ({"surface": "nope"}, "`surface` must be one of"),
        ({"model_args": {"experts": 3}}, r"`model_args`.*num_experts.*'experts'"),
        ({"aggregator_args": {"nope": 3}}, r"`aggregator_args`.*tau.*'nope'"),
        ({"calibration": "line"}, r"`calibration` must be one of .*platt"),
        ({"score": "click +"}, "`formula` must be an expression"),
        ({"epochs": 0}, "`epochs` must be at least 1. Received: epochs=0"),
        ({"validation_fraction": 1.0}, "`validation_fraction` must be between"),
    ],
)
def test_wrong_choices_fail_before_data_is_read(choice, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**choice)
