"""TLS: both ports speak it, and nothing else."""

import shutil
import ssl
import subprocess
import urllib.request

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tf_mtl.serving import Server, ServerConfig

from .conftest import RAW, examples_request, status_of


def make_files(folder):
    """A key and its certificate in a folder, as options of a server."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key -out certificate"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return {
        "tls_key": str(folder / "key"),
        "tls_certificate": str(folder / "certificate"),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("tls"))


def test_both_ports_speak_tls(base_path, files):
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=0, **files)
    with open(files["tls_certificate"], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with Server(config) as server:
        address = f"localhost:{server.port}"
        with grpc.secure_channel(address, credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(examples_request(RAW)).outputs
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            code, _ = status_of(stub.Predict, examples_request(RAW), timeout=5)
            assert code == grpc.StatusCode.UNAVAILABLE
        url = f"https://localhost:{server.rest_port}/healthz"
        context = ssl.create_default_context(cafile=files["tls_certificate"])
        assert urllib.request.urlopen(url, context=context).status == 200


def test_missing_certificate_is_an_error(base_path, tmp_path):
    config = ServerConfig(
        model_base_path=base_path,
        port=0,
        tls_certificate=str(tmp_path / "absent"),
        tls_key=str(tmp_path / "absent"),
    )
    with pytest.raises(FileNotFoundError, match="absent"):
        Server(config).start()


def test_file_that_is_no_certificate_is_named(base_path, files, tmp_path):
    text = tmp_path / "text"
    text.write_text("no certificate")
    other = make_files(tmp_path)
    for change in ({"tls_certificate": str(text)}, {"tls_key": other["tls_key"]}):
        fields = files | change
        config = ServerConfig(model_base_path=base_path, port=0, **fields)
        (path,) = change.values()
        with pytest.raises(ValueError, match=f"(?s)must be PEM files.*{path}"):
            Server(config).start()
