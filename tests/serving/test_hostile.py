"""Clients that mean harm: each gets an error, and others do not notice."""

import collections
import http.client
import os
import re
import socket
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from .conftest import RAW, examples_request
from .hostile import ALLOWED, Attacker, half_request

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def attack(port, rest_port, feed, count, seed):
    """Sends malformed requests, every fourth by REST, and right ones in between.

    Returns:
        Number of requests by the code that they got.
    """
    attacker = Attacker(feed, seed)
    codes = collections.Counter()
    expected = feed.predict(RAW)["click"]
    good = examples_request(RAW)
    connection = http.client.HTTPConnection("127.0.0.1", rest_port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        for number in range(count):
            if number % 4:
                code = _code(channel, *attacker.request())
                assert code in ALLOWED
            else:
                verb = ("predict", "classify", "regress")[number % 3]
                connection.request("POST", f"/v1/models/feed:{verb}", attacker.body())
                response = connection.getresponse()
                response.read()
                code = response.status
                assert code in (200, 400, 404)
            codes[code] += 1
            if number % 100 == 0:
                found = tf.make_ndarray(predict(good).outputs["click"])
                np.testing.assert_allclose(found, expected, rtol=1e-6)
    connection.close()
    return codes


def _code(channel, path, data):
    try:
        channel.unary_unary(path)(data)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_malformed_requests_are_refused(server, feed):
    codes = attack(server.port, server.rest_port, feed, 600, seed=0)
    assert codes["INVALID_ARGUMENT"] > 100
    assert codes[400] > 100


def test_half_requests_do_not_disturb_others(server, feed):
    slow = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(half_request(PREDICT))
        slow.append(connection)
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(b"\x00\xff" * 50)
        slow.append(connection)
    # A thousand requests have begun. They take no thread from those that are whole.
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(
            PREDICT,
            predict_pb2.PredictRequest.SerializeToString,
            predict_pb2.PredictResponse.FromString,
        )
        for _ in range(20):
            assert call(examples_request(RAW), timeout=5).outputs
    for connection in slow:
        connection.close()


@pytest.mark.slow
def test_server_survives_many_malformed_requests(base_path, feed):
    """TF_MTL_HOSTILE_COUNT sets the number of requests."""
    count = int(os.environ.get("TF_MTL_HOSTILE_COUNT", "100000"))
    command = [sys.executable, "-m", "tf_mtl.cli", "serve", "--port=0", "--rest_port=0"]
    child = subprocess.Popen(
        [*command, f"--model_base_path={base_path}"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = child.stdout.readline()
        ports = map(int, re.search(r"gRPC (\d+), REST (\d+)", line).groups())
        print(attack(*ports, feed, count, seed=1))
        assert child.poll() is None
    finally:
        child.terminate()
        assert child.wait(60) == 0
        child.stdout.close()
