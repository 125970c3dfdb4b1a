"""Read a data set once, check it, and keep it in a form that is fast to read.

Examples:
  tf-mtl data prepare --dataset=census_income --manual_dir=census
  tf-mtl data prepare --dataset=census_income --manual_dir=census --download
  tf-mtl data prepare --dataset=drgrad_conflict --output_dir=drgrad

Source files in --manual_dir are prepared in --data_dir, where `train` finds them; it
would do the same at its start. With --output_dir the splits are also written as
TFRecord files of tf.train.Example: OUTPUT_DIR/train-00000-of-00001 ...
"""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
    """Declares the options."""
    for name, default, text in (
        ("dataset", "census_income", "Data set by name."),
        ("manual_dir", None, "Folder with its source files, where it has some."),
        ("data_dir", None, "Folder for prepared data; without it, that of TFDS."),
        ("output_dir", None, "Folder for TFRecord files."),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_integer(
        "num_shards", 1, "TFRecord files per split.", flag_values=values
    )
    flags.DEFINE_bool(
        "download",
        False,
        "Fetch the source files into --manual_dir first.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Prepares the data.

    Raises:
        ValueError: if there is nothing to prepare or nothing to fetch.
    """
    from tf_mtl import datasets
    from tf_mtl.datasets.columns import num_rows

    info = datasets.get(values.dataset)
    if info.download is None and (values.download or not values.output_dir):
        raise ValueError(
            f"`dataset` {info.name!r} is generated: there is nothing to fetch, and to "
            "prepare only TFRecord files. Pass --output_dir, and not --download."
        )
    if values.download and info.download is not None:
        if not values.manual_dir:
            raise ValueError("`manual_dir` must be given to --download: the folder.")
        info.download(values.manual_dir)
    for split in info.splits:
        features, labels = info.load_columns(split, values.manual_dir, values.data_dir)
        print(f"{split}: {num_rows(labels):,} rows, {len(features)} features")
        if values.output_dir:
            path = f"{values.output_dir}/{split}"
            written = datasets.records.write(
                path,
                {**features, **labels},
                values.num_shards,
            )
            print(f"    {written[0]}" + (" ..." if len(written) > 1 else ""))
