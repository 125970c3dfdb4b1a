"""models.config: what is read, and what is refused."""

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.serving import models_config


@pytest.fixture
def folder(tmp_path):
    for name in ("a/1", "a/2", "b/7"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_models_are_read_with_policies_and_labels(folder):
    file = folder / "models.config"
    file.write_text(
        """model_config_list {
          config {
            name: "a" base_path: "a" model_platform: "tensorflow"
            model_version_policy { specific { versions: 1 versions: 2 } }
            version_labels { key: "stable" value: 1 }
          }
          config { name: "b" base_path: "%s" }
        }"""
        % (folder / "b")
    )
    a, b = models_config.read(file).model_config_list.config
    assert (a.base_path, b.base_path) == (str(folder / "a"), str(folder / "b"))
    assert list(a.model_version_policy.specific.versions) == [1, 2]
    assert dict(a.version_labels) == {"stable": 1}


def test_model_is_named_by_its_folder(folder):
    (model,) = models_config.one_model(folder / "a").model_config_list.config
    assert (model.name, model.base_path) == ("a", str(folder / "a"))
    (model,) = models_config.one_model(folder / "a", "x").model_config_list.config
    assert model.name == "x"


A = 'config { name: "a" base_path: "%s/a" '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one model"),
        ("custom_model_config {}", "at least one model"),
        ('config { base_path: "%s/a" }', "different names"),
        ('config { name: "a:b" base_path: "%s/a" }', "without `/` and `:`"),
        (A + "}" + A.replace("%s", "/") + "}", "different names"),
        (A + 'model_platform: "caffe" }', "must be 'tensorflow'.*caffe"),
        ('config { name: "c" base_path: "%s/c" }', "must hold a version folder"),
        (
            A + "model_version_policy { specific { versions: 9 } } }",
            r"its version policy selects.*versions \[1, 2\]",
        ),
        (A + 'version_labels { key: "old" value: 1 } }', r"\[2\]. Received: {'old': 1"),
    ],
)
def test_what_cannot_be_served_is_refused(folder, text, message):
    if "%s" in text:
        text = f"model_config_list {{ {text % folder} }}"
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(text, config)
    with pytest.raises(ValueError, match=message):
        models_config.check(config)


def test_file_that_is_no_config_is_refused(folder):
    file = folder / "models.config"
    file.write_text("models: []")
    with pytest.raises(ValueError, match=r"`model_config_file` must be.*models.config"):
        models_config.read(file)
