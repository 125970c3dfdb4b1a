"""What the Beam pipelines of the components have in common."""

import pathlib
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_model_analysis import constants as tfma_constants
from tfx_bsl.tfxio import tf_example_record

from pipelines.data import layout

# TFX's names; `WriteToTFRecord` adds the number of the file.
_RECORDS = "data_tfrecord"


def make_pipeline(options: Sequence[str]) -> beam.Pipeline:
    """A Beam pipeline with these options, to be used in a `with` statement."""
    return beam.Pipeline(options=PipelineOptions(list(options)))


def examples_io(
    artifact: pathlib.Path, split: str, schema: schema_pb2.Schema | None = None
) -> tf_example_record.TFExampleRecord:
    """Reads the examples of a split as Arrow record batches.

    Args:
        artifact: the examples.
        split: name of the split.
        schema: the columns with their types; None infers them, batch by batch.

    Returns:
        What has `BeamSource()`, and with a schema `TensorAdapterConfig()`.
    """
    return tf_example_record.TFExampleRecord(
        layout.examples_pattern(artifact, split),
        schema=schema,
        telemetry_descriptors=["pipelines"],
    )


def write_examples(
    artifact: pathlib.Path, split: str, name: str = _RECORDS
) -> beam.PTransform:
    """Writes serialized examples of a split."""
    prefix = layout.split_folder(artifact, split) / name
    return beam.io.WriteToTFRecord(str(prefix), file_name_suffix=".gz")


def evaluation_io(
    artifact: pathlib.Path, split: str
) -> tf_example_record.TFExampleRecord:
    """As `examples_io`, with the serialized example in a column too, for TFMA."""
    return tf_example_record.TFExampleRecord(
        layout.examples_pattern(artifact, split),
        raw_record_column_name=tfma_constants.ARROW_INPUT_COLUMN,
        telemetry_descriptors=["pipelines"],
    )
