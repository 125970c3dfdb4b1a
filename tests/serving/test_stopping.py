"""What is open is answered when a server stops or another version comes."""

import itertools
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tf_mtl.serving import Server, ServerConfig

from .conftest import RAW, examples_request, post, status_of

Code = grpc.StatusCode


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
