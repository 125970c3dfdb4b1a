"""Malformed requests without an end, from a seed."""

import random
import struct

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tf_mtl.serving.inference import CLASSIFY, REGRESS

from ..export.conftest import to_examples
from .conftest import RAW, columns_request, examples_request

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
# A request that was changed at random may still be right.
ALLOWED = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
}


class Attacker:
    """Makes malformed requests; a few of them happen to be right.

    Args:
        feed: the saved model.
        seed: int.
    """

    def __init__(self, feed, seed):
        self._random = random.Random(seed)
        self._examples = to_examples(RAW)
        self._good = [
            (_PREDICTION + "Predict", columns_request(feed, RAW)),
            (_PREDICTION + "Predict", examples_request(RAW)),
            *self._others(),
        ]
        self._kinds = [
            self._noise,
            self._flipped,
            self._truncated,
            self._wrong_tensor,
            self._wrong_spec,
            self._wrong_examples,
            self._reload,
        ]

    def request(self):
        """Path and bytes of the next request."""
        return self._random.choice(self._kinds)()

    def body(self):
        """Bytes of the next REST body."""
        good = b'{"signature_name": "serve_examples", "instances": [{"b64": "CgA="}]}'
        kind = self._random.randrange(4)
        if kind == 0:
            return self._bytes(200)
        if kind == 1:
            return self._flip(good)
        if kind == 2:
            return good[: self._random.randrange(len(good))]
        values = [
            "1",
            '"a"',
            "null",
            "[]",
            "[[1], 2]",
            "{}",
            "NaN",
            "1e999",
            "-1",
            "[" * 9,
        ]
        key = self._random.choice(["instances", "inputs", "examples", "x"])
        column = self._random.choice(["city", "code", "tags", "examples"])
        value = self._random.choice(values)
        return f'{{"{key}": [{{"{column}": {value}}}]}}'.encode()

    def _others(self):
        for name, cls in (
            ("Classify", classification_pb2.ClassificationRequest),
            ("Regress", regression_pb2.RegressionRequest),
        ):
            request = cls()
            request.model_spec.name = "feed"
            self._fill(request.input)
            yield _PREDICTION + name, request
        request = inference_pb2.MultiInferenceRequest()
        for method in (CLASSIFY, REGRESS):
            request.tasks.add(method_name=method).model_spec.name = "feed"
        self._fill(request.input)
        yield _PREDICTION + "MultiInference", request
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "feed"
        request.metadata_field.append("signature_def")
        yield _PREDICTION + "GetModelMetadata", request
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "feed"
        yield _MODEL + "GetModelStatus", request

    def _fill(self, given):
        for example in self._examples:
            given.example_list.examples.add().ParseFromString(example)

    def _bytes(self, most):
        return self._random.randbytes(self._random.randrange(most + 1))

    def _flip(self, data):
        data = bytearray(data)
        for _ in range(self._random.randint(1, 5)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(data)

    def _noise(self):
        path, _ = self._random.choice(self._good)
        return path, self._bytes(200)

    def _flipped(self):
        path, request = self._random.choice(self._good)
        return path, self._flip(request.SerializeToString())

    def _truncated(self):
        path, request = self._random.choice(self._good)
        data = request.SerializeToString()
        return path, data[: self._random.randrange(len(data))]

    def _copy(self, index=None):
        path, request = (
            self._random.choice(self._good) if index is None else self._good[index]
        )
        copy = type(request)()
        copy.CopyFrom(request)
        return path, copy

    def _wrong_tensor(self):
        path, request = self._copy(self._random.choice([0, 1]))
        name = self._random.choice(
            [*request.inputs, "x" * self._random.choice([1, 10**6])]
        )
        proto = request.inputs[name]
        proto.dtype = self._random.choice(
            [proto.dtype, self._random.randrange(-1, 140)]
        )
        sizes = [-(2**63), -1, 0, 1, 3, 4, 2**17, 2**20, 2**24, 2**40, 2**63 - 1]
        if self._random.random() < 0.5:
            proto.tensor_shape.ClearField("dim")
        for _ in range(self._random.choice([0, 1, 2, 300])):
            proto.tensor_shape.dim.add().size = self._random.choice(sizes)
        proto.tensor_shape.unknown_rank = self._random.random() < 0.1
        if self._random.random() < 0.5:
            proto.tensor_content = self._bytes(100)
        if self._random.random() < 0.2:
            proto.string_val.append(b"x" * self._random.choice([1, 10**6]))
        if self._random.random() < 0.2:
            proto.int64_val.extend([2**62] * self._random.randrange(5))
        return path, request.SerializeToString()

    def _wrong_spec(self):
        path, request = self._copy(self._random.choice([0, 1, 2, 3]))
        spec = request.model_spec
        text = self._random.choice(["", "x", "feed", "click", "\x00", "ü" * 1000])
        kind = self._random.randrange(4)
        if kind == 0:
            spec.name = text
        elif kind == 1:
            spec.signature_name = text
        elif kind == 2:
            spec.version_label = text
        else:
            spec.version.value = self._random.choice([-1, 0, 2, 2**63 - 1])
        if isinstance(request, predict_pb2.PredictRequest):
            request.output_filter.extend([text] * self._random.randrange(3))
        return path, request.SerializeToString()

    def _wrong_examples(self):
        path, request = self._copy(1)
        examples = request.inputs["examples"].string_val
        position = self._random.randrange(len(examples))
        kind = self._random.randrange(3)
        if kind == 0:
            examples[position] = self._bytes(100)
        elif kind == 1:
            examples[position] = self._flip(examples[position] or b"x")
        else:
            example = tf.train.Example()
            name = self._random.choice(list(RAW))
            feature = example.features.feature[name]
            field = self._random.choice(["int64_list", "float_list", "bytes_list"])
            values = {
                "int64_list": [2**63 - 1, -(2**63)],
                "float_list": [np.inf, np.nan],
                "bytes_list": [b"\xff" * self._random.choice([1, 10**5])],
            }
            count = self._random.randrange(3)
            getattr(feature, field).value.extend(values[field] * count)
            examples[position] = example.SerializeToString()
        return path, request.SerializeToString()

    def _reload(self):
        request = model_management_pb2.ReloadConfigRequest()
        if self._random.random() < 0.5:
            config = request.config.model_config_list.config
            config.add(name=self._random.choice(["", "feed", "/"]), base_path="/absent")
        return _MODEL + "HandleReloadConfigRequest", request.SerializeToString()


def half_request(path):
    """Bytes of an HTTP/2 connection with a gRPC request that does not go on."""

    def frame(kind, flags, stream, payload):
        head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
        return head + struct.pack(">I", stream) + payload

    def literal(name, value):
        return b"".join([b"\x00", bytes([len(name)]), name, bytes([len(value)]), value])

    headers = b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    message = b"\x00" + struct.pack(">I", 1000) + b"0123456789"
    return b"".join(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            frame(4, 0, 0, b""),
            *(
                frame(1, 4, stream, headers) + frame(0, 0, stream, message)
                for stream in range(1, 100, 2)
            ),
        ]
    )
