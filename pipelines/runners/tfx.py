"""Real TFX on this machine: `LocalDagRunner`, ML Metadata in SQLite."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration.metadata import Metadata

from pipelines.data import evaluation
from pipelines.definition import Pipeline
from pipelines.runners import local, tfx_nodes, tfx_pipeline


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        reason: why no model was pushed; None if the run completed.
        executed: names of the nodes that were executed; nodes that only look for an
            artifact of an earlier run are left out.
        cached: names of the nodes that were served from the cache.
    """

    reason: str | None
    executed: tuple[str, ...]
    cached: tuple[str, ...]


def run(
    pipeline: Pipeline,
    root: pathlib.Path,
    beam_options: Sequence[str] = local.BEAM_OPTIONS,
    cache: bool = True,
    report: Callable[[str], None] = print,
) -> Result:
    """Runs a pipeline by TFX.

    What did not change is taken from earlier runs. TFX compares inputs, parameters, the
    files of ExampleGen and the Python files beside a module file: after a change of
    other code say `cache=False`.

    Args:
        pipeline: the pipeline.
        root: folder of artifacts (`artifacts`) and records (`metadata.sqlite`).
        beam_options: options of Beam pipelines.
        cache: bool. Whether to look for earlier executions.
        report: takes a line of progress.

    Returns:
        `Result`. A run that stops at a verdict is no error.

    Raises:
        ValueError: if `root` holds runs of another pipeline.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    store = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(root / "metadata.sqlite")
    )
    with Metadata(store) as metadata:
        # Inputs of earlier runs are found by their type, whichever pipeline made them.
        contexts = metadata.store.get_contexts_by_type("pipeline")
        local.check_root(root, pipeline, (context.name for context in contexts))
    translated = tfx_pipeline.translate(
        pipeline,
        is_local=True,
        pipeline_root=str(root / "artifacts"),
        beam_pipeline_args=list(beam_options),
        enable_cache=cache,
        metadata_connection_config=store,
    )
    verdict = None
    try:
        tfx.orchestration.LocalDagRunner().run(translated)
    except tfx_nodes.Stopped as stopped:
        verdict = str(stopped)
    with Metadata(store) as metadata:
        result = _read_result(metadata.store, verdict)
    report(f"Executed: {', '.join(result.executed) or 'nothing'}.")
    report(f"From earlier runs: {', '.join(result.cached) or 'nothing'}.")
    if result.reason is not None:
        report(f"Stopped by {result.reason}")
    return result


def _read_result(store: metadata_store.MetadataStore, verdict: str | None) -> Result:
    """What the newest run left in the records."""
    newest = max(store.get_contexts_by_type("pipeline_run"), key=lambda c: c.id).id
    done: dict[bool, list[str]] = {True: [], False: []}
    for execution in sorted(
        store.get_executions_by_context(newest), key=lambda e: e.id
    ):
        if execution.type.endswith(".Resolver"):
            continue
        contexts = store.get_contexts_by_execution(execution.id)
        (node,) = (c.name for c in contexts if c.type == "node")
        is_cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
        done[is_cached].append(node.partition(".")[2])
    # TFX's Evaluator stops nothing: its Pusher looks at the blessing.
    failures = [
        evaluation.describe_failures(artifact.uri)
        for artifact in store.get_artifacts_by_context(newest)
        if artifact.type == "ModelEvaluation"
    ]
    reason = verdict or next((f"Evaluator: {x}" for x in failures if x), None)
    return Result(reason, tuple(done[False]), tuple(done[True]))
