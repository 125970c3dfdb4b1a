"""Warm-up requests: what is written is what the signatures answer."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tf_mtl import MultiTask, Task, export
from tf_mtl.export import warmup

from .conftest import RAW, to_examples


def read_requests(folder):
    path = pathlib.Path(folder, "assets.extra", "tf_serving_warmup_requests")
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    return [log.predict_log.request for log in logs]


def inputs_of(request):
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


def test_each_signature_gets_one_row_and_all_rows(trained, tmp_path):
    score = export.Score.weighted_sum({"click": 1.0, "dwell time": 2.5})
    folder = export.save(trained.model, tmp_path, score=score, warmup=RAW)
    requests = read_requests(folder)
    signatures = tf.saved_model.load(folder).signatures
    names = [request.model_spec.signature_name for request in requests]
    assert sorted(names) == sorted(2 * list(signatures))
    sizes = []
    for request, name in zip(requests, names, strict=True):
        inputs = inputs_of(request)
        answer = signatures[name](**{n: tf.constant(v) for n, v in inputs.items()})
        sizes.append(len(answer["score"]))
        if name.endswith("_weighted"):
            np.testing.assert_array_equal(inputs["w_dwell_time"], [2.5] * sizes[-1])
    assert sizes == [1] * 4 + [4] * 4
    all_columns = inputs_of(requests[names.index("serving_default", 4)])
    assert [city.decode() for city in all_columns["city"]] == RAW["city"].tolist()
    np.testing.assert_array_equal(all_columns["hours-per-week"], RAW["hours-per-week"])
    assert all_columns["code"].dtype == np.int64
    examples = inputs_of(requests[names.index("serve_examples", 4)])["examples"]
    assert len(examples) == len(to_examples(RAW))


def test_network_without_features_is_warmed_up_by_its_inputs(tmp_path):
    inputs = keras.Input((3,), name="vector")
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    rows = {"vector": np.ones((2, 3))}
    folder = export.save(MultiTask(network, [Task("click")]), tmp_path, warmup=rows)
    one, both = map(inputs_of, read_requests(folder))
    assert one["vector"].shape == (1, 3)
    np.testing.assert_array_equal(both["vector"], np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    "rows",
    [
        {"city": RAW["city"]},
        RAW | {"zip": RAW["code"]},
        {name: column[:0] for name, column in RAW.items()},
        RAW | {"code": RAW["code"][:2]},
    ],
    ids=["missing column", "unknown column", "no row", "lengths"],
)
def test_rows_that_are_no_requests_are_refused(rows, trained, tmp_path):
    with pytest.raises(ValueError, match="`warmup` must hold|of one length"):
        export.save(trained.model, tmp_path, warmup=rows)
    assert not list(tmp_path.iterdir())


def test_missing_extra_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "can_write_warmup", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"'\.\[serving\]' in a checkout"):
        export.save(trained.model, tmp_path, warmup=RAW)
    assert not list(tmp_path.iterdir())
