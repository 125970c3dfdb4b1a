"""ServedModel: the versions of a model, exchanged without losing a request."""

import contextlib
import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable, Iterator

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.files import version_folders
from tf_mtl.serving import versions
from tf_mtl.serving.errors import RequestError, invalid_argument, not_found
from tf_mtl.serving.saved_model import Servable

_State = get_model_status_pb2.ModelVersionStatus.State
_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class _Version:
    number: int
    identity: tuple[int, int]
    state: int = _State.LOADING
    error: str = ""
    users: int = 0
    servable: Servable | None = None


class ServedModel:
    """The loaded versions of one model.

    `refresh` compares them with the folder. A new version is loaded and warmed beside
    the old one, then new requests go to it; the old one is closed when its last request
    is answered. If nothing that is wanted can be loaded, what is served stays.

    Args:
        config: name, folder, version policy and labels.
        load: function of folder, name and number that gives a warm `Servable`.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelConfig,
        load: Callable[[pathlib.Path, str, int], Servable],
    ) -> None:
        self.config = config
        self._load = load
        self._versions: dict[int, _Version] = {}
        # Guards `_versions` and is notified when a version loses its last user.
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Gives the version that a request asks for, and keeps it open meanwhile.

        Args:
            spec: version or label; the newest that is available if there is neither.

        Yields:
            The servable.

        Raises:
            RequestError: NOT_FOUND if the version is not available, INVALID_ARGUMENT
                for an unknown label.
        """
        with self._changed:
            version = self._find(spec)
            version.users += 1
        try:
            assert version.servable is not None
            yield version.servable
        finally:
            with self._changed:
                version.users -= 1
                if not version.users:
                    self._changed.notify_all()

    def available(self) -> list[int]:
        """Numbers of the versions that answer, in increasing order."""
        with self._changed:
            return self._available()

    def refresh(self) -> None:
        """Loads and closes versions until they are what folder and policy say.

        One thread at a time may call it. Errors of loading are logged, and told by
        `statuses`; a version is loaded again when its folder is replaced.
        """
        try:
            found = version_folders(pathlib.Path(self.config.base_path))
        except OSError as error:
            _logger.warning("%s: cannot read its folder: %s", self.config.name, error)
            return
        wanted = versions.wanted(self.config.model_version_policy, found)
        for number in wanted:
            self._load_version(number, found[number])
        with self._changed:
            failed = [n for n, v in self._versions.items() if v.error]
            if any(number in wanted for number in self._available()):
                outdated = [n for n in self._available() if n not in wanted]
            else:
                outdated = []
            for number in failed:
                if number not in found:
                    del self._versions[number]
        for number in outdated:
            self._unload(number)

    def close(self) -> None:
        """Closes all versions when their requests are answered."""
        for number in self.available():
            self._unload(number)

    def statuses(
        self, spec: model_pb2.ModelSpec
    ) -> list[get_model_status_pb2.ModelVersionStatus]:
        """State of the versions, or of the one that is asked for.

        Args:
            spec: version or label, or neither.

        Returns:
            list, the newest version first. Unloaded versions are not listed; those that
            could not be loaded have the state END and an error.

        Raises:
            RequestError: NOT_FOUND or INVALID_ARGUMENT.
        """
        with self._changed:
            listed = sorted(self._versions.values(), key=lambda v: -v.number)
            number = self._number(spec)
            if number is not None:
                listed = [version for version in listed if version.number == number]
                if not listed:
                    raise self._not_found(number)
            return [_status(version) for version in listed]

    def _available(self) -> list[int]:
        return sorted(
            number
            for number, version in self._versions.items()
            if version.state == _State.AVAILABLE
        )

    def _find(self, spec: model_pb2.ModelSpec) -> _Version:
        number = self._number(spec)
        if number is None:
            available = self._available()
            if not available:
                raise not_found(
                    f"Servable not found for request: Latest({self.config.name})"
                )
            return self._versions[available[-1]]
        version = self._versions.get(number)
        if version is None or version.state != _State.AVAILABLE:
            raise self._not_found(number)
        return version

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.version.value
        if choice == "version_label":
            labels = self.config.version_labels
            if spec.version_label not in labels:
                raise invalid_argument(
                    f"Unrecognized servable version label: {spec.version_label}. "
                    f"There are {sorted(labels)}."
                )
            return labels[spec.version_label]
        return None

    def _not_found(self, number: int) -> RequestError:
        return not_found(
            f"Servable not found for request: Specific({self.config.name}, {number})"
        )

    def _load_version(self, number: int, folder: pathlib.Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            identity = _identity(folder)
            with self._changed:
                known = self._versions.get(number)
                if known and (not known.error or known.identity == identity):
                    return
                version = self._versions[number] = _Version(number, identity)
            _logger.info("%s: loading version %d.", self.config.name, number)
            try:
                servable = self._load(folder, self.config.name, number)
            # Whatever is wrong with one version, others must go on answering.
            except Exception as error:
                _logger.exception("%s: version %d failed.", self.config.name, number)
                with self._changed:
                    version.state, version.error = _State.END, str(error)[:1000]
                return
            with self._changed:
                version.servable, version.state = servable, _State.AVAILABLE
            _logger.info("%s: version %d is available.", self.config.name, number)

    def _unload(self, number: int) -> None:
        with self._changed:
            version = self._versions[number]
            version.state = _State.UNLOADING
            self._changed.wait_for(lambda: not version.users)
            del self._versions[number]
        assert version.servable is not None
        version.servable.close()
        _logger.info("%s: version %d is unloaded.", self.config.name, number)


def _identity(folder: pathlib.Path) -> tuple[int, int]:
    """Tells a folder from what it is when it is replaced or copied to the end."""
    files = [folder, *folder.rglob("*")]
    return len(files), max(file.stat().st_mtime_ns for file in files)


def _status(version: _Version) -> get_model_status_pb2.ModelVersionStatus:
    status = get_model_status_pb2.ModelVersionStatus(
        version=version.number, state=version.state
    )
    # Present also where all is well, as TensorFlow Serving has it.
    status.status.SetInParent()
    if version.error:
        status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
        status.status.error_message = version.error
    return status
