"""The pipeline of the synthetic feed: from records to a pushed model."""

from collections.abc import Mapping
from typing import Any

from pipelines.components.example_gen import ImportExampleGen
from pipelines.definition import Pipeline
from pipelines.steps import make_steps


def create_pipeline(
    name: str, data_dir: str, splits: Mapping[str, str], **options: Any
) -> Pipeline:
    """Makes the pipeline.

    Args:
        name: name of the pipeline.
        data_dir: folder of the record files.
        splits: dict of file patterns by split: `train` and `eval`.
        **options: see `make_steps`.
    """
    example_gen = ImportExampleGen(data_dir, splits)
    return Pipeline(name, [example_gen, *make_steps(example_gen, **options)])
