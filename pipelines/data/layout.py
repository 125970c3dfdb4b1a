"""Where artifacts keep their files: as TFX does, so that its tools can read them."""

import pathlib

SCHEMA = "schema.pbtxt"
STATISTICS = "FeatureStats.pb"
ANOMALIES = "SchemaDiff.pb"
SERVING_MODEL = "Format-Serving"
HYPERPARAMETERS = "best_hyperparameters.txt"
_SPLIT = "Split-"


def split_folder(artifact: pathlib.Path, split: str) -> pathlib.Path:
    """The folder of a split."""
    return artifact / f"{_SPLIT}{split}"


def split_names(artifact: pathlib.Path) -> list[str]:
    """The splits that an artifact holds, sorted."""
    folders = artifact.glob(f"{_SPLIT}*")
    return sorted(folder.name.removeprefix(_SPLIT) for folder in folders)


def examples_pattern(artifact: pathlib.Path, split: str) -> str:
    """Glob pattern of the record files of a split, gzip-compressed."""
    return str(split_folder(artifact, split) / "*.gz")
