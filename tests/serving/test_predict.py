"""Predict by gRPC: the official client gets what the model predicts."""

import re

import grpc
import numpy as np
import pytest
import tensorflow as tf

from .conftest import (
    RAW,
    ROWS,
    columns_request,
    examples_request,
    status_of,
    take,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def assert_predicted(response, predicted):
    assert set(response.outputs) == set(predicted)
    for name, proto in response.outputs.items():
        # Many clients read this field, which TensorFlow Serving fills.
        assert len(proto.float_val) == len(predicted[name])
        np.testing.assert_allclose(
            tf.make_ndarray(proto), predicted[name], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("batch", ROWS)
def test_columns_and_examples_are_answered_as_by_predict(stub, feed, batch):
    # RAW has unknown ids in its second row, and nothing in its third.
    raw = take(ROWS[batch])
    predicted = feed.predict(raw)
    assert_predicted(stub.Predict(columns_request(feed, raw)), predicted)
    assert_predicted(stub.Predict(examples_request(raw)), predicted)


def test_empty_batch_has_empty_answers(stub):
    response = stub.Predict(examples_request(take([])))
    assert list(response.outputs["click"].tensor_shape.dim)[0].size == 0


def test_response_says_what_answered(stub, feed):
    spec = stub.Predict(columns_request(feed, RAW)).model_spec
    assert (spec.name, spec.version.value) == ("feed", 1)
    assert spec.signature_name == "serving_default"


def test_version_can_be_named(stub, feed):
    request = columns_request(feed, RAW)
    request.model_spec.version.value = 1
    assert stub.Predict(request).model_spec.version.value == 1


def test_output_filter_selects_outputs(stub, feed):
    request = columns_request(feed, RAW)
    request.output_filter.append("like")
    response = stub.Predict(request)
    assert list(response.outputs) == ["like"]
    np.testing.assert_allclose(
        tf.make_ndarray(response.outputs["like"]), feed.predict(RAW)["like"], rtol=1e-6
    )


def change(**fields):
    def apply(request):
        for name, value in fields.items():
            setattr(request.model_spec, name, value)

    return apply


def spoil_input(request):
    del request.inputs["city"]
    request.inputs["town"].CopyFrom(tf.make_tensor_proto(["Rome"]))


def spoil_dtype(request):
    request.inputs["code"].CopyFrom(tf.make_tensor_proto([1.0] * 4))


def spoil_rank(request):
    request.inputs["code"].CopyFrom(tf.make_tensor_proto(np.zeros([4, 1], np.int64)))


def spoil_batch(request):
    request.inputs["code"].CopyFrom(tf.make_tensor_proto(np.zeros(3, np.int64)))


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (change(name=""), INVALID, "Missing ModelSpec"),
        (change(name="food"), grpc.StatusCode.NOT_FOUND, r"Latest\(food\)"),
        (
            lambda r: setattr(r.model_spec.version, "value", 9),
            grpc.StatusCode.NOT_FOUND,
            r"Specific\(feed, 9\)",
        ),
        (change(version_label="stable"), INVALID, "servable version label: stable"),
        (
            change(signature_name="no"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'signature key "no" not found',
        ),
        (spoil_input, INVALID, r"extra: \['town'\]. Missing but required: \['city'\]"),
        (spoil_dtype, INVALID, "'code' must be of type int64. Received: float32"),
        (spoil_rank, INVALID, r"'code' must have shape \(None,\)"),
        (spoil_batch, INVALID, ""),
        (lambda r: r.output_filter.append("x"), INVALID, "alias not found.*: x"),
        (lambda r: r.output_filter.extend(["like"] * 2), INVALID, "duplicate output"),
    ],
)
def test_wrong_request_gets_the_code_of_tensorflow_serving(
    stub, feed, spoil, code, message
):
    request = columns_request(feed, RAW)
    spoil(request)
    found, details = status_of(stub.Predict, request)
    assert found == code
    assert re.search(message, details)


def test_example_that_cannot_be_parsed_is_the_clients_error(stub):
    request = examples_request(RAW)
    request.inputs["examples"].string_val[0] = b"\xff"
    assert status_of(stub.Predict, request)[0] == INVALID


def test_bytes_that_are_no_request_are_the_clients_error(channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, details = status_of(call, b"\xff\xff\xff")
    assert code == INVALID
    assert "tensorflow.serving.PredictRequest" in details


def test_unknown_method_is_unimplemented(channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    assert status_of(call, b"")[0] == grpc.StatusCode.UNIMPLEMENTED


def test_tiny_request_for_many_rows_is_refused(stub):
    request = examples_request(take([]))
    examples = request.inputs["examples"]
    examples.tensor_shape.dim[0].size = 2**24
    examples.string_val.append(b"")
    code, details = status_of(stub.Predict, request)
    assert code == INVALID
    assert "at most 65536 rows. Received: 16777216" in details


def test_long_error_reaches_the_client(stub):
    request = examples_request(RAW, model="ü" * 2000)
    code, details = status_of(stub.Predict, request)
    assert code == grpc.StatusCode.NOT_FOUND
    assert "Latest(üü" in details
    assert 990 < len(details.encode()) <= 1000
