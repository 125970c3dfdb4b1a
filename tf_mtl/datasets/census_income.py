"""UCI Census-Income (KDD): income above 50,000 dollars, and never married."""

import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_mtl.datasets import census_files, records
from tf_mtl.datasets.census_files import CATEGORICAL, LABELS, NUMERIC, WEIGHT, download
from tf_mtl.datasets.columns import Columns, as_dataset, num_rows, take_rows
from tf_mtl.datasets.info import Column, DatasetInfo
from tf_mtl.datasets.splits import parse_split

__all__ = [
    "CATEGORICAL",
    "INFO",
    "LABELS",
    "NUMERIC",
    "WEIGHT",
    "CensusIncome",
    "download",
    "features",
    "load",
    "load_columns",
]

# Their values name the marital status, which gives the second task away.
_LEAKING = ("tax_filer_stat", "det_hh_fam_stat", "det_hh_summ")
_DESCRIPTION = """\
Records of the 1994 and 1995 Current Population Survey of the US Census Bureau.
Tasks: `income` (above 50,000 dollars) and `never_married`."""


class CensusIncome(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of Census-Income (KDD), splits `train` and `test`.

    The files are read from `download_config.manual_dir`; nothing is fetched. Rows keep
    the order of the files. `load` is the fast way to read what this builder prepares.

    Columns: 7 numbers (`NUMERIC`) and the sampling weight `instance_weight` as float32,
    32 nominals (`CATEGORICAL`) as strings, the labels `income` and `never_married` as
    float32 0 or 1. The weight says how many people a record stands for: it may weight a
    loss and must not be a feature.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    Place 'census-income.data' and 'census-income.test', plain or with '.gz', in
    `manual_dir`: call `tf_mtl.datasets.census_income.download(manual_dir)`, or unpack
    {census_files.ARCHIVE_URL} there."""
    # No checksums of downloads. TFDS would look for a file of them with a package that
    # it does not require (importlib_resources).
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        columns: dict[str, type] = {
            **dict.fromkeys((*NUMERIC, WEIGHT, *LABELS), np.float32),
            **dict.fromkeys(CATEGORICAL, np.str_),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(columns),
            homepage="https://archive.ics.uci.edu/dataset/117/census+income+kdd",
            license="CC BY 4.0",
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, object]:
        paths = census_files.find(dl_manager.manual_dir)
        return {split: self._generate_examples(path) for split, path in paths.items()}

    def _generate_examples(self, path: os.PathLike[str]) -> object:
        return enumerate(census_files.read_rows(path))


def features(
    strict: bool = False, drop_education: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns to use as features, by type.

    Args:
        strict: bool. Leaves out three columns whose values name the marital status.
            Published results keep them.
        drop_education: bool. Leaves out `education`, as where it is a label.

    Returns:
        Names of the numeric and of the categorical features: 7 and 32 by default.
    """
    dropped = (_LEAKING if strict else ()) + (("education",) if drop_education else ())
    return NUMERIC, tuple(name for name in CATEGORICAL if name not in dropped)


def load_columns(
    split: str,
    manual_dir: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, tf.Tensor]:
    """Loads all columns of a split into memory, in the order of the file.

    The first call prepares both splits with TFDS (about 0.5 ms a row, 40 seconds for
    80,000); later calls read what it wrote (1 second for 60,000). The prepared data are
    named after the content of the files, so other files in `manual_dir` are never
    answered from an old cache.

    Args:
        split: string. `"train"`, `"test"`, or a part such as `"train[:90%]"`.
        manual_dir: folder with the official files, plain or with `.gz`.
        data_dir: folder for prepared data. `None` means that of TFDS.

    Returns:
        dict of tensors of shape `(rows,)`: `NUMERIC`, `CATEGORICAL`, `LABELS` and
        `instance_weight`.

    Raises:
        FileNotFoundError: if a file is missing in `manual_dir`.
        ValueError: if `split` is unknown or a file is damaged, see
            `census_files.read_rows`.
    """
    part = parse_split(split, census_files.FILES)
    paths = census_files.find(manual_dir)
    builder = CensusIncome(
        data_dir=data_dir,
        config=tfds.core.BuilderConfig(
            name=census_files.fingerprint(paths),
            description="Named after the content of the files.",
        ),
    )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=manual_dir, try_download_gcs=False
        )
    )
    pattern = builder.data_path / f"{builder.name}-{part.name}.tfrecord-*"
    spec = builder.info.features.tf_example_spec
    # File by file: one pattern over several would mix their rows.
    files = sorted(tf.io.gfile.glob(os.fspath(pattern)))
    with records.named_errors(), tf.device("CPU:0"):
        batches = [batch for file in files for batch in records.read(file, spec)]
        columns = {name: tf.concat([b[name] for b in batches], axis=0) for name in spec}
    return take_rows(columns, part.rows(num_rows(columns)))


def load(
    split: str,
    manual_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    shuffle_seed: int | None = None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Loads a split as a dataset of `(features, labels)`.

    Args:
        split: string. `"train"`, `"test"`, or a part such as `"train[:90%]"`.
        manual_dir: folder with the official files, plain or with `.gz`.
        data_dir: folder for prepared data. `None` means that of TFDS.
        batch_size: int. Rows per batch, or `None` for single rows.
        shuffle_seed: int. Seed of a new order in each iteration, or `None` for the
            order of the file. See `columns.as_dataset`.
        drop_remainder: bool. Leaves out a last batch that is not full.

    Returns:
        `tf.data.Dataset` of two dicts of tensors of shape `(batch,)`: the 39 features
        of `features()`, float32 or string, and `LABELS`, float32 0 or 1.

    Raises:
        FileNotFoundError: if a file is missing in `manual_dir`.
        ValueError: if `split` is unknown or a file is damaged.
    """
    inputs, labels = _features_and_labels(split, manual_dir, data_dir)
    return as_dataset(inputs, labels, batch_size, shuffle_seed, drop_remainder)


def _features_and_labels(
    split: str,
    manual_dir: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
) -> tuple[Columns, Columns]:
    columns = load_columns(split, manual_dir, data_dir)
    inputs = {name: columns[name] for name in (*NUMERIC, *CATEGORICAL)}
    return inputs, {name: columns[name] for name in LABELS}


INFO = DatasetInfo(
    name="census_income",
    description="UCI Census-Income (KDD): income above 50K, never married.",
    columns={
        **dict.fromkeys(NUMERIC, Column("numeric")),
        **dict.fromkeys(CATEGORICAL, Column("categorical")),
    },
    labels=dict.fromkeys(LABELS, "binary"),
    load_columns=_features_and_labels,
    download=download,
)
