"""Micro-batching: the same answers, also beside a request that is wrong."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tf_mtl.serving.batching import Batching
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.saved_model import Servable

from ..export.conftest import to_examples
from .conftest import RAW, take


@pytest.fixture(scope="module")
def batched(feed):
    servable = Servable(feed.folder, batching=Batching(rows=8, wait_ms=20))
    yield servable
    servable.close()


def run(servable, examples):
    signature = servable.signatures["serve_examples"]
    return servable.run(signature, {"examples": np.array(examples, object)})


def test_requests_that_come_together_get_their_own_answers(batched, feed):
    predicted = feed.predict(RAW)
    examples = to_examples(RAW)
    with ThreadPoolExecutor(8) as pool:
        rows = [i % 4 for i in range(64)]
        found = list(pool.map(lambda row: run(batched, [examples[row]]), rows))
    for row, outputs in zip(rows, found, strict=True):
        for name, values in outputs.items():
            np.testing.assert_allclose(values, predicted[name][[row]], rtol=1e-6)


def test_requests_are_computed_in_one_batch(batched, feed):
    graph = batched._session.graph
    (batch,) = (op for op in graph.get_operations() if op.type == "BatchFunction")
    assert batch.get_attr("max_batch_size") == 8
    # Weights are those of the graph: none is loaded twice.
    assert len(batch.inputs) > 1


@pytest.mark.parametrize("size", [0, 20])
def test_request_that_fits_no_batch_is_computed_alone(batched, feed, size):
    rows = np.arange(size) % 4
    found = run(batched, to_examples(take(rows)))["click"]
    np.testing.assert_allclose(found, feed.predict(RAW)["click"][rows], rtol=1e-6)


def test_wrong_request_fails_alone(batched):
    good = to_examples(RAW)[0]

    def ask(number):
        if number % 2:
            return run(batched, [good])["click"].shape
        with pytest.raises(RequestError):
            run(batched, [b"\xff"])
        return None

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [None, (1,)] * 8


def test_columns_are_not_batched(batched, feed):
    signature = batched.signatures["serving_default"]
    specs = feed.model.features.raw_signature()
    raw = {n: np.array(v).astype(specs[n].dtype.as_numpy_dtype) for n, v in RAW.items()}
    found = batched.run(signature, raw)["click"]
    np.testing.assert_allclose(found, feed.predict(RAW)["click"], rtol=1e-6)
