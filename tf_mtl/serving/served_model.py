"""ServedModel: the versions of a model, exchanged without losing a request."""

import contextlib
import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable, Collection, Iterator

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.files import version_folders
from tf_mtl.serving import versions
from tf_mtl.serving.errors import RequestError, invalid_argument, not_found
from tf_mtl.serving.saved_model import Servable

_State = get_model_status_pb2.ModelVersionStatus.State
_READY = (_State.LOADING, _State.AVAILABLE)
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
    the old one, then new requests go to it; the old one is closed by a later `refresh`,
    when its last request is answered. If nothing that is wanted can be loaded, what is
    served stays.

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
        # Guards `config` and `_versions`; notified when a version loses its last user.
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

        One thread at a time may call this, `prepare`, `adopt`, `abandon` and `close`.
        Errors of loading are logged, and told by `statuses`; a version is loaded again
        when its folder is replaced.
        """
        try:
            wanted, _ = self.prepare(self.config)
        except OSError as error:
            _logger.warning("%s: cannot read its folder: %r", self.config.name, error)
            self._close_unused()
        else:
            self.adopt(self.config, wanted)

    def prepare(
        self, config: model_server_config_pb2.ModelConfig
    ) -> tuple[list[int], list[str]]:
        """Loads what a configuration wants; nothing new answers yet.

        Args:
            config: of the same name and folder.

        Returns:
            The versions that it wants, and what is missing: versions that it names, by
            number or label, and all if none could be loaded.

        Raises:
            OSError: if the folder cannot be read.
        """
        found = version_folders(pathlib.Path(config.base_path))
        wanted = versions.wanted(config.model_version_policy, found)
        for number in wanted:
            self._load_version(number, found[number])
        needed = {*config.model_version_policy.specific.versions}
        needed |= {*config.version_labels.values()}
        with self._changed:
            ready = {n for n, v in self._versions.items() if v.state in _READY}
            failed = {n: v.error for n, v in self._versions.items() if v.error}
        missing = [
            f"version {number} of {config.name!r}: {failed.get(number, 'not found')}"
            for number in sorted((needed if ready else needed.union(wanted)) - ready)
        ]
        return wanted, missing

    def adopt(
        self, config: model_server_config_pb2.ModelConfig, wanted: Collection[int]
    ) -> None:
        """Serves a configuration: what `prepare` loaded answers, the rest is closed.

        Args:
            config: what `prepare` was given.
            wanted: the versions that it returned.
        """
        with self._changed:
            self.config = config
            for number, version in self._versions.items():
                if version.state == _State.LOADING:
                    version.state = _State.AVAILABLE
                    _logger.info("%s: version %d is available.", config.name, number)
            available = self._available()
            if any(number in wanted for number in available):
                for number in available:
                    if number not in wanted:
                        self._versions[number].state = _State.UNLOADING
            for number in [n for n, v in self._versions.items() if v.error]:
                if number not in wanted:
                    del self._versions[number]
        self._close_unused()

    def abandon(self) -> None:
        """Closes what `prepare` loaded."""
        with self._changed:
            for version in self._versions.values():
                if version.state == _State.LOADING:
                    version.state = _State.UNLOADING
        self._close_unused()

    def close(self, timeout: float) -> bool:
        """Closes all versions; those that are in use when the time is over stay open.

        Args:
            timeout: seconds to wait for requests.

        Returns:
            Whether all are closed.
        """
        with self._changed:
            for version in self._versions.values():
                if version.state in _READY:
                    version.state = _State.UNLOADING
            self._changed.wait_for(
                lambda: not any(v.users for v in self._versions.values()), timeout
            )
        self._close_unused()
        with self._changed:
            return not any(v.servable for v in self._versions.values())

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
        name = self.config.name
        try:
            identity = _identity(folder)
        except OSError as error:
            # It may have been removed since it was found.
            _logger.warning("%s: cannot read version %d: %r", name, number, error)
            return
        with self._changed:
            known = self._versions.get(number)
            if known and known.identity == identity and known.state == _State.UNLOADING:
                # Wanted again before its last request was answered.
                known.state = _State.LOADING
            if known and (known.state != _State.END or known.identity == identity):
                return
            version = self._versions[number] = _Version(number, identity)
        _logger.info("%s: loading version %d.", name, number)
        try:
            version.servable = self._load(folder, name, number)
        # Whatever is wrong with one version, others must go on answering.
        except Exception as error:
            _logger.exception("%s: version %d failed.", name, number)
            with self._changed:
                version.state = _State.END
                version.error = (str(error) or repr(error))[:1000]

    def _close_unused(self) -> None:
        # Never waits: what is in use is closed when this is called again.
        with self._changed:
            unused = [
                version
                for version in self._versions.values()
                if version.state == _State.UNLOADING and not version.users
            ]
            for version in unused:
                del self._versions[version.number]
        for version in unused:
            assert version.servable is not None
            version.servable.close()
            _logger.info(
                "%s: version %d is unloaded.", self.config.name, version.number
            )


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
