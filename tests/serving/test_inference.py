"""Classify, Regress and MultiInference by gRPC."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    regression_pb2,
)

from tf_mtl.serving import inference
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.inference import CLASSIFY, REGRESS, classify, regress
from tf_mtl.serving.saved_model import Servable

from ..export.conftest import to_examples
from .conftest import RAW, status_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def make(cls, signature_name="", raw=RAW):
    request = cls()
    if cls is not inference_pb2.MultiInferenceRequest:
        request.model_spec.name = "feed"
        request.model_spec.signature_name = signature_name
    for example in to_examples(raw):
        request.input.example_list.examples.add().ParseFromString(example)
    return request


def classes(result):
    return [[(c.label, c.score) for c in row.classes] for row in result.classifications]


def values(result):
    return [row.value for row in result.regressions]


@pytest.fixture(scope="module")
def predicted(feed):
    return feed.predict(RAW)


def test_binary_tasks_are_the_classes(stub, predicted):
    response = stub.Classify(make(classification_pb2.ClassificationRequest))
    found = classes(response.result)
    assert [[label for label, _ in row] for row in found] == [["click", "like"]] * 4
    scores = [[score for _, score in row] for row in found]
    expected = np.stack([predicted["click"], predicted["like"]], axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert response.model_spec.signature_name == "serve_examples"


def test_one_binary_task_has_classes_0_and_1(stub, predicted):
    request = make(classification_pb2.ClassificationRequest, "like")
    found = classes(stub.Classify(request).result)
    assert [label for label, _ in found[0]] == ["0", "1"]
    scores = np.array([[score for _, score in row] for row in found])
    np.testing.assert_allclose(scores[:, 1], predicted["like"], rtol=1e-6)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "task"), [("", "dwell time"), ("dwell time", "dwell time"), ("like",) * 2]
)
def test_regress_gives_the_output_of_a_task(stub, predicted, name, task):
    response = stub.Regress(make(regression_pb2.RegressionRequest, name))
    np.testing.assert_allclose(values(response.result), predicted[task], rtol=1e-6)


def test_context_is_part_of_every_example(stub, feed):
    request = make(regression_pb2.RegressionRequest)
    examples = list(request.input.example_list.examples)
    with_context = request.input.example_list_with_context
    context = tf.train.Example()
    context.features.feature["city"].bytes_list.value.append(b"Oslo")
    with_context.context.CopyFrom(context)
    for example in examples:
        example.features.feature.pop("city", None)
        with_context.examples.append(example)
    raw = RAW | {"city": np.array(["Oslo"] * 4)}
    expected = feed.predict(raw)["dwell time"]
    np.testing.assert_allclose(
        values(stub.Regress(request).result), expected, rtol=1e-6
    )


def test_multi_inference_answers_each_task(stub, predicted):
    request = make(inference_pb2.MultiInferenceRequest)
    for name, method in (("dwell time", REGRESS), ("click", CLASSIFY), ("", CLASSIFY)):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "feed", name
    results = stub.MultiInference(request).results
    assert [r.WhichOneof("result") for r in results] == [
        "regression_result",
        "classification_result",
        "classification_result",
    ]
    np.testing.assert_allclose(
        values(results[0].regression_result), predicted["dwell time"], rtol=1e-6
    )
    assert classes(results[1].classification_result)[0][1][0] == "1"
    assert classes(results[2].classification_result)[0][1][0] == "like"


@pytest.mark.parametrize("name", ["dwell time", "no task"])
def test_only_binary_tasks_are_classified(stub, name):
    request = make(classification_pb2.ClassificationRequest, name)
    code, details = status_of(stub.Classify, request)
    assert code == INVALID
    assert "['click', 'like']" in details


def test_no_examples_are_the_clients_error(stub):
    request = make(classification_pb2.ClassificationRequest)
    request.ClearField("input")
    assert status_of(stub.Classify, request) == (INVALID, "Input is empty.")


def test_multi_inference_is_about_one_model(stub):
    request = make(inference_pb2.MultiInferenceRequest)
    assert status_of(stub.MultiInference, request)[0] == INVALID
    for name in ("feed", "food"):
        request.tasks.add(method_name=CLASSIFY).model_spec.name = name
    assert "same model" in status_of(stub.MultiInference, request)[1]


def test_multi_inference_is_about_one_version(stub):
    def ask(*specs):
        request = make(inference_pb2.MultiInferenceRequest)
        for spec in specs:
            task = request.tasks.add(method_name=CLASSIFY)
            task.model_spec.CopyFrom(model_pb2.ModelSpec(name="feed", **spec))
        return request

    first, second = {"version": {"value": 1}}, {"version": {"value": 2}}
    stable = {"version_label": "stable"}
    for specs in ([first, second], [{}, first], [first, stable]):
        code, message = status_of(stub.MultiInference, ask(*specs))
        assert (code, "the same version" in message) == (INVALID, True)
    for specs in ([first, first], [first, {}]):
        assert len(stub.MultiInference(ask(*specs)).results) == 2


class _Estimator(tf.Module):
    """A model with signatures for classification and regression."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})
        labels = tf.tile([["bad", "good"]], [tf.size(inputs), 1])
        return {"classes": labels, "scores": tf.stack([1 - x["x"], x["x"]], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})
        return {"outputs": 2.0 * x["x"][:, None]}


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("estimator"))
    module = _Estimator()
    signatures = {"serving_default": module.classify, "twice": module.regress}
    tf.saved_model.save(module, folder, signatures)
    servable = Servable(folder)
    # TensorFlow 2 writes them all as `predict`; estimators wrote these.
    for name, method in (("serving_default", CLASSIFY), ("twice", REGRESS)):
        signature = servable.signatures[name]._replace(method_name=method)
        servable.signatures[name] = signature
    yield servable
    servable.close()


def make_x(cls, signature_name=""):
    request = cls()
    request.model_spec.signature_name = signature_name
    for value in (0.25, 0.75):
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_classification_signature_is_used(estimator):
    response = classify(estimator, make_x(classification_pb2.ClassificationRequest))
    assert classes(response.result) == [
        [("bad", 0.75), ("good", 0.25)],
        [("bad", 0.25), ("good", 0.75)],
    ]


def test_regression_signature_is_used(estimator):
    request = make_x(regression_pb2.RegressionRequest, "twice")
    assert values(regress(estimator, request).result) == [0.5, 1.5]


@pytest.fixture
def narrow(feed):
    servable = Servable(feed.folder, max_rows=3)
    yield servable
    servable.close()


@pytest.mark.parametrize(
    ("cls", "call"),
    [
        (classification_pb2.ClassificationRequest, classify),
        (regression_pb2.RegressionRequest, regress),
    ],
)
def test_too_many_examples_are_refused(narrow, cls, call):
    with pytest.raises(RequestError, match="at most 3 rows. Received: 4"):
        call(narrow, make(cls))
    request = make(cls, raw={name: column[:3] for name, column in RAW.items()})
    assert call(narrow, request).result


def test_context_does_not_make_a_request_large(estimator, monkeypatch):
    request = make_x(regression_pb2.RegressionRequest, "twice")
    examples = list(request.input.example_list.examples)
    given = request.input.example_list_with_context
    given.examples.extend(examples)
    given.context.features.feature["y"].bytes_list.value.append(b"y" * 50)
    assert values(regress(estimator, request).result) == [0.5, 1.5]
    monkeypatch.setattr(inference, "_MAX_CONTEXT_BYTES", 100)
    with pytest.raises(RequestError, match="`context` must have at most 100 bytes"):
        regress(estimator, request)
