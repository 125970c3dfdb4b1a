"""Limits, deadlines, and the end of a server: with models that take their time."""

import asyncio
import contextlib
import functools
import itertools
import json
import pathlib
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tf_mtl.serving import Server, ServerConfig, rest_server, saved_model
from tf_mtl.serving.admission import Admission
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.model_manager import ModelManager

from .conftest import RAW, examples_request, status_of

Code = grpc.StatusCode
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Gate:
    """Holds every request that is computed, until it is opened."""

    def __init__(self):
        self.opened = threading.Event()
        self.entered = 0

    def hold(self, run):
        def held(*args):
            self.entered += 1
            assert self.opened.wait(30)
            return run(*args)

        return held

    def wait_for(self, count):
        end = time.monotonic() + 30
        while self.entered < count:
            assert time.monotonic() < end
            time.sleep(0.001)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(
        saved_model.Servable, "run", gate.hold(saved_model.Servable.run)
    )
    yield gate
    gate.opened.set()


@pytest.fixture(params=[0, 64], ids=["alone", "batching"])
def small(base_path, gate, request):
    """A server that computes one request and lets one wait."""
    config = ServerConfig(
        model_base_path=base_path,
        port=0,
        rest_port=0,
        concurrency=1,
        queue_size=1,
        rest_timeout=1.0,
        batch_rows=request.param,
    )
    with Server(config) as server:
        yield server
        gate.opened.set()


@pytest.fixture
def predict(small):
    with grpc.insecure_channel(f"127.0.0.1:{small.port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def post(server):
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/feed:predict"
    body = json.dumps({"signature_name": "serve_examples", "inputs": [""]}).encode()
    try:
        with urllib.request.urlopen(url, body) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def wait_for_code(server, code, method="Predict"):
    """Waits until a request has ended with a code."""
    url = f"http://127.0.0.1:{server.rest_port}/metrics"
    end = time.monotonic() + 30
    label = f'code="{code}",method="{method}"'.encode()
    while label not in urllib.request.urlopen(url).read():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_more_requests_than_the_limit_are_refused(small, predict, gate):
    admitted = [predict.future(examples_request(RAW))]
    gate.wait_for(1)
    admitted.append(predict.future(examples_request(RAW)))
    while small._pools[0].admitted < 2:
        time.sleep(0.001)
    code, message = status_of(predict, examples_request(RAW))
    assert code == Code.RESOURCE_EXHAUSTED
    assert "2 requests" in message
    assert post(small) == 429
    gate.opened.set()
    assert all(call.result().outputs for call in admitted)
    assert predict(examples_request(RAW)).outputs


def test_expired_request_is_not_computed(small, predict, gate):
    first = predict.future(examples_request(RAW))
    gate.wait_for(1)
    code, _ = status_of(predict, examples_request(RAW), timeout=0.2)
    assert code == Code.DEADLINE_EXCEEDED
    gate.opened.set()
    assert first.result().outputs
    assert predict(examples_request(RAW)).outputs
    assert gate.entered == 2


def test_request_of_a_client_that_left_is_not_computed(small, predict, gate):
    first = predict.future(examples_request(RAW))
    gate.wait_for(1)
    left = predict.future(examples_request(RAW))
    while small._pools[0].admitted < 2:
        time.sleep(0.001)
    left.cancel()
    wait_for_code(small, "CANCELLED")
    gate.opened.set()
    assert first.result().outputs
    assert predict(examples_request(RAW)).outputs
    assert gate.entered == 2


def test_rest_request_of_a_client_that_left_is_not_computed(small, predict, gate):
    first = predict.future(examples_request(RAW))
    gate.wait_for(1)
    body = b'{"signature_name": "serve_examples", "inputs": [""]}'
    head = b"POST /v1/models/feed:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
    address = ("127.0.0.1", small.rest_port)
    with socket.create_connection(address, 30) as connection:
        connection.sendall(head % len(body) + b"\r\n" + body)
        while small._pools[0].admitted < 2:
            time.sleep(0.001)
    wait_for_code(small, "CANCELLED", "predict")
    gate.opened.set()
    assert first.result().outputs
    assert post(small) == 200
    assert gate.entered == 2


def test_rest_request_has_its_time(small, gate):
    assert post(small) == 504
    gate.opened.set()
    # The first run of a graph takes long, and the next one its time to wait for that.
    while small._pools[0].admitted:
        time.sleep(0.001)
    assert post(small) == 200


def test_too_large_message_is_refused(small, predict, gate):
    gate.opened.set()
    request = examples_request(RAW)
    request.inputs["examples"].string_val.append(b"x" * 40 * 2**20)
    assert status_of(predict, request)[0] == Code.RESOURCE_EXHAUSTED
    assert predict(examples_request(RAW)).outputs


@pytest.mark.parametrize("batch_rows", [0, 64])
def test_open_requests_are_answered_when_the_server_stops(base_path, gate, batch_rows):
    config = ServerConfig(
        model_base_path=base_path,
        port=0,
        rest_port=0,
        concurrency=1,
        batch_rows=batch_rows,
    )
    server = Server(config)
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    admitted = [predict.future(examples_request(RAW)) for _ in range(3)]
    with ThreadPoolExecutor(2) as pool:
        by_rest = pool.submit(post, server)
        while server._pools[0].admitted < 4:
            time.sleep(0.001)
        health = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest()
        )
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        stopping = pool.submit(server.stop)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        code, _ = status_of(predict, examples_request(RAW), timeout=5)
        assert code == Code.UNAVAILABLE
        gate.opened.set()
        assert all(call.result().outputs for call in admitted)
        assert by_rest.result() == 200
        stopping.result()
    channel.close()


