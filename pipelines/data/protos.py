"""Reading and writing the protos of tensorflow-metadata."""

import pathlib
from typing import TypeVar

from google.protobuf import message, text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipelines.data import layout

_Proto = TypeVar("_Proto", bound=message.Message)


def write(path: pathlib.Path, proto: message.Message) -> None:
    """Writes a proto: as text if the name ends in `.pbtxt`, else binary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pbtxt":
        path.write_text(text_format.MessageToString(proto))
    else:
        # One order of map entries, so that equal content has equal bytes.
        path.write_bytes(proto.SerializeToString(deterministic=True))


def write_statistics(
    statistics: statistics_pb2.DatasetFeatureStatistics, path: pathlib.Path
) -> None:
    """Writes the statistics of a split."""
    write(path, statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics]))


def read(path: pathlib.Path, proto: _Proto) -> _Proto:
    """Fills a proto from a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds something else; names it.
    """
    try:
        if path.suffix == ".pbtxt":
            return text_format.Parse(path.read_text(), proto)
        proto.ParseFromString(path.read_bytes())
        return proto
    except (text_format.ParseError, message.DecodeError) as error:
        kind = type(proto).__name__
        raise ValueError(f"{str(path)!r} must hold a {kind} proto. {error}") from error


def read_schema(artifact: pathlib.Path) -> schema_pb2.Schema:
    """The schema of an artifact."""
    return read(artifact / layout.SCHEMA, schema_pb2.Schema())


def read_statistics(
    artifact: pathlib.Path, split: str
) -> statistics_pb2.DatasetFeatureStatistics:
    """The statistics of a split."""
    path = layout.split_folder(artifact, split) / layout.STATISTICS
    return read(path, statistics_pb2.DatasetFeatureStatisticsList()).datasets[0]
