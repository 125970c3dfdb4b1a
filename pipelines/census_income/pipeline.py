"""The pipeline of Census-Income: from the official files to a pushed model."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.components.example_gen import CsvExampleGen
from pipelines.definition import Pipeline
from pipelines.steps import make_steps


def create_pipeline(
    name: str,
    data_dir: str,
    splits: Mapping[str, str],
    columns: Sequence[str],
    **options: Any,
) -> Pipeline:
    """Makes the pipeline.

    Args:
        name: name of the pipeline.
        data_dir: folder of the official files.
        splits: dict of file patterns by split: `train` and `eval`.
        columns: names of the columns of the files, which have no header.
        **options: see `make_steps`.
    """
    example_gen = CsvExampleGen(data_dir, splits, columns)
    return Pipeline(name, [example_gen, *make_steps(example_gen, **options)])
