"""The user's module of a pipeline: one file, in TFX's form."""

import functools
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def load(path: str) -> ModuleType:
    """Imports a module file by its path.

    Args:
        path: the file. It needs no package around it.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    # A name of its own, so that json.py is not what `import json` finds.
    name = f"_pipeline_module_{pathlib.Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"`module_file` must be a Python file, not {path!r}.")
    module = importlib.util.module_from_spec(spec)
    # Keras and pickle look classes up here.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def function(module: ModuleType, name: str) -> Callable[..., Any]:
    """A function of the module.

    Raises:
        ValueError: if the module does not define it.
    """
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(
            f"`module_file` must define a function {name!r}. Received: "
            f"{module.__file__!r} without one."
        )
    return found


def preprocessing_fn(
    module: ModuleType, custom_config: Mapping[str, Any] | None
) -> Callable[..., Any]:
    """`preprocessing_fn` of the module, which may take a `custom_config`, as in TFX.

    Beam ships it with what it uses of the module, which its workers cannot import.
    """
    from apache_beam.internal.cloudpickle import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    found = function(module, "preprocessing_fn")
    if "custom_config" in inspect.signature(found).parameters:
        return functools.partial(found, custom_config=custom_config)
    return found
