"""EvalConfig: what TFMA measures of each task, and what a blessed model must reach."""

from collections.abc import Mapping, Sequence

from tensorflow_model_analysis.proto import config_pb2

from tf_mtl.tasks import Task


def make_eval_config(
    tasks: Sequence[Task],
    min_auc: Mapping[str, float],
    max_auc_drop: float,
    slices: Sequence[str] = (),
) -> config_pb2.EvalConfig:
    """Makes the configuration for a model that `train` exported.

    Labels come from the signature `transform_labels`. A label counts where the mask
    column of its task is 1.

    Args:
        tasks: the tasks; all binary.
        min_auc: dict of the least AUC on all examples by task; a task that is left out
            may have any.
        max_auc_drop: how far the AUC of a task may be below that of the last blessed
            model.
        slices: raw columns. AUC and count are measured for each of their values too,
            and bless nothing.

    Raises:
        ValueError: if `min_auc` names what is no task, or a task is not binary or has
            what TFMA would not see: sample weights, a label that means "unknown".
    """
    for task in tasks:
        _check_task(task)
    unknown = sorted(set(min_auc) - {task.name for task in tasks})
    if unknown:
        raise ValueError(
            f"`min_auc` must name tasks: {[task.name for task in tasks]}. Received: "
            f"{unknown}."
        )
    model = config_pb2.ModelSpec(
        signature_name="serve_examples",
        preprocessing_function_names=["transform_labels"],
        label_keys={task.name: task.label_key for task in tasks},
        example_weight_keys={task.name: task.mask for task in tasks if task.mask},
    )
    metrics = [
        config_pb2.MetricsSpec(
            output_names=[task.name],
            metrics=[
                config_pb2.MetricConfig(
                    class_name="AUC",
                    # Of all examples only: a small slice may have any AUC.
                    per_slice_thresholds=[
                        config_pb2.PerSliceMetricThreshold(
                            slicing_specs=[config_pb2.SlicingSpec()],
                            threshold=_threshold(
                                min_auc.get(task.name, 0.0), max_auc_drop
                            ),
                        )
                    ],
                ),
                config_pb2.MetricConfig(class_name="Calibration"),
                config_pb2.MetricConfig(class_name="ExampleCount"),
            ],
        )
        for task in tasks
    ]
    return config_pb2.EvalConfig(
        model_specs=[model],
        metrics_specs=metrics,
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in slices),
        ],
    )


def _check_task(task: Task) -> None:
    if task.kind != "binary":
        raise ValueError(
            "`tasks` must be binary: their bounds are of the AUC. Received: "
            f"{task.name!r} of kind {task.kind!r}. Leave it out."
        )
    if task.sample_weight is not None or task.missing_label is not None:
        raise ValueError(
            "`tasks` must tell unknown labels by a `mask` alone, and have no weights: "
            f"TFMA sees neither here. Received: {task.name!r} with sample_weight="
            f"{task.sample_weight!r}, missing_label={task.missing_label!r}. Make a "
            "mask column in `preprocessing_fn`, and pass "
            "`dataclasses.replace(task, sample_weight=None, missing_label=None)`."
        )


def _threshold(least: float, max_drop: float) -> config_pb2.MetricThreshold:
    return config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": least}),
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -max_drop},
        ),
    )
