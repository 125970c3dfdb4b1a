"""What was learned travels with the model, to `.keras` files and SavedModels."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.features import Bucketized, Categorical, Hashed, Numeric, Preprocessor

RAW = {
    "city": np.array(["Rome", "a\nb\\", "Rome", ""]),
    "code": np.array([3, 4, 4, 9]),
    "tags": np.array([["x", ""], ["y", "x"], ["", ""], ["q", "z"]]),
    "age": np.array([10.0, 25.5, np.nan, 1 / 3], np.float32),
}
UNSEEN = {**RAW, "city": np.array(["Lima", "Rome", "a\nb\\", ""])}


@keras.saving.register_keras_serializable(package="tf_mtl_tests")
class Owner(keras.Model):
    """A model that holds its preprocessor."""

    def __init__(self, preprocessor, **kwargs):
        super().__init__(**kwargs)
        self.preprocessor = preprocessor
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs["age"])

    def get_config(self):
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        return {**super().get_config(), "preprocessor": preprocessor}

    @classmethod
    def from_config(cls, config):
        preprocessor = keras.saving.deserialize_keras_object(config.pop("preprocessor"))
        return cls(preprocessor, **config)


def make_features():
    return [
        Categorical("city"),
        Categorical("code", dtype="int64"),
        Hashed("tags", 9, max_length=1),
        Numeric("age", indicator=True),
        Bucketized("age_bucket", num_buckets=2, column="age"),
    ]


@pytest.fixture(scope="module")
def model():
    preprocessor = Preprocessor(make_features())
    preprocessor.adapt(tf.data.Dataset.from_tensors(RAW), progress=False)
    model = Owner(preprocessor)
    model(preprocessor(RAW))
    return model


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_keras_file_restores_what_was_learned(model, tmp_path):
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.preprocessor.adapted
    assert loaded.preprocessor.features == model.preprocessor.features
    assert loaded.preprocessor.tables() == model.preprocessor.tables()
    for raw in (RAW, UNSEEN):
        assert_same(loaded.preprocessor(raw), model.preprocessor(raw))


def test_vocabularies_are_assets_and_not_configuration(model, tmp_path):
    path = str(tmp_path / "model.keras")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        city = next(name for name in names if name.endswith("/city.txt"))
        assert archive.read(city) == b"Rome\na\\nb\\\\\n"
    assert "Rome" not in config
    assert len(names) == 4


@pytest.mark.parametrize(
    "features", [[Categorical("city")], [Hashed("city", 5)]], ids=["learns", "does not"]
)
def test_keras_file_without_anything_learned(features, tmp_path):
    path = str(tmp_path / "model.keras")
    model = Owner(Preprocessor(features))
    model({"age": tf.zeros([1, 1])})
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.preprocessor.adapted == model.preprocessor.adapted
    assert loaded.preprocessor.features == tuple(features)


def test_config_round_trip_forgets_what_was_learned(model):
    config = keras.saving.serialize_keras_object(model.preprocessor)
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.features == model.preprocessor.features
    assert not restored.adapted


def test_saved_model_holds_the_tables(model, tmp_path):
    signature = model.preprocessor.raw_signature()

    def serve(raw):
        inputs = model.preprocessor(raw)
        return {**inputs, "score": model(inputs)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[signature])
    archive.write_out(str(tmp_path / "saved"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    raw = {
        name: tf.constant(value, signature[name].dtype)
        for name, value in UNSEEN.items()
    }
    assert_same(loaded.serve(raw), serve(raw))


def test_saved_model_parses_examples(model, tmp_path):
    spec = model.preprocessor.parsing_spec()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        return model.preprocessor(tf.io.parse_example(examples, spec))

    tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"serve": serve})
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    feature = tf.train.Feature
    example = tf.train.Example(
        features=tf.train.Features(
            feature={
                "city": feature(bytes_list=tf.train.BytesList(value=[b"Rome"])),
                "code": feature(int64_list=tf.train.Int64List(value=[4])),
            }
        )
    )
    outputs = loaded.signatures["serve"](
        examples=tf.constant([example.SerializeToString()])
    )
    expected = model.preprocessor(
        {"city": ["Rome"], "code": [4], "tags": [[""]], "age": [np.nan]}
    )
    assert_same(outputs, expected)
