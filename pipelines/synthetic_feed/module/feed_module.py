"""The synthetic feed in TFX's form: preprocessing, training, evaluation.

It runs unchanged in the local runner and in TFX. It stands alone in its folder, since
TFX ships every Python file of the folder to its workers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tf_mtl import Task, features
from tf_mtl.integrations import tfx
from tf_mtl.integrations.tfx import preprocessing

# A label that is absent or NaN is unknown; its mask, a transformed column, is then 0.
TASKS = tuple(
    Task(name, mask=f"{name}_known", primary=name == "click")
    for name in (
        "click",
        "dwell_10s",
        "dwell_30s",
        "complete",
        "like",
        "comment",
        "share",
        "save",
        "follow",
        "profile_visit",
        "hide",
        "report",
        "purchase",
        "return_visit",
    )
)
# Too many values for a vocabulary: hashed, which learns nothing.
NUM_BINS = {"user_id": 5000, "item_id": 5000, "author_id": 1000}
CATEGORICAL = ("country", "device", "topic")
NUMERIC = ("item_age_hours", "user_activity")
HOUR = "hour"


def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Learns from the raw columns, and transforms them."""
    dense, missing = preprocessing.dense, preprocessing.MISSING
    words = {name: dense(inputs[name], "") for name in CATEGORICAL}
    numbers = {name: dense(inputs[name], 0.0) for name in NUMERIC}
    outputs = {
        **preprocessing.vocabulary_ids(words),
        **preprocessing.log_standardize(numbers),
        HOUR: dense(inputs[HOUR], missing),
    }
    for name, num_bins in NUM_BINS.items():
        value = dense(inputs[name], "")
        bins = tf.strings.to_hash_bucket_fast(value, num_bins)
        outputs[name] = tf.where(value == "", tf.constant(missing, tf.int64), bins)
    for task in TASKS:
        label = dense(inputs[task.label_key], float("nan"))
        known = tf.math.logical_not(tf.math.is_nan(label))
        outputs[task.label_key] = tf.where(known, label, 0.0)
        outputs[f"{task.name}_known"] = tf.cast(known, tf.float32)
    return outputs


def run_fn(fn_args: Any) -> None:
    """Trains by `fn_args.custom_config`, and exports."""
    tfx.train(fn_args, make_features, TASKS, (*NUM_BINS, *CATEGORICAL, *NUMERIC, HOUR))


def make_features(
    output: tft.TFTransformOutput, embedding_dim: int
) -> list[features.Feature]:
    """Features of the transformed columns; ids of people and items are personal."""
    ids: dict[str, Any] = {
        "missing_value": preprocessing.MISSING,
        "embedding_dim": embedding_dim,
    }
    size = output.vocabulary_size_by_name(preprocessing.VOCABULARY)
    return [
        *(
            features.IntegerRange(name, num_bins, personal=True, **ids)
            for name, num_bins in NUM_BINS.items()
        ),
        *(
            features.IntegerRange(name, size, table=preprocessing.VOCABULARY, **ids)
            for name in CATEGORICAL
        ),
        features.IntegerRange(HOUR, 24, **ids),
        *(features.Numeric(name, normalization=None, default=0.0) for name in NUMERIC),
    ]


def make_eval_config(
    min_auc: Mapping[str, float], max_auc_drop: float, slices: Sequence[str]
) -> Any:
    """The `EvalConfig` of TFMA, see `tfx.make_eval_config`."""
    return tfx.make_eval_config(TASKS, min_auc, max_auc_drop, slices)
