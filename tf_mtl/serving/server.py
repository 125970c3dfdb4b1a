"""Server: models behind TensorFlow Serving's protocols, in one process."""

import asyncio
import functools
import logging
import os
import threading
from typing import Any

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
        self._rest: rest_server.RestServer | None = None
        if config.model_config_file:
            served = models_config.read(config.model_config_file)
        else:
            served = models_config.one_model(config.model_base_path, config.model_name)
        batching = None
        if config.batch_rows:
            batching = Batching(config.batch_rows, config.batch_wait_ms)
        self._models = ModelManager(
            served,
            config.poll_seconds,
            functools.partial(load_warm, batching=batching, max_rows=config.max_rows),
        )
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
        self._models.start()
        self._thread.start()
        try:
            self._call(self._open())
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Takes no more requests, answers those that came in, and frees the models."""
        self._call(self._drain())
        self._end()

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
        # Requests that wait for others to make a batch hold a thread each.
        default = max(2 * (os.cpu_count() or 1), min(config.batch_rows, _BATCH_THREADS))
        self._admission = Admission(config.concurrency or default, config.queue_size)
        self._operators = Admission(_OPERATOR_THREADS, _OPERATOR_QUEUE)
        metrics = Metrics(self._models, self._admission)
        methods = make_methods(self._models)
        max_bytes = config.max_request_mb * 2**20
        self._grpc, self._health = grpc_server.make_server(
            methods, self._admission, self._operators, metrics, config
        )
        self.port = grpc_server.bind(self._grpc, config)
        if config.rest_port >= 0:
            app = rest.make_app(
                self._models,
                self._admission,
                self._operators,
                metrics,
                max_bytes,
                config.rest_timeout,
            )
            self._rest = rest_server.RestServer(app, config)
            self.rest_port = await self._rest.start()
        await self._grpc.start()
        for name in grpc_server.services(methods):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def _drain(self) -> None:
        await self._health.enter_graceful_shutdown()
        stops = [self._grpc.stop(self.config.drain_seconds)]
        if self._rest:
            stops.append(self._rest.stop())
        await asyncio.gather(*stops)
        await asyncio.to_thread(self._admission.close)
        await asyncio.to_thread(self._operators.close)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._models.stop(self.config.drain_seconds)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
