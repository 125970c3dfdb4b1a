"""Metrics of a server, for Prometheus."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tf_mtl.serving.admission import Admission
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.model_manager import ModelManager

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = tuple(base * 10.0**e for e in range(-4, 1) for base in (1, 2.5, 5))


class Metrics:
    """Counts and times requests.

    Args:
        models: the models; their available versions are told.
        admission: the requests under way are told.
    """

    def __init__(self, models: ModelManager, admission: Admission) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        requests = prometheus_client.Counter(
            "tf_mtl_serving_requests",
            "Requests that were answered or refused.",
            ("api", "method", "code"),
            registry=self._registry,
        )
        seconds = prometheus_client.Histogram(
            "tf_mtl_serving_request_seconds",
            "Time from the arrival of a request to its answer.",
            ("api", "method"),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._registry.register(_State(models, admission))
        # To find the counter of some labels takes longer than to count.
        self._counter = functools.cache(requests.labels)
        self._timer = functools.cache(seconds.labels)

    @contextlib.contextmanager
    def watch(self, api: str, method: str) -> Iterator[None]:
        """Counts and times one request, with the code that it ends with.

        Args:
            api: `grpc` or `rest`.
            method: what is asked.
        """
        start = time.perf_counter()
        code = "OK"
        try:
            yield
        except RequestError as error:
            code = error.code.name
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except BaseException:
            code = "UNKNOWN"
            raise
        finally:
            self._counter(api, method, code).inc()
            self._timer(api, method).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """All metrics in the text form of Prometheus."""
        return prometheus_client.generate_latest(self._registry)


class _State(Collector):
    """What is asked for when metrics are read."""

    def __init__(self, models: ModelManager, admission: Admission) -> None:
        self._models = models
        self._admission = admission

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gives the gauges."""
        yield GaugeMetricFamily(
            "tf_mtl_serving_admitted_requests",
            "Requests that are computed or wait.",
            self._admission.admitted,
        )
        versions = GaugeMetricFamily(
            "tf_mtl_serving_available",
            "1 for each version of a model that answers.",
            labels=("model", "version"),
        )
        for name, numbers in self._models.available().items():
            for number in numbers:
                versions.add_metric((name, str(number)), 1)
        yield versions
