"""What TFMA found, in words."""

from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2
from tensorflow_model_analysis.slicer import slicer_lib

_LOWER = config_pb2.MetricDirection.LOWER_IS_BETTER


def describe_failures(folder: str) -> str | None:
    """Why a model is not good enough.

    Args:
        folder: where TFMA wrote its results.

    Returns:
        A line for each bound that is broken; None if none is.
    """
    result = model_eval_lib.load_validation_result(folder)
    if result.validation_ok:
        return None
    lines = [
        _describe(failure, _slice_name(by_slice))
        for by_slice in result.metric_validations_per_slice
        for failure in by_slice.failures
    ]
    missing = [str(slice_).strip() for slice_ in result.missing_slices]
    lines += [f"no examples of the slice {name}" for name in missing]
    return "\n  ".join([f"the model breaks {len(lines)} bounds.", *lines])


def _slice_name(found: validation_result_pb2.MetricsValidationForSlice) -> str:
    if found.HasField("cross_slice_key"):
        keys = slicer_lib.deserialize_cross_slice_key(found.cross_slice_key)
        names = map(slicer_lib.stringify_slice_key, keys)
        return f" from slice {' to '.join(names)}"
    key = slicer_lib.deserialize_slice_key(found.slice_key)
    return f" in slice {slicer_lib.stringify_slice_key(key)}" if key else ""


def _describe(failure: validation_result_pb2.ValidationFailure, place: str) -> str:
    key = failure.metric_key
    name = f"{key.name} of {key.output_name}{place}"
    # TFMA has no value then.
    if failure.message.strip():
        return f"{name}: {' '.join(failure.message.split())}"
    value = failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if key.is_diff:
        allowed = " and ".join(_changes(threshold.change_threshold))
        return (
            f"{name} changes by {value:+.4f} from the last blessed model, allowed "
            f"{allowed}."
        )
    needed = " and ".join(_bounds(threshold.value_threshold))
    return f"{name} is {value:.4f}, {needed} is needed."


def _changes(threshold: config_pb2.GenericChangeThreshold) -> list[str]:
    least = "at most" if threshold.direction == _LOWER else "at least"
    found = []
    if threshold.HasField("absolute"):
        found.append(f"{least} {threshold.absolute.value:+.4f}")
    if threshold.HasField("relative"):
        found.append(f"{least} {threshold.relative.value:+.2%}")
    return found


def _bounds(threshold: config_pb2.GenericValueThreshold) -> list[str]:
    found = []
    if threshold.HasField("lower_bound"):
        found.append(f"at least {threshold.lower_bound.value:.4f}")
    if threshold.HasField("upper_bound"):
        found.append(f"at most {threshold.upper_bound.value:.4f}")
    return found
