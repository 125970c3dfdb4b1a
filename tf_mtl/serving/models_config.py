"""What to serve: `models.config` of TensorFlow Serving, or one folder."""

import os
import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tf_mtl.files import version_folders
from tf_mtl.serving import versions


def one_model(
    base_path: str | os.PathLike[str], name: str = ""
) -> model_server_config_pb2.ModelServerConfig:
    """The configuration of one model.

    Args:
        base_path: folder of its versions.
        name: how clients call it; the name of the folder if empty.

    Returns:
        The configuration: its latest version is served.

    Raises:
        ValueError: if the folder has no version.
    """
    path = pathlib.Path(base_path).expanduser().absolute()
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name or path.name, base_path=str(path), model_platform="tensorflow"
    )
    check(config)
    return config


def read(path: str | os.PathLike[str]) -> model_server_config_pb2.ModelServerConfig:
    """Reads a file in the text form of `ModelServerConfig`.

    Args:
        path: the file. A relative `base_path` in it starts at the folder of the file.

    Returns:
        The configuration, with absolute paths.

    Raises:
        ValueError: if it is no such file, or what it says cannot be served.
    """
    file = pathlib.Path(path).expanduser().absolute()
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(file.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`model_config_file` must be a ModelServerConfig in text form. Received: "
            f"{str(file)!r}: {error}"
        ) from error
    for model in config.model_config_list.config:
        model.base_path = str(file.parent / pathlib.Path(model.base_path).expanduser())
    check(config)
    return config


def check(config: model_server_config_pb2.ModelServerConfig) -> None:
    """Checks that a configuration can be served.

    Args:
        config: a list of models with names and folders.

    Raises:
        ValueError: if it is none, a name is missing, taken twice or holds `/` or `:`,
            the platform is not TensorFlow, or a folder has none of the versions that
            its policy and labels name.
    """
    models = config.model_config_list.config
    if not models:
        raise ValueError(
            "The configuration must have a `model_config_list` with at least one model."
        )
    names = [model.name for model in models]
    for model in models:
        # REST addresses end a name at these.
        if not model.name or set(model.name) & set("/:") or names.count(model.name) > 1:
            raise ValueError(
                "Models must have different names, without `/` and `:`. Received: "
                f"{names}."
            )
        if model.model_platform not in ("", "tensorflow"):
            raise ValueError(
                f"`model_platform` of {model.name!r} must be 'tensorflow'. Received: "
                f"{model.model_platform!r}."
            )
        _check_versions(model)


def _check_versions(model: model_server_config_pb2.ModelConfig) -> None:
    found = version_folders(pathlib.Path(model.base_path))
    wanted = versions.wanted(model.model_version_policy, found)
    if not wanted:
        raise ValueError(
            f"`base_path` of {model.name!r} must hold a version folder, named by a "
            f"number, that its version policy selects. Received: {model.base_path!r} "
            f"with versions {sorted(found)}. `tf_mtl.export.save` writes one."
        )
    wrong = {k: v for k, v in model.version_labels.items() if v not in wanted}
    if wrong:
        raise ValueError(
            f"`version_labels` of {model.name!r} must name versions that are served, "
            f"{wanted}. Received: {wrong}."
        )
