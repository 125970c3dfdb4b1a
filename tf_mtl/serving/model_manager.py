"""ModelManager: all models that a server has, kept up to date with their folders."""

import contextlib
import logging
import pathlib
import threading
from collections.abc import Callable

from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import models_config
from tf_mtl.serving.batching import Batching
from tf_mtl.serving.errors import invalid_argument, not_found
from tf_mtl.serving.saved_model import Servable
from tf_mtl.serving.served_model import ServedModel
from tf_mtl.serving.tensors import DEFAULT_MAX_ROWS
from tf_mtl.serving.warmup import warm_up

_logger = logging.getLogger(__name__)


class ModelManager:
    """The models of a server.

    Args:
        config: names, folders, policies and labels.
        poll_seconds: float. Time between two looks at the folders.
        load: function of folder, name and number that gives a warm `Servable`.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        poll_seconds: float,
        load: Callable[[pathlib.Path, str, int], Servable],
    ) -> None:
        models_config.check(config)
        self._load = load
        self._poll_seconds = poll_seconds
        self._models = self._make(config)
        # One at a time changes what is loaded: the thread that polls, or a reload.
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-poll")

    def start(self) -> None:
        """Loads all models, then keeps looking at their folders.

        Raises:
            ValueError: if a model cannot be loaded.
        """
        for model in self._models.values():
            model.refresh()
        errors = [
            f"{name!r}: {status.status.error_message}"
            for name, model in self._models.items()
            for status in model.statuses(model_pb2.ModelSpec())
            if not model.available()
        ]
        if errors:
            self._close(self._models)
            raise ValueError(
                "All models must be such that they can be loaded. Received: "
                + "; ".join(errors)
            )
        self._thread.start()

    def stop(self) -> None:
        """Ends the polling and closes all models when their requests are answered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close(self._models)

    def use(
        self, spec: model_pb2.ModelSpec
    ) -> contextlib.AbstractContextManager[Servable]:
        """Gives the model that a request asks for, see `ServedModel.use`."""
        return self._model(spec).use(spec)

    def statuses(
        self, spec: model_pb2.ModelSpec
    ) -> list[get_model_status_pb2.ModelVersionStatus]:
        """States of the versions of a model, see `ServedModel.statuses`."""
        return self._model(spec).statuses(spec)

    def available(self) -> dict[str, list[int]]:
        """Name of each model to the numbers of the versions that answer."""
        return {name: model.available() for name, model in self._models.items()}

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves other models: new ones are loaded, then those left out are closed.

        Args:
            config: the configuration that replaces the present one.

        Raises:
            RequestError: INVALID_ARGUMENT if it cannot be served; nothing changes then.
        """
        try:
            models_config.check(config)
        except ValueError as error:
            raise invalid_argument(str(error)) from error
        with self._changing:
            models = self._make(config)
            for name, model in models.items():
                old = self._models.get(name)
                if old and old.config.base_path == model.config.base_path:
                    # What it has loaded stays; policy and labels change.
                    old.config = model.config
                    models[name] = old
                models[name].refresh()
            dropped = {n: m for n, m in self._models.items() if models.get(n) is not m}
            self._models = models
            self._close(dropped)

    def _model(self, spec: model_pb2.ModelSpec) -> ServedModel:
        if not spec.name:
            raise invalid_argument("Missing ModelSpec: a request must name its model.")
        model = self._models.get(spec.name)
        if model is None:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        return model

    def _make(
        self, config: model_server_config_pb2.ModelServerConfig
    ) -> dict[str, ServedModel]:
        return {
            model.name: ServedModel(model, self._load)
            for model in config.model_config_list.config
        }

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            with self._changing:
                for model in self._models.values():
                    model.refresh()

    @staticmethod
    def _close(models: dict[str, ServedModel]) -> None:
        for model in models.values():
            model.close()


def load_warm(
    folder: pathlib.Path,
    name: str,
    version: int,
    batching: Batching | None = None,
    max_rows: int = DEFAULT_MAX_ROWS,
) -> Servable:
    """Loads a version and replays its warm-up requests."""
    servable = Servable(folder, name, version, batching, max_rows)
    try:
        warm_up(servable)
    except Exception:
        servable.close()
        raise
    return servable
