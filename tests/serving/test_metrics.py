"""Metrics: every end of a request has a code."""

import asyncio

import grpc
import pytest

from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.metrics import Metrics


class Models:
    """Stands for the models of a server."""

    def available(self):
        return {"feed": [3]}


class Admission:
    """Stands for what waits in a server."""

    admitted = 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "OK"),
        (RequestError(grpc.StatusCode.NOT_FOUND, ""), "NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
        (ValueError(), "UNKNOWN"),
        (KeyboardInterrupt(), "UNKNOWN"),
    ],
)
def test_request_is_counted_with_its_code(error, code):
    metrics = Metrics(Models(), Admission())

    def fail():
        with metrics.watch("rest", "predict"):
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            fail()
    else:
        fail()
    labels = f'{{api="rest",code="{code}",method="predict"}}'
    text = metrics.text().decode()
    assert f"tf_mtl_serving_requests_total{labels} 1.0" in text
    assert text.count("tf_mtl_serving_requests_total{") == 1
    assert 'tf_mtl_serving_available{model="feed",version="3"} 1.0' in text
    assert "tf_mtl_serving_admitted_requests 2.0" in text
