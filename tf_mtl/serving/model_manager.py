"""ModelManager: all models that a server has, kept up to date with their folders."""

import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import models_config
from tf_mtl.serving.batching import Batching
from tf_mtl.serving.errors import (
    RequestError,
    failed_precondition,
    invalid_argument,
    not_found,
)
from tf_mtl.serving.saved_model import Servable
from tf_mtl.serving.served_model import ServedModel
from tf_mtl.serving.tensors import DEFAULT_MAX_ROWS, MAX_VALUES
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
        # Models that a reload left out, until their last request is answered.
        self._retired: list[ServedModel] = []
        # One at a time changes what is loaded: the thread that polls, or a reload.
        self._changing = threading.Lock()
        # Reloads do not queue up.
        self._reloading = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._poll, name="model-poll", daemon=True
        )

    def start(self) -> None:
        """Loads all models, then keeps looking at their folders.

        Raises:
            ValueError: if a model cannot be loaded.
        """
        for model in self._models.values():
            model.refresh()
        errors = [
            f"{name!r}: {_error(model)}"
            for name, model in self._models.items()
            if not model.available()
        ]
        if errors:
            for model in self._models.values():
                model.close(0.0)
            raise ValueError(
                "All models must be such that they can be loaded. Received: "
                + "; ".join(errors)
            )
        self._thread.start()

    def stop(self, timeout: float = 0.0) -> None:
        """Ends the polling and closes all models; there are no reloads after it.

        Args:
            timeout: seconds to wait for requests, and for a version that is loading.
        """
        end = time.monotonic() + timeout
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        # A reload may be loading, in a thread of its own.
        if not self._changing.acquire(timeout=max(0.0, end - time.monotonic())):
            _logger.warning("A version is still loading: models are not closed.")
            return
        try:
            for model in (*self._retired, *self._models.values()):
                if not model.close(max(0.0, end - time.monotonic())):
                    name = model.config.name
                    _logger.warning("%s: requests are still computed.", name)
        finally:
            self._changing.release()

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Gives the model that a request asks for, see `ServedModel.use`."""
        with contextlib.ExitStack() as stack:
            model = self._model(spec)
            try:
                servable = stack.enter_context(model.use(spec))
            except RequestError:
                # A reload may have replaced it since it was looked up.
                if self._model(spec) is model:
                    raise
                servable = stack.enter_context(self._model(spec).use(spec))
            yield servable

    def statuses(
        self, spec: model_pb2.ModelSpec
    ) -> list[get_model_status_pb2.ModelVersionStatus]:
        """States of the versions of a model, see `ServedModel.statuses`."""
        return self._model(spec).statuses(spec)

    def available(self) -> dict[str, list[int]]:
        """Name of each model to the numbers of the versions that answer."""
        return {name: model.available() for name, model in self._models.items()}

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves other models.

        All that is new is loaded first; then requests go to it, and what is left out is
        closed. If anything that the configuration names cannot be loaded, what is
        served stays as it is. A model that is served already keeps its versions if new
        ones of its version policy cannot be loaded, as when its folder is polled.

        Args:
            config: the configuration that replaces the present one.

        Raises:
            RequestError: INVALID_ARGUMENT if it cannot be served, FAILED_PRECONDITION
                if a new model, or a version that it names, cannot be loaded,
                UNAVAILABLE while another reload is under way, and when the models are
                closed.
        """
        if not self._reloading.acquire(blocking=False):
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE, "Another reload is under way."
            )
        try:
            self._reload(config)
        finally:
            self._reloading.release()

    def _reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        try:
            models_config.check(config)
        except (ValueError, OSError) as error:
            raise invalid_argument(str(error)) from error
        with self._changing:
            if self._stop.is_set():
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE, "The server takes no more reloads."
                )
            models = self._make(config)
            for name, model in models.items():
                old = self._models.get(name)
                if old and old.config.base_path == model.config.base_path:
                    models[name] = old
            wanted = self._prepare(config, models)
            for each in config.model_config_list.config:
                models[each.name].adopt(each, wanted[each.name])
            dropped = [m for n, m in self._models.items() if models.get(n) is not m]
            self._models = models
            self._retired += dropped
            self._close_retired()

    def _prepare(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        models: dict[str, ServedModel],
    ) -> dict[str, list[int]]:
        wanted = {}
        missing: list[str] = []
        for each in config.model_config_list.config:
            try:
                wanted[each.name], wrong = models[each.name].prepare(each)
                missing += wrong
            except OSError as error:
                missing.append(f"folder of {each.name!r}: {error!r}")
        if missing:
            for model in models.values():
                model.abandon()
            raise failed_precondition(
                "Nothing was changed: all models and versions must be such that they "
                "can be loaded. Received: " + "; ".join(missing)
            )
        return wanted

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
                if self._stop.is_set():
                    return
                for model in self._models.values():
                    try:
                        model.refresh()
                    # The other models, and the next look, must not suffer.
                    except Exception:
                        _logger.exception("%s: cannot be polled.", model.config.name)
                self._close_retired()

    def _close_retired(self) -> None:
        self._retired = [model for model in self._retired if not model.close(0.0)]


def _error(model: ServedModel) -> str:
    statuses = model.statuses(model_pb2.ModelSpec())
    return "; ".join(s.status.error_message for s in statuses) or "no version"


def load_warm(
    folder: pathlib.Path,
    name: str,
    version: int,
    batching: Batching | None = None,
    max_rows: int = DEFAULT_MAX_ROWS,
) -> Servable:
    """Loads a version and replays its warm-up requests, of any number of rows."""
    # The limit is for clients: what the model was exported with may have more rows.
    servable = Servable(folder, name, version, batching, MAX_VALUES)
    try:
        warm_up(servable)
    except Exception:
        servable.close()
        raise
    servable.limit_rows(max_rows)
    return servable
