"""The local runner, with the data-parallel steps on another Beam runner."""

import pathlib
from collections.abc import Sequence
from typing import Any

from pipelines.definition import Pipeline
from pipelines.runners import local


def run(
    pipeline: Pipeline, root: pathlib.Path, beam_options: Sequence[str], **options: Any
) -> local.Result:
    """Runs a pipeline; Beam pipelines get the options that are given.

    Args:
        pipeline: the pipeline.
        root: folder of artifacts and store. Workers must be able to write there.
        beam_options: options of Beam pipelines, which name their runner.
        **options: see `local.run`.

    Returns:
        See `local.run`.

    Raises:
        ValueError: if the options name no Beam runner, or one that would fetch a
            program from the network.
    """
    names = [o.partition("=")[2] for o in beam_options if o.startswith("--runner=")]
    if not names or names[-1] in ("DirectRunner", "PrismRunner"):
        raise ValueError(
            "`beam_options` must name a Beam runner, such as --runner=FlinkRunner. "
            f"Received: {list(beam_options)}. On this machine, with two workers: "
            f"{local.BEAM_OPTIONS[0]},--direct_num_workers=2,"
            "--direct_running_mode=multi_processing."
        )
    return local.run(pipeline, root, beam_options, **options)
