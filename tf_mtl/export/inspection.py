"""Inspection: what a SavedModel takes, gives and weighs, without Keras."""

import collections
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tf_mtl.export.versions import find_saved_model
from tf_mtl.files import version_folders

# What the loader calls; no client can.
_INIT_SIGNATURE = "__saved_model_init_op"
_VARIABLE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor: its dtype by name, and its shape, None where any size will do.

    The shape itself is None if not even the rank is known.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def num_bytes(self) -> int:
        """Size of a tensor of known shape; strings count as nothing."""
        size = 0 if self.dtype == "string" else tf.as_dtype(self.dtype).size
        return size * math.prod(n or 0 for n in self.shape or ())


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature: dicts of `Tensor` by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        folder: the version folder, which holds `saved_model.pb`.
        versions: numbers of the versions beside it, itself included.
        signatures: dict of `Signature` by name.
        variables: dict of `Tensor` by name, the largest first.
        files: dict of sizes in bytes by path in the folder.
        num_warmup_requests: int.
        info: content of `model_info.json`; empty if another program made the model.
    """

    folder: pathlib.Path
    versions: tuple[int, ...]
    signatures: Mapping[str, Signature]
    variables: Mapping[str, Tensor]
    files: Mapping[str, int]
    num_warmup_requests: int
    info: Mapping[str, Any]


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Looks at a SavedModel without loading it.

    Args:
        path: folder of a version, of versions (the newest is taken) or of a run.

    Returns:
        `Inspection`.

    Raises:
        FileNotFoundError: if there is no SavedModel.
        ValueError: if `saved_model.pb` or the variables are damaged.
    """
    folder = find_saved_model(path)
    extra = folder / "assets.extra"
    info_file = extra / "model_info.json"
    info = json.loads(info_file.read_text("utf-8")) if info_file.exists() else {}
    is_number = folder.name.isascii() and folder.name.isdigit()
    return Inspection(
        folder=folder,
        versions=tuple(sorted(version_folders(folder.parent))) if is_number else (),
        signatures=_signatures(folder / "saved_model.pb"),
        variables=_variables(folder / "variables", info.get("weights", ())),
        files={
            str(each.relative_to(folder)): each.stat().st_size
            for each in sorted(folder.rglob("*"))
            if each.is_file()
        },
        num_warmup_requests=_count(extra / "tf_serving_warmup_requests"),
        info=info,
    )


def _signatures(path: pathlib.Path) -> dict[str, Signature]:
    try:
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(
            f"`path` holds a damaged file: {os.fspath(path)!r}."
        ) from error
    found: Mapping[str, meta_graph_pb2.SignatureDef] = {}
    for graph in model.meta_graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            found = graph.signature_def
    return {
        name: Signature(_tensors(each.inputs), _tensors(each.outputs))
        for name, each in sorted(found.items())
        if name != _INIT_SIGNATURE
    }


def _tensors(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, Tensor]:
    tensors = {}
    for name, info in sorted(infos.items()):
        shape = tf.TensorShape(info.tensor_shape)
        known = None if shape.rank is None else tuple(shape.as_list())
        tensors[name] = Tensor(tf.as_dtype(info.dtype).name, known)
    return tensors


def _variables(folder: pathlib.Path, names: Sequence[str]) -> dict[str, Tensor]:
    if not folder.is_dir() or not any(folder.glob("*.index")):
        return {}
    try:
        reader = tf.train.load_checkpoint(os.fspath(folder / "variables"))
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"`path` holds damaged variables: {os.fspath(folder)!r}. {error}"
        ) from error
    dtypes = reader.get_variable_to_dtype_map()
    found = {
        key.removesuffix(_VARIABLE_SUFFIX): Tensor(dtypes[key].name, tuple(shape))
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.endswith(_VARIABLE_SUFFIX)
    }
    # The file knows a place in a list, `model_info.json` the path in the model.
    counts = collections.Counter(names)
    paths = {f"weights/{i}": n for i, n in enumerate(names) if counts[n] == 1}
    by_size = sorted(found.items(), key=lambda item: (-item[1].num_bytes, item[0]))
    return {paths.get(name, name): tensor for name, tensor in by_size}


def _count(path: pathlib.Path) -> int:
    if not path.exists():
        return 0
    return sum(1 for _ in tf.data.TFRecordDataset(os.fspath(path)))
