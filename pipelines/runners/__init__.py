"""Runners: what executes a pipeline, found by name."""

import importlib.util
from types import ModuleType

from tf_mtl.names import unknown_name_error

NAMES = ("local", "beam", "tfx", "kubeflow")
# What a runner needs beside the extra `pipelines`.
_PACKAGES = {"tfx": "tfx", "kubeflow": "tfx"}


def get(name: str) -> ModuleType:
    """Finds a runner.

    Args:
        name: one of `NAMES`.

    Returns:
        A module with a function `run(pipeline, root, **options)`.

    Raises:
        ValueError: if there is no such runner, or it cannot be installed here.
    """
    if name not in NAMES:
        raise unknown_name_error("runner", name, NAMES)
    package = _PACKAGES.get(name)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(
            f"`runner` {name!r} needs the package {package!r}: pip install "
            "'.[tfx]' in a checkout, where the C library is glibc 2.39 or newer "
            "(Ubuntu 24.04, Debian 13). On an older Debian, .ci/tfx_environment makes "
            "an environment that has it. --runner=local runs the same files here."
        )
    return importlib.import_module(f"pipelines.runners.{name}")
