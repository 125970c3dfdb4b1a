"""What is called: a server by gRPC, or a SavedModel in this process."""

import itertools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_mtl.loadtest import rows
from tf_mtl.loadtest.config import LoadConfig

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_NUM_BATCHES = 16
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Channels with the same options would share one connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_CONNECT_SECONDS = 10

Inputs = dict[str, Any]


def make_inputs(config: LoadConfig) -> list[Inputs]:
    """Makes the batches to ask about.

    Args:
        config: signature, batch size, and where rows come from.

    Returns:
        list of dicts of input name to a list of strings or an array.

    Raises:
        ValueError: if there is no server, model or signature, or no file of rows.
    """
    if config.examples:
        columns: Inputs = {"examples": rows.from_file(config.examples)}
    else:
        signatures = _signatures(config)
        made_up = rows.made_up(signatures["serving_default"].inputs, config.seed)
        if config.signature == "serving_default":
            columns = made_up
        else:
            columns = {"examples": rows.to_examples(made_up)}
    num_rows = len(next(iter(columns.values())))
    positions = itertools.islice(
        rows.batches(num_rows, config.batch_size), _NUM_BATCHES
    )
    return [
        {name: _take(column, batch) for name, column in columns.items()}
        for batch in positions
    ]


def grpc_call(config: LoadConfig, inputs: Sequence[Inputs]) -> Callable[[int], str]:
    """A client that sends requests, serialized beforehand, and parses the responses.

    Args:
        config: target, model, signature, connections, deadline.
        inputs: see `make_inputs`; they take turns.

    Returns:
        Function of the number of a client to the code of its request.
    """
    requests = itertools.cycle([_request(config, batch) for batch in inputs])
    calls = [
        _channel(config).unary_unary(
            _PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString
        )
        for _ in range(config.connections or config.concurrency)
    ]
    timeout = config.deadline or None

    def call(client: int) -> str:
        try:
            calls[client % len(calls)](next(requests), timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    return call


def in_process_call(
    config: LoadConfig, inputs: Sequence[Inputs]
) -> Callable[[int], str]:
    """Calls the signature of a SavedModel, as a Python program would.

    Args:
        config: `compare_with` and signature.
        inputs: see `make_inputs`; they take turns.

    Returns:
        Function of the number of a client to `OK`.

    Raises:
        ValueError: if the folder cannot be loaded.
    """
    folder = os.path.expanduser(config.compare_with)
    try:
        loaded = tf.saved_model.load(folder)
    except OSError as error:
        raise ValueError(f"`compare_with` must be a SavedModel: {error}") from error
    signature = loaded.signatures[config.signature]
    # A signature does not keep alive what it reads.
    signature.loaded = loaded
    turns = itertools.cycle(inputs)

    def call(client: int) -> str:
        tensors = {name: tf.constant(value) for name, value in next(turns).items()}
        for output in signature(**tensors).values():
            output.numpy()
        return "OK"

    return call


def _channel(config: LoadConfig) -> grpc.Channel:
    if not config.tls_ca:
        return grpc.insecure_channel(config.target, _OPTIONS)
    try:
        certificate = pathlib.Path(config.tls_ca).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"`tls_ca` cannot be read: {error}") from error
    credentials = grpc.ssl_channel_credentials(certificate)
    return grpc.secure_channel(config.target, credentials, _OPTIONS)


def _signatures(config: LoadConfig) -> dict[str, meta_graph_pb2.SignatureDef]:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = config.model_name
    request.metadata_field.append("signature_def")
    with _channel(config) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.GetModelMetadata(
                request, timeout=_CONNECT_SECONDS, wait_for_ready=True
            )
        except grpc.RpcError as error:
            raise ValueError(
                f"`target` must be a server with the model {config.model_name!r}. "
                f"Received: target={config.target!r}: {error.code().name}: "
                f"{error.details()}"
            ) from error
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    known = dict(signatures.signature_def)
    # What requests can be made for.
    usable = {n for n, each in known.items() if set(each.inputs) == {"examples"}}
    usable |= known.keys() & {"serving_default"}
    if config.signature not in usable or "serving_default" not in known:
        raise ValueError(
            f"`signature` must be one of {sorted(usable)}, with `serving_default` "
            f"beside it to make rows up from. Received: {config.signature!r}."
        )
    return known


def _take(column: Any, batch: Sequence[int]) -> Any:
    return [column[i] for i in batch] if isinstance(column, list) else column[batch]


def _request(config: LoadConfig, batch: Inputs) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = config.model_name
    request.model_spec.signature_name = config.signature
    for name, value in batch.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request.SerializeToString()
