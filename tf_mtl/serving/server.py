"""Server: models behind TensorFlow Serving's protocols, in one process."""

import asyncio
import functools
import logging
import os
import threading
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from tf_mtl.serving import grpc_server, models_config, rest, rest_server
from tf_mtl.serving.admission import Admission
from tf_mtl.serving.batching import Batching
from tf_mtl.serving.config import ServerConfig
from tf_mtl.serving.errors import RequestError
from tf_mtl.serving.methods import make_methods
from tf_mtl.serving.metrics import Metrics
from tf_mtl.serving.model_manager import ModelManager, load_warm

_BATCH_THREADS = 64
# For what no model computes: one may reload for long while the others answer.
_OPERATOR_THREADS = 4
_OPERATOR_QUEUE = 64
_logger = logging.getLogger(__name__)


def make_models(config: ServerConfig) -> ModelManager:
    """The models of a configuration, not loaded yet.

    Raises:
        ValueError: if they cannot be served.
    """
    if config.model_config_file:
        served = models_config.read(config.model_config_file)
    else:
        served = models_config.one_model(config.model_base_path, config.model_name)
    batching = None
    if config.batch_rows:
        batching = Batching(config.batch_rows, config.batch_wait_ms)
    load = functools.partial(load_warm, batching=batching, max_rows=config.max_rows)
    return ModelManager(served, config.poll_seconds, load)


def make_admission(config: ServerConfig) -> Admission:
    """The threads that compute."""
    # Requests that wait for others to make a batch hold a thread each.
    default = max(2 * (os.cpu_count() or 1), min(config.batch_rows, _BATCH_THREADS))
    return Admission(config.concurrency or default, config.queue_size)


class Server:
    """Serves models by gRPC and REST, as TensorFlow Serving does.

    It runs in threads of its own: one event loop, the threads that compute, and one
    that looks for new versions.

    Example:
    ```python
    config = ServerConfig(model_base_path="saved_models/feed", port=0)
    with Server(config) as server:
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    ```

    Args:
        config: what to serve, where, and within which limits.

    Attributes:
        port: int, port of gRPC, known after `start`.
        rest_port: int, port of REST, known after `start`; -1 without REST.

    Raises:
        ValueError: if the configuration of models cannot be served.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.port = 0
        self.rest_port = -1
        self._running = False
        self._pools: tuple[Admission, ...] = ()
        self._grpc: grpc.aio.Server | None = None
        self._rest: rest_server.RestServer | None = None
        self._models = make_models(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="serving")

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Loads the models, then opens the ports.

        Raises:
            ValueError: if a model cannot be loaded.
            OSError: if a port is taken.
        """
        try:
            self._models.start()
        except BaseException:
            self._loop.close()
            raise
        self._thread.start()
        self._running = True
        try:
            self._call(self._open())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Takes no more requests, answers those that came in, and frees the models.

        It takes `drain_seconds` at most, and a little. What is computed for longer is
        not waited for. A server that does not run is left as it is.
        """
        if not self._running:
            return
        self._running = False
        end = time.monotonic() + self.config.drain_seconds
        self._call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        # Threads that have nothing to do need a moment, too.
        left = max(1.0, end - time.monotonic())
        for pool in self._pools:
            pool.close(left)
        self._models.stop(left)

    def reload(self) -> None:
        """Reads `model_config_file` again and serves what it says.

        What is wrong with it is logged; what is served stays then.
        """
        if not self.config.model_config_file:
            _logger.warning("There is no `model_config_file` to read again.")
            return
        try:
            self._models.reload(models_config.read(self.config.model_config_file))
        except (ValueError, OSError, RequestError) as error:
            _logger.error("`model_config_file` was not taken up: %s", error)
        else:
            _logger.info("%s is served.", self.config.model_config_file)

    async def _open(self) -> None:
        config = self.config
        admission = make_admission(config)
        operators = Admission(_OPERATOR_THREADS, _OPERATOR_QUEUE)
        self._pools = (admission, operators)
        metrics = Metrics(self._models, admission)
        methods = make_methods(self._models)
        self._grpc, self._health = grpc_server.make_server(
            methods, admission, operators, metrics, config
        )
        self.port = grpc_server.bind(self._grpc, config)
        if config.rest_port >= 0:
            app = rest.make_app(
                self._models, admission, operators, metrics, self._healthy, config
            )
            server = rest_server.RestServer(app, config)
            self.rest_port = await server.start()
            self._rest = server
        await self._grpc.start()
        for name in grpc_server.services(methods):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def _healthy(self) -> bool:
        # One place for both ways to ask: the service of gRPC.
        request = health_pb2.HealthCheckRequest()
        response = await self._health.Check(request, None)
        return response.status == health_pb2.HealthCheckResponse.SERVING

    async def _drain(self) -> None:
        stops = []
        if self._grpc:
            await self._health.enter_graceful_shutdown()
            stops.append(self._grpc.stop(self.config.drain_seconds))
        if self._rest:
            stops.append(self._rest.stop())
        await asyncio.gather(*stops)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
