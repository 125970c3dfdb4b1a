"""save: a model with its preprocessing, as a SavedModel for TensorFlow Serving."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from tf_mtl.export.calibration import Calibration
from tf_mtl.export.model_card import model_card
from tf_mtl.export.model_info import model_info
from tf_mtl.export.provenance import Provenance
from tf_mtl.export.score import Score
from tf_mtl.export.signatures import input_specs, make_signatures
from tf_mtl.export.versions import publish
from tf_mtl.export.warmup import check_warmup, write_warmup
from tf_mtl.files import write_json, write_text
from tf_mtl.freezing import freezing
from tf_mtl.gradients.replicas import first_replica
from tf_mtl.models import MultiTask, TaskTrainer


def save(
    model: TaskTrainer,
    path: str | os.PathLike[str],
    version: int | None = None,
    calibration: Calibration | None = None,
    score: Score | str | None = None,
    warmup: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
    extra_signatures: Mapping[str, tf.types.experimental.ConcreteFunction]
    | None = None,
) -> str:
    """Saves a model for serving, as the next version below a folder.

    The SavedModel holds the weights and vocabularies that predictions need and nothing
    else: no optimizer, aggregator or metric. What follows from weights alone is
    computed now (`tf_mtl.freezing`): the gates of `SNR` and the weights of DRGrad's
    updater are constants, and connections that are closed are left out.
    `tf.saved_model.load` loads it without this package and without Keras. Its
    signatures give, for each task, the float32 tensor `(batch,)` of `model.predict`,
    named by the task:

    * `serving_default` takes the raw columns of `features` by their names; without
      `features`, the inputs of the network;
    * `serve_examples` takes serialized `tf.Example`s as `examples`, string `(batch,)`;
      it needs `features`. An absent feature is a missing value;
    * `serving_default_weighted` and `serve_examples_weighted`, if the score has
      weights, take one more input for each: float32 `(batch,)` or `(1,)` by its name.

    Beside it, in `assets.extra`, which TensorFlow leaves alone, are `model_info.json`
    (tasks, columns, sizes, versions), `MODEL_CARD.md` for people, and if asked for the
    warm-up requests of TensorFlow Serving.

    Example:
    ```python
    folder = tf_mtl.export.save(model, "saved_models/feed")  # saved_models/feed/1
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    serve(city=tf.constant(["Rome"]), age=tf.constant([30.0]))["click"]
    ```

    Args:
        model: built `MultiTaskModel` with adapted `features`, or `MultiTask`.
        path: string or path. Local folder of the versions, made if it is absent.
        version: positive int. None takes the one after the largest, 1 at first.
        calibration: what `fit_calibration` made of validation predictions; the export
            answers with the probabilities that it gives.
        score: formula of one more output, `score`, from the (calibrated) predictions.
        warmup: dict of arrays `(rows, ...)` by column, a few rows such as clients send.
            TensorFlow Serving answers them, one alone and all together, before it takes
            requests, so that the first of those is not slow. The rows are stored as
            they are. Needs the extra `serving`.
        provenance: what the model card tells of data and metrics.
        extra_signatures: dict of further traced functions by signature name. They may
            use `model.features`; they are not warmed up.

    Returns:
        string. The version folder, `path/<version>`. It appears complete or not at all,
        also when saves run at the same time or are killed.

    Raises:
        ModuleNotFoundError: if `warmup` is given without the extra `serving`.
        TypeError: if `model` is of another kind.
        ValueError: if `model` is not built or its features are not adapted, an input
            cannot be named in a signature, `version` is not positive, `path` is a URL,
            `calibration` maps what is no binary task, `score` names what is no task,
            `warmup` holds other columns than the model reads, or `extra_signatures`
            have a name that is taken.
        NotADirectoryError: if `path` is a file.
        FileExistsError: if `version` exists.
    """
    _check_model(model)
    _check_calibration(calibration, model)
    score = Score(score) if isinstance(score, str) else score
    if score is not None:
        score.check_tasks([task.name for task in model.tasks])
    if warmup is not None:
        check_warmup(warmup, input_specs(model))

    def write(folder: pathlib.Path) -> None:
        with freezing() as frozen:
            own = make_signatures(model, calibration, score)
        _check_extra(extra_signatures or {}, own)
        signatures = {**own, **(extra_signatures or {})}
        module = tf.Module()
        variables = [(v.path, v.value) for v in model.variables]
        variables += [(v.name.removesuffix(":0"), v) for v in frozen]
        weights = _used(variables, signatures.values())
        module.weights = [variable for _, variable in weights]
        module.lookup_tables = _lookup_tables(model, signatures.values())
        tf.saved_model.save(module, str(folder), signatures=signatures)
        extra = folder / "assets.extra"
        info = model_info(model, weights, calibration, score, provenance)
        write_json(extra / "model_info.json", info)
        write_text(extra / "MODEL_CARD.md", model_card(info))
        if warmup is not None:
            write_warmup(extra, own, warmup, score.weights if score else {})

    return publish(path, write, version)


def _check_model(model: TaskTrainer) -> None:
    if not isinstance(model, TaskTrainer):
        raise TypeError(
            "`model` must be a model of `tf_mtl.models`. Received: model of type "
            f"{type(model).__name__}. Wrap a Keras model: MultiTask(model, tasks)."
        )
    if model.features is not None and not model.features.adapted:
        raise ValueError(
            "`model` must have adapted features: nothing was learned from data yet. "
            f"Received: model={model.name!r}. Call `model.features.adapt(dataset)`, "
            "then build and train the model."
        )
    model.check_features()
    # `MultiTask` itself is not told when its network is built by a first batch.
    network = model.network if isinstance(model, MultiTask) else model
    if not network.built:
        raise ValueError(
            "`model` must be built: it has no weights yet. Received: "
            f"model={model.name!r}. Train it, or call it on a batch, before `save`."
        )


def _check_calibration(calibration: Calibration | None, model: TaskTrainer) -> None:
    if calibration is None:
        return
    binary = {task.name for task in model.tasks if task.kind == "binary"}
    if not set(calibration.parameters) <= binary:
        raise ValueError(
            "`calibration` must map binary tasks of the model. Received: maps of "
            f"{sorted(calibration.parameters)}, binary tasks {sorted(binary)}. Fit it "
            "on predictions of this model."
        )


def _check_extra(extra: Iterable[str], own: Iterable[str]) -> None:
    taken = sorted({*extra} & {*own})
    if taken:
        raise ValueError(
            "`extra_signatures` must have names of their own. Received: "
            f"{taken}, which the export makes itself: {sorted(own)}. Rename them."
        )


def _used(
    variables: Iterable[tuple[str, tf.Variable]],
    functions: Iterable[tf.types.experimental.ConcreteFunction],
) -> list[tuple[str, tf.Variable]]:
    """The variables that the functions read, in order, with their names."""
    used = {id(tensor) for f in functions for tensor in f.captured_inputs}
    # Of a variable with replicas, functions read the first, and TensorFlow wants to
    # hear of the whole.
    return [(n, v) for n, v in variables if id(first_replica(v).handle) in used]


def _lookup_tables(
    model: TaskTrainer,
    functions: Iterable[tf.types.experimental.ConcreteFunction],
) -> list[tf.saved_model.experimental.TrackableResource]:
    """The tables that the functions look up, which TensorFlow does not track itself."""
    used = {id(tensor) for f in functions for tensor in f.captured_inputs}
    return [
        item
        for item in _SavedModelView(model).descendants()
        if isinstance(item, tf.saved_model.experimental.TrackableResource)
        and id(item.resource_handle) in used
    ]


class _SavedModelView(tf.train.TrackableView):
    """Walks objects as `tf.saved_model.save` does: also into dicts of Keras layers."""

    @classmethod
    def children(
        cls, obj: Any, save_type: str = "savedmodel", **kwargs: Any
    ) -> dict[str, Any]:
        kwargs.setdefault("cache", {})
        return super().children(obj, save_type, **kwargs)
