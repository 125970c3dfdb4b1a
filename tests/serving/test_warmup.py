"""Warm-up requests are replayed when a model is loaded."""

import pathlib
import shutil

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tf_mtl.serving import warmup
from tf_mtl.serving.saved_model import Servable

from .conftest import RAW, examples_request


@pytest.fixture
def copy(feed, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(feed.folder, folder)
    return folder


def write(folder, records):
    path = pathlib.Path(folder, warmup.FILE)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def predict_log(request):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()


def count_replayed(folder):
    servable = Servable(folder)
    try:
        return warmup.warm_up(servable)
    finally:
        servable.close()


def test_requests_are_replayed(copy):
    assert count_replayed(copy) == 0
    write(copy, [predict_log(examples_request(RAW))] * 3)
    assert count_replayed(copy) == 3


def test_at_most_1000_are_replayed(copy, monkeypatch):
    monkeypatch.setattr(warmup, "_MAX_RECORDS", 2)
    write(copy, [predict_log(examples_request(RAW))] * 3)
    assert count_replayed(copy) == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff", "Request 1"),
        (b"", "log of type None"),
        (predict_log(examples_request(RAW))[:-3], "Request 1"),
    ],
)
def test_request_that_is_refused_is_an_error(copy, record, message):
    write(copy, [predict_log(examples_request(RAW)), record])
    with pytest.raises(ValueError, match=f"(?s)Warm-up requests must.*{message}"):
        count_replayed(copy)
