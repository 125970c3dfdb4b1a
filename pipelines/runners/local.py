"""The embedded runner: in this process, with a cache, a store, and resumption."""

import contextlib
import dataclasses
import fcntl
import inspect
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pipelines import fingerprints
from pipelines.definition import Channel, Component, Context, Pipeline, Previous
from pipelines.store import Artifact, Execution, Store

# Named in full: `DirectRunner` would first look for a binary on the network.
BEAM_OPTIONS = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        run: its number in the store.
        reason: why it stopped before its end; None if it completed.
        executed: names of the components that were executed.
        cached: names of the components that were served from the cache.
        outputs: dict of artifacts by component and output.
    """

    run: int
    reason: str | None
    executed: tuple[str, ...]
    cached: tuple[str, ...]
    outputs: Mapping[tuple[str, str], Artifact]


def run(
    pipeline: Pipeline,
    root: pathlib.Path,
    beam_options: Sequence[str] = BEAM_OPTIONS,
    cache: bool = True,
    report: Callable[[str], None] = print,
) -> Result:
    """Runs a pipeline, component by component.

    A component whose code, parameters, files and inputs are those of an earlier
    execution is not executed again. So a run that was killed goes on where it was: call
    this again. The Trainer goes on after its last epoch. Artifacts appear under their
    final name when they are complete.

    Args:
        pipeline: the pipeline.
        root: folder of artifacts and store.
        beam_options: options of Beam pipelines.
        cache: bool. Whether to look for earlier executions.
        report: takes a line of progress.

    Returns:
        `Result`. A run that a component stopped is no error.

    Raises:
        BlockingIOError: if another run is going on in `root`.
        ValueError: if `root` holds runs of another pipeline.
        Exception: what a component raises, with its name in a note.
    """
    with _locked(root), contextlib.closing(Store(root)) as store:
        check_root(root, pipeline, (run.pipeline for run in store.runs()))
        for number in store.interrupt_unfinished():
            _remove(root, number)
        return _Run(pipeline, root, store, beam_options, cache, report).run()


class _Run:
    """One run, while it goes on."""

    def __init__(
        self,
        pipeline: Pipeline,
        root: pathlib.Path,
        store: Store,
        beam_options: Sequence[str],
        cache: bool,
        report: Callable[[str], None],
    ):
        self.pipeline = pipeline
        self.root = root
        self.store = store
        self.beam_options = beam_options
        self.cache = cache
        self.report = report
        self.outputs: dict[tuple[str, str], Artifact] = {}

    def run(self) -> Result:
        number = self.store.begin_run(self.pipeline.name)
        done: dict[bool, list[str]] = {True: [], False: []}
        reason = None
        try:
            for position, component in enumerate(self.pipeline.components, start=1):
                start = time.monotonic()
                title = f"[{position}/{len(self.pipeline.components)}] {component.name}"
                self.report(f"{title} ...")
                execution, cached = self._step(number, component)
                seconds = time.monotonic() - start
                how = f"from run {execution.run}" if cached else f"{seconds:.1f} s"
                self.report(f"{title}: {how}")
                done[cached].append(component.name)
                for name, artifact in execution.outputs.items():
                    self.outputs[component.name, name] = artifact
                if execution.reason is not None:
                    reason = f"{component.name}: {execution.reason}"
                    break
        except BaseException as error:
            is_failure = isinstance(error, Exception)
            state = "failed" if is_failure else "interrupted"
            self.store.finish_run(number, state, f"{component.name}: {error}")
            error.add_note(f"In component {component.name!r} of run {number}.")
            raise
        state = "complete" if reason is None else "stopped"
        self.store.finish_run(number, state, reason)
        if reason is not None:
            self.report(f"Stopped by {reason}")
        return Result(
            number, reason, tuple(done[False]), tuple(done[True]), self.outputs
        )

    def _step(self, run: int, component: Component) -> tuple[Execution, bool]:
        inputs = {n: self._resolve(source) for n, source in component.inputs.items()}
        key = cache_key(component, inputs)
        found = self.store.find_complete(component.name, key) if self.cache else None
        cached = found is not None and _is_intact(component, found)
        if found is None or not cached:
            found = self._execute(run, component, key, inputs)
        self.store.add_step(run, found.id, cached)
        return found, cached

    def _resolve(self, source: Channel | Previous) -> Artifact | None:
        if isinstance(source, Channel):
            return self.outputs[source.component, source.output]
        channel = source.channel
        current = self._resolve(channel)
        assert current is not None
        for earlier in self.store.find_previous(
            channel.component,
            channel.output,
            current.fingerprint,
            source.approved_by,
            self._input_name(source),
        ):
            if earlier.path.is_dir():
                return earlier
            self.report(
                f"{channel.component}: {str(earlier.path)!r} is gone, so that what "
                "was before it counts, if there is anything."
            )
        return None

    def _scratch(self, component: Component, key: str) -> pathlib.Path:
        """The folder that an attempt with the same key may have left, and no other."""
        parent = self.root / "scratch" / component.name
        for folder in parent.glob("*"):
            if folder.name != key or not self.cache:
                shutil.rmtree(folder)
        return parent / key

    def _input_name(self, source: Previous) -> str:
        """How the component that approves reads the channel, not what was before it."""
        for component in self.pipeline.components:
            if component.name == source.approved_by:
                for name, each in component.inputs.items():
                    if each == source.channel:
                        return name
        raise ValueError(
            f"`approved_by` must be a component that reads {source.channel}. Received: "
            f"{source.approved_by!r}."
        )

    def _execute(
        self,
        run: int,
        component: Component,
        key: str,
        inputs: Mapping[str, Artifact | None],
    ) -> Execution:
        present = {name: each for name, each in inputs.items() if each is not None}
        number = self.store.begin_execution(
            run, component.name, key, component.parameters, present
        )
        temporary, final = _folders(self.root, number)
        outputs = {name: temporary / name for name in component.OUTPUTS}
        scratch = self._scratch(component, key)
        try:
            for folder in outputs.values():
                folder.mkdir(parents=True)
            reason = component.execute(
                Context(
                    dict.fromkeys(inputs)
                    | {n: each.path for n, each in present.items()},
                    outputs,
                    self.beam_options,
                    scratch,
                )
            )
            temporary.rename(final)
            shutil.rmtree(scratch, ignore_errors=True)
            return self.store.complete_execution(
                number,
                {
                    name: (kind, final / name, fingerprints.of_folder(final / name))
                    for name, kind in component.OUTPUTS.items()
                },
                reason,
            )
        except BaseException as error:
            is_failure = isinstance(error, Exception)
            if is_failure:
                shutil.rmtree(scratch, ignore_errors=True)
            state = "failed" if is_failure else "interrupted"
            self.store.fail_execution(number, state, str(error))
            _remove(self.root, number)
            raise


def check_root(root: pathlib.Path, pipeline: Pipeline, known: Iterable[str]) -> None:
    """Refuses a folder that holds runs of another pipeline.

    Components of two pipelines go by the same names, and push to the same folder.

    Args:
        root: the folder.
        pipeline: the pipeline to run there.
        known: names of the pipelines that have runs there.

    Raises:
        ValueError: if there is another one.
    """
    others = sorted({*known} - {pipeline.name})
    if others:
        raise ValueError(
            f"`root` must hold runs of one pipeline. Received: root={str(root)!r} for "
            f"{pipeline.name!r}, with runs of {others}. Take another folder."
        )


def cache_key(component: Component, inputs: Mapping[str, Artifact | None]) -> str:
    """Fingerprint of all that the outputs of a component follow from.

    Args:
        component: the component.
        inputs: dict of artifacts by input.

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: if a file that it reads is missing.
    """
    source = pathlib.Path(inspect.getfile(type(component)))
    return fingerprints.of_value(
        {
            "class": type(component).__qualname__,
            "code": fingerprints.of_code(source),
            "parameters": component.parameters,
            "files": fingerprints.of_files(component.files),
            "inputs": {n: each and each.fingerprint for n, each in inputs.items()},
        }
    )


def _is_intact(component: Component, execution: Execution) -> bool:
    """Whether what an execution wrote is still there as it was."""
    folders = {name: each.path for name, each in execution.outputs.items()}
    return component.is_current(folders) and all(
        fingerprints.of_folder(each.path) == each.fingerprint
        for each in execution.outputs.values()
    )


def _folders(root: pathlib.Path, execution: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Folder of an execution while it runs, and after."""
    parent = root / "executions"
    return parent / f".{execution}.tmp", parent / str(execution)


def _remove(root: pathlib.Path, execution: int) -> None:
    for folder in _folders(root, execution):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(root: pathlib.Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    # The system lets go of the lock when the process ends, however it ends.
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another run is going on in {str(root)!r}. Wait for its end, or take "
                "another folder."
            ) from None
        yield
