"""Warm-up: requests that a model answers before clients see it."""

import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.inference import classify, multi_inference, regress
from tf_mtl.serving.predict import predict
from tf_mtl.serving.saved_model import Servable

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000

_logger = logging.getLogger(__name__)


def warm_up(servable: Servable) -> int:
    """Replays the warm-up requests of a SavedModel.

    They are `PredictionLog` records in `assets.extra/tf_serving_warmup_requests`, as
    for TensorFlow Serving; at most 1000 are replayed. Without the file nothing is done.

    Args:
        servable: the loaded model.

    Returns:
        int, number of requests.

    Raises:
        ValueError: if the file is damaged, or the model refuses a request: what it was
            exported with it must be able to answer.
    """
    path = os.path.join(servable.folder, FILE)
    if not os.path.isfile(path):
        return 0
    count = 0
    try:
        for function, request in itertools.islice(_requests(path), _MAX_RECORDS):
            function(servable, request)
            count += 1
    except (RequestError, DecodeError, tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"Warm-up requests must be such that the model answers. Request {count} of "
            f"{path!r}: {error}"
        ) from error
    _logger.info("%s: replayed %d warm-up requests.", servable.folder, count)
    return count


def _requests(path: str) -> Iterator[tuple[Any, Any]]:
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind not in _FUNCTIONS:
            raise ValueError(f"a log of type {kind!r}, not one of {list(_FUNCTIONS)}")
        yield _FUNCTIONS[kind], getattr(log, kind).request


_FUNCTIONS = {
    "predict_log": predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_inference,
}
