"""A server under mixed and hostile load for a long time, while its versions change."""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc

from tf_mtl import export, models
from tf_mtl.features import Hashed, Preprocessor

from ..export.conftest import TRAIN, Saved, make_features, to_examples
from .conftest import TASKS, columns_request, examples_request, take
from .hostile import ALLOWED, Attacker

KIBIBYTES = 1024


class Clients:
    """Clients that ask in turns by all ways, and compare what they get."""

    def __init__(self, feed, port, rest_port):
        self._stop = threading.Event()
        self.counts = [0] * 4
        self.errors = []
        self._port, self._rest_port = port, rest_port
        raw = take(np.arange(64) % 4)
        self._raw, self._expected = raw, feed.predict(raw)["click"]
        self._examples = examples_request(raw)
        self._columns = columns_request(feed, raw)
        self._one = examples_request(take([0]))
        self._classes = classification_pb2.ClassificationRequest()
        self._classes.model_spec.name = "feed"
        for example in to_examples(raw):
            added = self._classes.input.example_list.examples.add()
            added.ParseFromString(example)
        columns = {name: column.tolist() for name, column in raw.items()}
        self._body = json.dumps({"inputs": columns})
        self._threads = [
            threading.Thread(target=self._run, args=(i,))
            for i in range(len(self.counts))
        ]
        attacker = Attacker(feed, seed=2)
        self._threads.append(threading.Thread(target=self._attack, args=(attacker,)))

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self._rest_port)
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            ways = [
                lambda: self._same(self._values(stub.Predict(self._examples))),
                lambda: self._same(self._values(stub.Predict(self._columns))),
                lambda: self._same(self._values(stub.Predict(self._one))),
                lambda: self._same(
                    [c.classes[0].score for c in self._classified(stub)]
                ),
                lambda: self._same(self._rest(connection)),
            ]
            while not self._stop.is_set():
                try:
                    ways[self.counts[number] % len(ways)]()
                except Exception as error:
                    self.errors.append(error)
                self.counts[number] += 1
        connection.close()

    def _attack(self, attacker):
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            while not self._stop.is_set():
                path, data = attacker.request()
                try:
                    channel.unary_unary(path)(data)
                except grpc.RpcError as error:
                    if error.code().name not in ALLOWED:
                        self.errors.append(error)
                # The others shall have the larger part of the server.
                time.sleep(0.05)

    @staticmethod
    def _values(response):
        return tf.make_ndarray(response.outputs["click"])

    def _classified(self, stub):
        return stub.Classify(self._classes).result.classifications

    def _rest(self, connection):
        connection.request("POST", "/v1/models/feed:predict", self._body)
        return json.loads(connection.getresponse().read())["outputs"]["click"]

    def _same(self, found):
        np.testing.assert_allclose(found, self._expected[: len(found)], rtol=1e-6)


def resident(pid):
    """Memory of a process, KiB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """A model with a table of 50 MB: who forgets to close it is found out."""
    features = [
        *make_features(),
        Hashed("city_bin", 200_000, column="city", embedding_dim=64),
    ]
    preprocessor = Preprocessor(features)
    preprocessor.adapt(tf.data.Dataset.from_tensors(TRAIN), progress=False)
    model = models.SharedBottom(preprocessor, TASKS, bottom_units=(8,))
    folder = tmp_path_factory.mktemp("heavy") / "feed"
    return Saved(model, export.save(model, folder))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--batch_rows=64",)])
def test_no_error_and_no_growth_while_versions_change(heavy, tmp_path, options):
    """TF_MTL_SOAK_MINUTES and TF_MTL_SOAK_SWAP_SECONDS set its length."""
    feed = heavy
    minutes = float(os.environ.get("TF_MTL_SOAK_MINUTES", "20"))
    swap_seconds = float(os.environ.get("TF_MTL_SOAK_SWAP_SECONDS", "60"))
    base = tmp_path / "feed"
    shutil.copytree(feed.folder, base / "1")
    command = [sys.executable, "-m", "tf_mtl.cli", "serve", "--port=0", "--rest_port=0"]
    child = subprocess.Popen(
        [*command, f"--model_base_path={base}", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = []
    try:
        line = child.stdout.readline()
        ports = map(int, re.search(r"gRPC (\d+), REST (\d+)", line).groups())
        clients = Clients(feed, *ports)
        clients.start()
        end = time.monotonic() + 60 * minutes
        swaps = 0
        while time.monotonic() < end:
            time.sleep(swap_seconds)
            swaps += 1
            newest = max(int(p.name) for p in base.iterdir() if p.name.isdigit())
            if swaps % 4:
                shutil.copytree(feed.folder, base / ".tmp-new")
                (base / ".tmp-new").rename(base / str(newest + 1))
                # One more is kept, to roll back to.
                shutil.rmtree(base / str(newest - 1), ignore_errors=True)
            else:
                shutil.rmtree(base / str(newest))
            memory.append(resident(child.pid))
            print(
                f"{sum(clients.counts)} requests, {len(clients.errors)} errors, "
                f"{memory[-1] // KIBIBYTES} MiB",
                flush=True,
            )
        clients.stop()
        assert clients.errors == []
        assert child.poll() is None
    finally:
        child.terminate()
        assert child.wait(60) == 0
        child.stdout.close()
    assert len(memory) >= 4, "Too few versions were exchanged to see what one costs."
    # The allocator needs a while to find its size, and keeps some of what is freed. A
    # version that stays costs 50 MiB, ten of them in the second half.
    settled = memory[len(memory) // 2 :]
    assert max(settled) - min(settled) < 200 * KIBIBYTES
