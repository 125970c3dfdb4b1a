"""Which versions of a model are served: what its version policy says."""

from collections.abc import Iterable
from typing import TypeAlias

from tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)

Policy: TypeAlias = FileSystemStoragePathSourceConfig.ServableVersionPolicy


def wanted(policy: Policy, versions: Iterable[int]) -> list[int]:
    """Versions that a policy selects.

    Args:
        policy: `latest` (of `num_versions`, 1 if it is 0), `all` or `specific`; one
            that chooses nothing is `latest`.
        versions: the numbers that there are.

    Returns:
        list of numbers that there are, in increasing order.
    """
    ordered = sorted(versions)
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return ordered
    if choice == "specific":
        return [v for v in ordered if v in policy.specific.versions]
    return ordered[-(policy.latest.num_versions or 1) :]
