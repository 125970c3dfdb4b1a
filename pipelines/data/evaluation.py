"""What TFMA found, in words."""

from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.proto import validation_result_pb2


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
        _describe(failure)
        for by_slice in result.metric_validations_per_slice
        for failure in by_slice.failures
    ]
    missing = [str(slice_).strip() for slice_ in result.missing_slices]
    lines += [f"no examples of the slice {name}" for name in missing]
    return "\n  ".join([f"the model breaks {len(lines)} bounds.", *lines])


def _describe(failure: validation_result_pb2.ValidationFailure) -> str:
    key = failure.metric_key
    value = failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if key.is_diff:
        bound = threshold.change_threshold.absolute.value
        rule = (
            f"changes by {value:+.4f} from the last blessed model, allowed {bound:+.4f}"
        )
    else:
        bound = threshold.value_threshold.lower_bound.value
        rule = f"is {value:.4f}, at least {bound:.4f} is needed"
    return f"{key.name} of {key.output_name} {rule}. {failure.message}".strip()
