"""Balance of gradient magnitudes."""

import tensorflow as tf


def balancing_scales(norms: tf.Tensor, reference: tf.Tensor, share: float) -> tf.Tensor:
    """Factors that move norms towards a reference norm.

    Args:
        norms: float tensor, norms of rows.
        reference: float tensor that broadcasts to `norms`.
        share: float in `[0, 1]`, share of the imbalance to remove: 0 gives factors of
            1, and 1 makes each norm the reference.

    Returns:
        Tensor like `norms`, `share * reference / norms + 1 - share`, with a ratio of 0
        where a norm is 0.
    """
    return share * tf.math.divide_no_nan(reference, norms) + 1.0 - share


def check_share(name: str, share: float) -> float:
    """Returns `share`, or raises ValueError if it is not in `[0, 1]`."""
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"`{name}` must be in [0, 1]. Received: {name}={share}.")
    return float(share)
