"""Census-Income (KDD) in TFX's form: preprocessing, training, evaluation.

It runs unchanged in the local runner and in TFX. It stands alone in its folder, since
TFX ships every Python file of the folder to its workers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tf_mtl import Task, features
from tf_mtl.datasets.census_files import CATEGORICAL, NUMERIC
from tf_mtl.integrations import tfx
from tf_mtl.integrations.tfx import preprocessing

TASKS = (Task("income", primary=True), Task("never_married"))
NUM_BUCKETS = 64


def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Learns from the raw columns, and transforms them."""
    words = {name: preprocessing.words(inputs[name]) for name in CATEGORICAL}
    numbers = {
        name: tf.cast(preprocessing.dense(inputs[name], 0), tf.float32)
        for name in NUMERIC
    }
    income = preprocessing.words(inputs["income_50k"])
    marital = preprocessing.words(inputs["marital_stat"])
    is_high = tf.strings.regex_full_match(income, r"50000\+\.?")
    return {
        **preprocessing.vocabulary_ids(words),
        **preprocessing.log_standardize(numbers),
        **preprocessing.bucketize(numbers, NUM_BUCKETS),
        "income": tf.cast(is_high, tf.float32),
        "never_married": tf.cast(marital == "Never married", tf.float32),
    }


def run_fn(fn_args: Any) -> None:
    """Trains by `fn_args.custom_config`, and exports."""
    tfx.train(fn_args, make_features, TASKS, (*CATEGORICAL, *NUMERIC))


def make_features(
    output: tft.TFTransformOutput, embedding_dim: int
) -> list[features.Feature]:
    """Features of the transformed columns; categories share one embedding table."""
    ids: dict[str, Any] = {
        "num_values": output.vocabulary_size_by_name(preprocessing.VOCABULARY),
        "table": preprocessing.VOCABULARY,
        "missing_value": preprocessing.MISSING,
    }
    width: dict[str, Any] = {"embedding_dim": embedding_dim}
    return [
        *(features.IntegerRange(name, **ids, **width) for name in CATEGORICAL),
        *(features.Numeric(n, normalization=None, default=0.0) for n in NUMERIC),
        *(
            features.IntegerRange(f"{name}_bucket", NUM_BUCKETS, **width)
            for name in NUMERIC
        ),
    ]


def make_eval_config(
    min_auc: Mapping[str, float], max_auc_drop: float, slices: Sequence[str]
) -> Any:
    """The `EvalConfig` of TFMA, see `tfx.make_eval_config`."""
    return tfx.make_eval_config(TASKS, min_auc, max_auc_drop, slices)
