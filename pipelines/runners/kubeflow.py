"""Kubeflow Pipelines and Vertex AI: the pipeline is compiled, not run."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

from tfx import v1 as tfx

from pipelines.definition import Pipeline
from pipelines.runners import local, tfx_pipeline


@dataclasses.dataclass(frozen=True)
class Result:
    """What was compiled.

    Attributes:
        path: the file to submit.
        reason: None, for nothing was run that could stop.
    """

    path: pathlib.Path
    reason: None = None


def run(
    pipeline: Pipeline,
    root: pathlib.Path,
    beam_options: Sequence[str] = local.BEAM_OPTIONS,
    cache: bool = True,
    image: str | None = None,
    remote_root: str | None = None,
    report: Callable[[str], None] = print,
) -> Result:
    """Compiles a pipeline to `<root>/<name>.json`, in the form of Kubeflow Pipelines 2.

    The raw files and the place to push to must be addresses that the cluster reaches.

    Args:
        pipeline: the pipeline.
        root: folder of the file.
        beam_options: options of Beam pipelines.
        cache: bool. Whether the cluster may take from earlier runs what did not change.
        image: container image with TFX 1.21 and this package; None takes TFX's own,
            which lacks the package.
        remote_root: where the cluster keeps artifacts. The user's module is packed and
            written there now. None takes `root`.
        report: takes a line of progress.

    Returns:
        `Result`.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    translated = tfx_pipeline.translate(
        pipeline,
        is_local=False,
        pipeline_root=remote_root or str(root / "artifacts"),
        beam_pipeline_args=list(beam_options),
        enable_cache=cache,
    )
    config = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
        default_image=image
    )
    path = root / f"{pipeline.name}.json"
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config, output_dir=str(root), output_filename=path.name
    )
    runner.run(translated)
    report(f"Compiled to {path}.")
    return Result(path)
