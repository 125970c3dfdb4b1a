"""`tf-mtl loadtest` against a server."""

import json

import pytest
import tensorflow as tf

from tf_mtl import cli, export
from tf_mtl.serving import Server, ServerConfig

from .test_tls import make_files


def run(server, *arguments):
    common = [f"--target=127.0.0.1:{server.port}", "--model_name=feed", "--warmup=0.1"]
    return cli.main(["loadtest", *common, *arguments])


@pytest.mark.parametrize("signature", ["serve_examples", "serving_default"])
def test_server_is_compared_with_the_saved_model(
    server, feed, tmp_path, capsys, signature
):
    code = run(
        server,
        f"--signature={signature}",
        f"--compare_with={feed.folder}",
        "--batch_size=3",
        "--concurrency=2",
        "--count=20",
        "--rounds=2",
        f"--output={tmp_path / 'load.json'}",
        f"--picture={tmp_path / 'load.png'}",
    )
    assert code == 0
    assert "gRPC over in-process: p50" in capsys.readouterr().out
    found = json.loads((tmp_path / "load.json").read_text())
    assert found["grpc"]["codes"] == found["in_process"]["codes"] == {"OK": 20}
    assert found["ratios"]["p50"] > 0
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_codes_of_refused_requests_are_told(server, tmp_path, capsys):
    path = str(tmp_path / "rows.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"no example")
    assert run(server, f"--examples={path}", "--count=5") == 0
    assert "{'INVALID_ARGUMENT': 5}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--signature=other"], "`signature` must be one of"),
        (["--model_name=food"], "`target` must be a server with the model 'food'"),
        (["--concurrency=0"], "`concurrency` must be at least 1"),
        (["--deadline=-1"], "`deadline` must not be negative"),
        (["--compare_with=/absent"], "`compare_with` must be a SavedModel"),
        (["--examples=/absent"], "`examples` cannot be read"),
        (["--tls_ca=/absent"], "`tls_ca` cannot be read"),
        (["--rate=-1"], "`rate` must not be negative"),
    ],
)
def test_what_cannot_be_measured_is_refused(server, arguments, message, capsys):
    assert run(server, *arguments) == 2
    assert message in capsys.readouterr().err


def test_server_that_speaks_tls_is_asked(base_path, tmp_path, capsys):
    files = make_files(tmp_path)
    config = ServerConfig(model_base_path=base_path, port=0, rest_port=-1, **files)
    with Server(config) as server:
        arguments = ["--model_name=feed", "--warmup=0", "--count=5", "--rate=100"]
        arguments.append(f"--target=localhost:{server.port}")
        arguments.append(f"--tls_ca={files['tls_certificate']}")
        assert cli.main(["loadtest", *arguments]) == 0
    assert "grpc" in capsys.readouterr().out


def test_only_signatures_that_requests_can_be_made_for_are_taken(
    feed, tmp_path, capsys
):
    score = export.Score("w * click", {"w": 1.0})
    export.save(feed.model, tmp_path / "feed", score=score)
    config = ServerConfig(model_base_path=str(tmp_path / "feed"), port=0, rest_port=-1)
    with Server(config) as server:
        assert run(server, "--signature=serve_examples_weighted", "--count=5") == 2
        message = capsys.readouterr().err
        assert "one of ['serve_examples', 'serving_default']" in message
        assert run(server, "--signature=serve_examples", "--count=5") == 0