@pytest.mark.parametrize("batch_rows", [0, 64])
def test_versions_are_exchanged_and_rolled_back_under_load(feed, tmp_path, batch_rows):
    base = tmp_path / "feed"
    shutil.copytree(feed.folder, base / "1")
    config = ServerConfig(
        model_base_path=str(base),
        port=0,
        rest_port=-1,
        poll_seconds=0.05,
        batch_rows=batch_rows,
    )
    stop = threading.Event()
    with (
        Server(config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def client():
            found = []
            while not stop.is_set():
                # A request that fails raises, here and at `result`.
                response = predict(examples_request(RAW))
                found.append(response.model_spec.version.value)
            return found

        def wait_for(version):
            end = time.monotonic() + 30
            while predict(examples_request(RAW)).model_spec.version.value != version:
                assert time.monotonic() < end

        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(client) for _ in range(3)]
            try:
                shutil.copytree(feed.folder, base / ".tmp-2")
                (base / ".tmp-2").rename(base / "2")
                wait_for(2)
                shutil.rmtree(base / "2")
                wait_for(1)
            finally:
                stop.set()
            for each in clients:
                seen = each.result()
                assert [version for version, _ in itertools.groupby(seen)] == [1, 2, 1]


def test_drain_has_an_end(base_path, gate):
    config = ServerConfig(
        model_base_path=base_path,
        port=0,
        rest_port=0,
        concurrency=1,
        drain_seconds=0.5,
    )
    server = Server(config)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        open_ones = [predict.future(examples_request(RAW)) for _ in range(2)]
        gate.wait_for(1)
        while server._pools[0].admitted < 2:
            time.sleep(0.001)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 10
        assert all(call.exception() for call in open_ones)
    # The one that is computed ends later, and the one that waited is not computed.
    gate.opened.set()
    (thread,) = server._pools[0]._threads
    thread.join(30)
    assert not thread.is_alive()
    assert gate.entered == 1


def test_stop_does_not_wait_for_a_version_that_loads(base_path, feed, tmp_path):
    base = tmp_path / "feed"
    shutil.copytree(feed.folder, base / "1")
    config = ServerConfig(
        model_base_path=str(base),
        port=0,
        rest_port=-1,
        poll_seconds=0.01,
        drain_seconds=0.1,
    )
    loading, go_on = threading.Event(), threading.Event()

    def load(*args):
        loading.set()
        go_on.wait(60)
        raise ValueError("too late")

    with Server(config) as server:
        server._models._models["feed"]._load = load
        (base / "2").mkdir()
        assert loading.wait(30)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 10
    go_on.set()
    server._models._thread.join(30)
    assert not server._models._thread.is_alive()


def test_waiting_time_counts():
    async def run():
        admission = Admission(1, 5)
        release = threading.Event()
        first = asyncio.create_task(admission.run(release.wait))
        await asyncio.sleep(0)
        second = asyncio.create_task(admission.run(list, 0.01))
        await asyncio.sleep(0.05)
        release.set()
        await first
        with pytest.raises(RequestError) as caught:
            await second
        admission.close(5.0)
        assert admission.admitted == 0
        return caught.value.code

    assert asyncio.run(run()) == Code.DEADLINE_EXCEEDED


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def refused(predict):
    """Whether there was no place for a request."""
    try:
        predict(examples_request(RAW), timeout=1.0)
    except grpc.RpcError as error:
        if error.code() == Code.RESOURCE_EXHAUSTED:
            return True
        assert error.code() == Code.DEADLINE_EXCEEDED
    return False


def test_more_open_requests_than_the_limit_are_refused(base_path, gate):
    config = ServerConfig(
        model_base_path=base_path, port=0, rest_port=0, max_open_requests=4
    )
    with (
        Server(config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        call = channel.stream_unary(PREDICT)
        sent = threading.Event()

        def half_sent():
            sent.wait(30)
            yield from ()

        # They send nothing, so only their number can be a reason to refuse the next.
        halves = [call.future(half_sent()) for _ in range(4)]
        wait_until(lambda: refused(predict))
        for each in halves:
            each.cancel()
        sent.set()
        gate.opened.set()
        wait_until(lambda: not refused(predict))
        address = ("127.0.0.1", server.rest_port)
        idle = [socket.create_connection(address) for _ in range(4)]
        assert post(server) == 503
        for connection in idle:
            connection.close()
        wait_until(lambda: post(server) == 200)


def test_as_many_connections_as_the_limit_are_answered(base_path):
    config = ServerConfig(
        model_base_path=base_path, port=0, rest_port=0, max_open_requests=1
    )
    with Server(config) as server:
        assert post(server) == 200
        with socket.create_connection(("127.0.0.1", server.rest_port)):
            assert post(server) == 503


@pytest.mark.parametrize("sent", [b"", b"POST /v1/models/feed:predict HTTP/1.1\r\nHo"])
def test_connections_that_send_no_request_are_closed(base_path, monkeypatch, sent):
    monkeypatch.setattr(rest_server, "_HEAD_SECONDS", 0.3)
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    with Server(config) as server:
        address = ("127.0.0.1", server.rest_port)
        silent = [socket.create_connection(address, 30) for _ in range(50)]
        for connection in silent:
            connection.sendall(sent)
        for connection in silent:
            assert closed(connection)


def test_half_a_head_after_a_request_is_not_waited_for(base_path, monkeypatch):
    monkeypatch.setattr(rest_server, "_HEAD_SECONDS", 0.3)
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with Server(config) as server:
        address = ("127.0.0.1", server.rest_port)
        with socket.create_connection(address, 30) as connection:
            connection.sendall(request)
            assert b" 200 " in connection.recv(1000)
            # Between two requests there is more time.
            time.sleep(0.5)
            connection.sendall(request)
            assert b" 200 " in connection.recv(1000)
            connection.sendall(request[:20])
            # A byte now and then does not help.
            started = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() < started + 5:
                    connection.sendall(b"x")
                    time.sleep(0.05)
            assert time.monotonic() < started + 5


def test_rest_of_a_refused_body_is_no_head(base_path, monkeypatch):
    monkeypatch.setattr(rest_server, "_HEAD_SECONDS", 0.3)
    config = ServerConfig(
        model_base_path=base_path, port=0, rest_port=0, max_request_mb=1
    )
    head = b"POST /v1/models/feed:predict HTTP/1.1\r\nHost: x\r\n"
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with Server(config) as server:
        address = ("127.0.0.1", server.rest_port)
        with socket.create_connection(address, 30) as connection:
            connection.sendall(head + b"Content-Length: 1100000\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(1000)
            assert b" 413 " in answer
            for _ in range(11):
                connection.sendall(b"x" * 100_000)
                time.sleep(0.05)
            # Between two requests there is more time, also after this one.
            time.sleep(0.5)
            connection.sendall(request)
            assert b" 200 " in connection.recv(1000)


def closed(connection):
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_large_body_is_refused_before_it_is_sent(base_path):
    config = ServerConfig(
        model_base_path=base_path, port=0, rest_port=0, max_request_mb=1
    )
    head = (
        b"POST /v1/models/feed:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577"
    )
    with Server(config) as server:
        address = ("127.0.0.1", server.rest_port)
        with socket.create_connection(address, 30) as connection:
            connection.sendall(head + b"\r\n\r\n")
            assert b" 413 " in connection.recv(1000)


def test_body_is_not_read_if_there_is_no_place(small, predict, gate):
    admitted = [predict.future(examples_request(RAW)) for _ in range(2)]
    while small._pools[0].admitted < 2:
        time.sleep(0.001)
    head = b"POST /v1/models/feed:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    address = ("127.0.0.1", small.rest_port)
    with socket.create_connection(address, 30) as connection:
        connection.sendall(head + b"\r\n")
        assert b" 429 " in connection.recv(1000)
    gate.opened.set()
    assert all(call.result().outputs for call in admitted)


def test_callers_that_leave_do_not_fill_the_queue():
    class Request:
        """Stands for what a request holds."""

    async def run():
        admission = Admission(1, 5)
        release = threading.Event()
        first = asyncio.create_task(admission.run(release.wait))
        await asyncio.sleep(0)
        while admission._waiting.qsize():
            await asyncio.sleep(0.001)
        refused = 0
        held = []
        for _ in range(100):
            request = Request()
            held.append(weakref.ref(request))
            task = asyncio.create_task(admission.run(functools.partial(id, request)))
            del request
            await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except RequestError:
                refused += 1
            del task
        # Five found a place, which is theirs until a thread is free; none holds bytes.
        assert refused == 95
        assert admission._waiting.qsize() <= 5
        assert not any(each() for each in held)
        release.set()
        await first
        while admission.admitted:
            await asyncio.sleep(0.001)
        assert await admission.run(lambda: 7) == 7
        admission.close(5.0)

    asyncio.run(run())


def test_calls_of_operators_are_bounded(base_path, monkeypatch):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    opened = threading.Event()
    statuses = ModelManager.statuses

    def held(*args):
        assert opened.wait(30)
        return statuses(*args)

    monkeypatch.setattr(ModelManager, "statuses", held)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "feed"
    with (
        Server(config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        calls = [stub.GetModelStatus.future(request) for _ in range(68)]
        while server._pools[1].admitted < 68:
            time.sleep(0.001)
        code, _ = status_of(stub.GetModelStatus, request)
        assert code == Code.RESOURCE_EXHAUSTED
        # Models go on.
        assert post(server) == 200
        opened.set()
        assert all(call.result().model_version_status for call in calls)


def test_limit_of_rows_is_for_clients_not_for_warmup():
    base = pathlib.Path(__file__).parents[2] / "saved_models/synthetic"
    config = ServerConfig(model_base_path=str(base), port=0, rest_port=-1, max_rows=16)
    # The model is loaded: its warm-up requests, of more rows, were answered.
    with (
        Server(config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "synthetic"
        request.model_spec.signature_name = "serve_examples"
        examples = request.inputs["examples"]
        examples.CopyFrom(tf.make_tensor_proto([b""] * 17))
        code, message = status_of(predict, request)
        assert code == Code.INVALID_ARGUMENT
        assert "at most 16 rows. Received: 17" in message
