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

from absl import flags

from tf_mtl.commands import options
from tf_mtl.serving.config import ServerConfig


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    options.define(ServerConfig, values)


def run(values: flags.FlagValues) -> None:
    """Serves until SIGTERM or SIGINT; reads the models.config again on SIGHUP.

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
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    handlers = {
        number: signal.signal(number, lambda received, _: signals.put(received))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        with Server(config) as server:
            print(
                f"Serving on {config.host}: gRPC {server.port}, REST "
                f"{server.rest_port if server.rest_port >= 0 else 'off'}.",
                flush=True,
            )
            while signals.get() == signal.SIGHUP:
                server.reload()
            print("Stopping: open requests are answered.", flush=True)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
