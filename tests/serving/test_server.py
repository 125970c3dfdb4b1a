"""The server: start, stop, limits, and the command line."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import Server, ServerConfig, rest_server

from .conftest import RAW, examples_request, status_of


def connect(port):
    return grpc.insecure_channel(f"127.0.0.1:{port}")


def predict(channel, model="feed", **kwargs):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(examples_request(RAW, model), **kwargs)


def test_health_is_told(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
    request = health_pb2.HealthCheckRequest(service="other")
    assert status_of(stub.Check, request)[0] == grpc.StatusCode.NOT_FOUND


def test_both_ways_to_ask_for_health_agree(base_path):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)

    def rest_health():
        try:
            url = f"http://127.0.0.1:{server.rest_port}/healthz"
            return urllib.request.urlopen(url).status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    with Server(config) as server, connect(server.port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status = health_pb2.HealthCheckResponse
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request).status == status.SERVING
        assert rest_health() == 200
        # As when it stops, but with open ports.
        server._call(server._health.enter_graceful_shutdown())
        assert stub.Check(request).status == status.NOT_SERVING
        assert rest_health() == 503


def test_server_is_stopped_once(base_path):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    Server(config).stop()
    server = Server(config)
    server.start()
    server.stop()
    server.stop()


def test_server_that_cannot_start_leaves_nothing(server, base_path):
    before = set(threading.enumerate())
    for ports in ({"port": server.port}, {"port": 0, "rest_port": server.rest_port}):
        config = ServerConfig(model_base_path=base_path, **ports)
        with pytest.raises(OSError, match="must be free"):
            Server(config).start()
    left = [t for t in threading.enumerate() if t not in before and t.is_alive()]
    # Those of gRPC and of the pools of TensorFlow have other names.
    assert [t.name for t in left if t.name.startswith(("serving", "model-poll"))] == []


def test_metadata_has_the_signatures(stub, feed):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "feed"
    assert "`metadata_field` must be" in status_of(stub.GetModelMetadata, request)[1]
    request.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(request)
    assert response.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "serve_examples"}
    inputs = signatures.signature_def["serving_default"].inputs
    assert set(inputs) == set(feed.model.features.raw_signature())


def test_models_are_reloaded(base_path, tmp_path):
    (tmp_path / "empty").mkdir()
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=-1)
    with Server(config) as server, connect(server.port) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def status(name):
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = name
            (found,) = stub.GetModelStatus(request).model_version_status
            return found.version, found.state

        available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
        assert status("feed") == (1, available)
        request = model_management_pb2.ReloadConfigRequest()
        models = request.config.model_config_list.config
        models.add(name="renamed", base_path=base_path)
        assert stub.HandleReloadConfigRequest(request).status.error_code == 0
        assert status("renamed") == (1, available)
        assert predict(channel, "renamed").model_spec.name == "renamed"
        assert status_of(status, "feed")[0] == grpc.StatusCode.NOT_FOUND
        models[0].base_path = str(tmp_path / "empty")
        code, message = status_of(stub.HandleReloadConfigRequest, request)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "must hold a version folder" in message
        assert status("renamed") == (1, available)


def write_config(file, base_path, *names):
    config = model_server_config_pb2.ModelServerConfig()
    for name in names:
        config.model_config_list.config.add(name=name, base_path=str(base_path))
    file.write_text(text_format.MessageToString(config))


def test_file_of_models_is_read_again(base_path, tmp_path, caplog):
    file = tmp_path / "models.config"
    write_config(file, base_path, "feed")
    config = ServerConfig(model_config_file=str(file), port=0, rest_port=-1)
    with Server(config) as server, connect(server.port) as channel:
        write_config(file, base_path, "renamed")
        server.reload()
        assert predict(channel, "renamed").outputs
        for text in ("models: []", "model_config_list {}"):
            file.write_text(text)
            server.reload()
        write_config(file, tmp_path, "renamed")
        server.reload()
        file.unlink()
        server.reload()
        errors = [r for r in caplog.records if r.levelname == "ERROR"]
        assert len(errors) == 4
        assert predict(channel, "renamed").outputs


def test_taken_port_is_an_error(server, base_path):
    with pytest.raises(OSError, match=f"`port` must be free.*:{server.port}"):
        Server(
            ServerConfig(model_base_path=base_path, port=server.port, rest_port=-1)
        ).start()


@pytest.mark.parametrize("rest_port", [-1, 0])
def test_host_of_another_machine_is_an_error(base_path, rest_port):
    config = ServerConfig(
        model_base_path=base_path, host="192.0.2.1", port=0, rest_port=rest_port
    )
    with pytest.raises(OSError, match="`host` must be an address of this machine"):
        Server(config).start()


def test_taken_port_of_rest_is_an_error(server, base_path):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=server.rest_port)
    message = f"`rest_port` must be free.*:{server.rest_port}: Address already in use"
    with pytest.raises(OSError, match=message):
        Server(config).start()


def test_rest_server_that_dies_at_the_start_is_an_error(base_path, monkeypatch):
    async def serve(*args):
        raise RuntimeError("out of order")

    monkeypatch.setattr(rest_server.uvicorn.Server, "serve", serve)
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0)
    with pytest.raises(RuntimeError, match="out of order"):
        Server(config).start()


def test_ipv6_is_served(base_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    config = ServerConfig(model_base_path=base_path, host="::1", port=0, rest_port=0)
    with Server(config) as server:
        with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
            assert predict(channel).outputs
        url = f"http://[::1]:{server.rest_port}/healthz"
        assert urllib.request.urlopen(url).status == 200


def test_model_that_cannot_be_loaded_is_an_error(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="All models must be such.*SavedModel"):
        Server(ServerConfig(model_base_path=str(tmp_path), port=0)).start()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Either `model_base_path` or `model_config_file`"),
        ({"model_base_path": "a", "model_config_file": "b"}, "Either"),
        ({"model_name": "a", "model_config_file": "b"}, "`model_name` must not be"),
        ({"model_base_path": "a", "concurrency": -1}, "`concurrency` must be at least"),
        ({"model_base_path": "a", "tls_key": "k"}, "given together"),
        ({"model_base_path": "a", "queue_size": -1}, "`queue_size` must be at least 0"),
    ],
)
def test_options_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        ServerConfig(**fields)


def test_command_serves_without_keras_until_it_is_told_to_stop(base_path, tmp_path):
    file = tmp_path / "models.config"
    write_config(file, base_path, "feed")
    names = ("keras", "tf_keras", "tf_mtl.models", "tf_mtl.export")
    code = (
        f"import sys; [sys.modules.__setitem__(n, None) for n in {names}]\n"
        "from tf_mtl import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = ["serve", f"--model_config_file={file}", "--port=0", "--rest_port=0"]
    # A request waits that long for others: there is one that is open at the end.
    command += ["--batch_rows=64", "--batch_wait_ms=5000"]
    child = subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True
    )
    try:
        line = child.stdout.readline()
        port, rest_port = re.search(r"gRPC (\d+), REST (\d+)", line).groups()
        url = f"http://127.0.0.1:{rest_port}/v1/models/feed"
        metrics = f"http://127.0.0.1:{rest_port}/metrics"
        assert b"AVAILABLE" in urllib.request.urlopen(url).read()
        with connect(port) as channel:
            assert predict(channel).outputs["click"].float_val
            write_config(file, base_path, "feed", "food")
            child.send_signal(signal.SIGHUP)
            end = time.monotonic() + 30
            while b'"food"' not in urllib.request.urlopen(metrics).read():
                assert time.monotonic() < end
                time.sleep(0.05)
            assert predict(channel, "food").outputs["click"].float_val
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            open_one = stub.Predict.future(examples_request(RAW))
            admitted = b"tf_mtl_serving_admitted_requests 1.0"
            while admitted not in urllib.request.urlopen(metrics).read():
                assert time.monotonic() < end
            child.send_signal(signal.SIGTERM)
            assert open_one.result().outputs
        assert child.wait(timeout=30) == 0
    finally:
        child.kill()
        child.stdout.close()
