"""ExampleGen: raw files to `tf.Example` records, one folder per split."""

import glob
import pathlib
from collections.abc import Mapping, Sequence

from pipelines.definition import Component, Context


class CsvExampleGen(Component):
    """Reads CSV files.

    A column is int64 if all its values are whole numbers, float32 if all are numbers,
    else bytes. Spaces around a value are dropped; an empty value is left out of its
    example. A line is a row.

    Args:
        input_base: folder of the files.
        splits: dict of glob patterns below it by split. Files ending in `.gz` are
            decompressed.
        columns: names of the columns; None reads them from the first line.
        name: name of the component.
    """

    OUTPUTS = {"examples": "Examples"}

    def __init__(
        self,
        input_base: str,
        splits: Mapping[str, str],
        columns: Sequence[str] | None = None,
        name: str = "CsvExampleGen",
    ):
        parameters = {
            "input_base": input_base,
            "splits": dict(splits),
            "columns": columns and list(columns),
        }
        super().__init__(name, {}, parameters, _patterns(input_base, splits))

    def execute(self, context: Context) -> None:
        """Infers types from all splits, then casts and writes."""
        import apache_beam as beam
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        from pipelines.data import csv
        from pipelines.data.beam import make_pipeline, write_examples

        columns = self.parameters["columns"]
        encoder = RecordBatchToExamplesEncoder()
        with make_pipeline(context.beam_options) as pipeline:
            blocks = {
                split: pipeline
                | f"Files[{split}]" >> beam.Create(_match(self, split))
                | f"Read[{split}]" >> beam.FlatMap(csv.read_blocks, columns)
                | f"Spread[{split}]" >> beam.Reshuffle()
                for split in self.parameters["splits"]
            }
            types = (
                list(blocks.values())
                | beam.Flatten()
                | beam.Map(csv.infer_types)
                | beam.CombineGlobally(csv.merge_types)
            )
            for split, lines in blocks.items():
                _ = (
                    lines
                    | f"Cast[{split}]"
                    >> beam.Map(csv.to_record_batch, beam.pvalue.AsSingleton(types))
                    | f"Encode[{split}]" >> beam.FlatMap(encoder.encode)
                    | f"Write[{split}]"
                    >> write_examples(context.outputs["examples"], split)
                )


class ImportExampleGen(Component):
    """Takes over TFRecord files of `tf.Example`s.

    Args:
        input_base: folder of the files.
        splits: dict of glob patterns below it by split. Files ending in `.gz` are
            decompressed.
        name: name of the component.
    """

    OUTPUTS = {"examples": "Examples"}

    def __init__(
        self,
        input_base: str,
        splits: Mapping[str, str],
        name: str = "ImportExampleGen",
    ):
        parameters = {"input_base": input_base, "splits": dict(splits)}
        super().__init__(name, {}, parameters, _patterns(input_base, splits))

    def execute(self, context: Context) -> None:
        """Copies the records."""
        import apache_beam as beam

        from pipelines.data.beam import make_pipeline, write_examples

        with make_pipeline(context.beam_options) as pipeline:
            for split in self.parameters["splits"]:
                _ = (
                    pipeline
                    | f"Files[{split}]" >> beam.Create(_match(self, split))
                    | f"Read[{split}]" >> beam.io.ReadAllFromTFRecord()
                    | f"Write[{split}]"
                    >> write_examples(context.outputs["examples"], split)
                )


def _patterns(input_base: str, splits: Mapping[str, str]) -> list[str]:
    return [str(pathlib.Path(input_base) / pattern) for pattern in splits.values()]


def _match(component: Component, split: str) -> list[str]:
    base, splits = component.parameters["input_base"], component.parameters["splits"]
    found = sorted(glob.glob(str(pathlib.Path(base) / splits[split])))
    twice = [path for path in found if f"{path}.gz" in found]
    if twice:
        raise ValueError(
            f"`splits` must not match a file beside its `.gz`, or every row counts "
            f"twice. Received: split {split!r}, {splits[split]!r} in {base!r}, which "
            f"matches {twice} and the same with .gz. Remove one of both."
        )
    return found
