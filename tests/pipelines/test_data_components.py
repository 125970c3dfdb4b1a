"""ExampleGen to ExampleValidator on tiny files, with one worker and with two."""

import gzip

import pytest
import tensorflow as tf

from pipelines.components.example_gen import CsvExampleGen, ImportExampleGen
from pipelines.components.example_validator import ExampleValidator
from pipelines.components.schema_gen import ImportSchemaGen, SchemaGen
from pipelines.components.statistics_gen import StatisticsGen
from pipelines.data import layout, protos
from pipelines.definition import Pipeline
from pipelines.runners import beam, local

SPLITS = {"train": "train.csv", "eval": "eval.csv*"}


def make_pipeline(folder, schema_file=None):
    examples = CsvExampleGen(str(folder), SPLITS)
    statistics = StatisticsGen(examples.outputs["examples"])
    schema = (
        ImportSchemaGen(str(schema_file))
        if schema_file
        else SchemaGen(statistics.outputs["statistics"], "train", 10, 0.05, 0.3, 0.3)
    )
    validator = ExampleValidator(
        statistics.outputs["statistics"],
        schema.outputs["schema"],
        "train",
        compare_columns=schema_file is None,
    )
    return Pipeline("data", [examples, statistics, schema, validator])


def write_rows(folder, ages=range(40), cities=("Oslo", "Rome")):
    rows = [f"{age}, {cities[i % len(cities)]}\n" for i, age in enumerate(ages)]
    (folder / "train.csv").write_text("age,city\n" + "".join(rows))
    (folder / "eval.csv").write_text("age,city\n" + "".join(rows[4:]))


def write_ages(folder, ages):
    text = "\n".join(["age", *map(str, ages)])
    (folder / "train.csv").write_text(text)
    (folder / "eval.csv").write_text(text)


@pytest.fixture
def folder(tmp_path):
    write_rows(tmp_path)
    return tmp_path


def read_examples(artifact, split):
    """Age and city of each example, sorted: files have no order."""
    files = tf.io.gfile.glob(layout.examples_pattern(artifact.path, split))
    rows = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        [age], [city] = (
            features["age"].int64_list.value,
            features["city"].bytes_list.value,
        )
        rows.append((age, city))
    return sorted(rows)


def run(folder, **options):
    root = folder / "root"
    return local.run(make_pipeline(folder, **options), root, report=lambda line: None)


def test_rows_become_examples_and_statistics(folder):
    result = run(folder)
    assert result.reason is None
    examples = result.outputs["CsvExampleGen", "examples"]
    assert layout.split_names(examples.path) == ["eval", "train"]
    rows = read_examples(examples, "train")
    assert rows == [(age, (b"Oslo", b"Rome")[age % 2]) for age in range(40)]
    statistics = protos.read_statistics(
        result.outputs["StatisticsGen", "statistics"].path, "eval"
    )
    assert statistics.num_examples == 36

    source = ImportExampleGen(str(examples.path), {"train": "Split-train/*.gz"})
    copied = local.run(Pipeline("copy", [source]), folder / "copy")
    copies = copied.outputs["ImportExampleGen", "examples"]
    assert read_examples(copies, "train") == rows


def test_file_beside_its_compressed_form_is_refused(folder):
    text = (folder / "eval.csv").read_bytes()
    (folder / "eval.csv.gz").write_bytes(gzip.compress(text))
    with pytest.raises(ValueError, match=r"split 'eval'.*eval\.csv'\] and the same"):
        run(folder)


@pytest.mark.parametrize(
    "mode",
    [
        "multi_threading",
        # Each process imports TensorFlow.
        pytest.param("multi_processing", marks=pytest.mark.slow),
    ],
)
def test_two_workers_give_what_one_gives(folder, mode):
    options = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    pipeline, root = make_pipeline(folder), folder / "workers"
    one, two = run(folder), beam.run(pipeline, root, [*local.BEAM_OPTIONS, *options])
    for split in ("train", "eval"):
        rows, statistics = (
            [read(result.outputs[name], split) for result in (one, two)]
            for read, name in (
                (read_examples, ("CsvExampleGen", "examples")),
                (read_statistics, ("StatisticsGen", "statistics")),
            )
        )
        assert rows[0] == rows[1]
        assert statistics[0] == statistics[1]


def read_statistics(artifact, split):
    return protos.read_statistics(artifact.path, split)


def test_drifting_feature_stops_until_it_is_back(folder):
    run(folder)
    write_rows(folder, ages=range(1000, 1040))
    for _ in range(2):  # Executed, then from the cache.
        result = run(folder)
        assert "ExampleValidator: 2 anomalies in the examples." in result.reason
        assert "train: age: Drift from the run before is 1.000" in result.reason
    write_rows(folder, ages=range(1, 41))
    assert run(folder).reason is None


def test_dropped_column_stops_until_the_schema_is_kept(folder):
    run(folder)
    write_ages(folder, range(40))
    result = run(folder)
    assert "ExampleValidator: 2 anomalies" in result.reason
    assert "train: city: The column was in the run before." in result.reason
    kept = folder / "kept.pbtxt"
    schema = result.outputs["SchemaGen", "schema"].path / layout.SCHEMA
    kept.write_text(schema.read_text())
    assert run(folder, schema_file=kept).reason is None
    # The column is accepted: for the next rows the inferred schema will do again.
    write_ages(folder, range(1, 41))
    assert run(folder).reason is None


def test_kept_schema_stops_other_data(folder):
    path = run(folder).outputs["SchemaGen", "schema"].path / layout.SCHEMA
    kept = folder / "kept.pbtxt"
    kept.write_text(path.read_text())
    write_rows(folder, cities=("Oslo", "Bonn"))
    reason = run(folder, schema_file=kept).reason
    assert "'Bonn'" in reason
    kept.write_text('feature { name: "age" type: INT not_in_environment: "SERVING" }')
    with pytest.raises(ValueError, match="age.not_in_environment"):
        run(folder, schema_file=kept)
    kept.write_text("no schema")
    with pytest.raises(ValueError, match="must hold a Schema proto"):
        run(folder, schema_file=kept)
