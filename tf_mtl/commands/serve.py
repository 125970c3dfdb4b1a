r"""Serve exported models by the protocols of TensorFlow Serving.

Examples:
  tf-mtl serve --model_base_path=saved_models/feed
  tf-mtl serve --model_config_file=models.config --port=8500

New versions in the folder of a model replace old ones without a lost request; a removed
version is rolled back. On SIGHUP models.config is read again. On SIGTERM open requests
are answered, then the server ends.
Other machines are let in by --host=0.0.0.0. For production there is TensorFlow Serving
itself: docs/serving.md says how.

  curl localhost:8501/v1/models/feed
  curl localhost:8501/v1/models/feed:predict -d '{"instances": [{"user": "ann"}]}'
"""

import gc
import logging
import queue
import signal
import threading
from typing import TYPE_CHECKING

from absl import flags

from tf_mtl.commands import options
from tf_mtl.serving.config import ServerConfig

if TYPE_CHECKING:
    from tf_mtl.serving import Server

_logger = logging.getLogger(__name__)


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    options.define(ServerConfig, values)


def run(values: flags.FlagValues) -> None:
    """Serves until SIGTERM or SIGINT.

    On SIGHUP the models.config is read again; without one, SIGHUP is left as it is: the
    server ends with its terminal.

    Raises:
        ValueError: if the options do not fit, or a model cannot be served.
        OSError: if a port is taken.
    """
    config = options.read(ServerConfig, values)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    from tf_mtl.serving import Server

    # What the modules of TensorFlow made stays: do not look through it for garbage,
    # which stops all threads meanwhile. Models come later: they may go.
    gc.freeze()
    stops: queue.SimpleQueue[int] = queue.SimpleQueue()
    reloads: queue.SimpleQueue[int] = queue.SimpleQueue()
    queues: dict[int, queue.SimpleQueue[int]]
    queues = {signal.SIGTERM: stops, signal.SIGINT: stops}
    if config.model_config_file:
        queues[signal.SIGHUP] = reloads
    handlers = {
        number: signal.signal(number, lambda got, _: queues[got].put(got))
        for number in queues
    }
    try:
        with Server(config) as server:
            print(
                f"Serving on {config.host}: gRPC {server.port}, REST "
                f"{server.rest_port if server.rest_port >= 0 else 'off'}.",
                flush=True,
            )
            # In another thread: a SIGTERM must not wait for a model that loads.
            reloader = threading.Thread(
                target=_reload, args=(server, reloads), daemon=True
            )
            reloader.start()
            stops.get()
            # Into the log, which bears it that the terminal is gone.
            _logger.info("Stopping: open requests are answered.")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _reload(server: "Server", reloads: "queue.SimpleQueue[int]") -> None:
    while True:
        reloads.get()
        server.reload()
