"""Relevance search: the few behaviours of a long history that matter now."""

from typing import Any

import keras
import tensorflow as tf

# Below every cosine.
_PADDING = -2.0


@keras.saving.register_keras_serializable(package="tf_mtl")
class RelevanceSearch(keras.layers.Layer):
    """Finds the behaviours next to a query, and of those the ones next to a target.

    Nearness is the cosine of content vectors that live in one space and are not trained
    here: no gradient passes. The layer gives places, not vectors, so that only what was
    found needs to be looked up: `keras.ops.take_along_axis(ids, places, axis=1)`.

    Args:
        num_query: int. Behaviours to keep by the query.
        num_target: int. Behaviours to keep of those by the target.

    Call arguments:
        contents: float tensor of shape `(batch, length, width)`, the behaviours.
        query: float tensor of shape `(batch, width)`.
        target: float tensor of shape `(batch, width)`, the item to be ranked.
        mask: bool tensor of shape `(batch, length)`, False on padding. None: no
            padding.

    Returns:
        tuple of the places in the history, int32 of shape `(batch, num_target)`, next
        first, and their mask, bool of the same shape: False where fewer behaviours
        were there. A shorter history gives shorter lists.

    Raises:
        ValueError: if `num_target` is less than 1 or more than `num_query`.

    Reference:
        The Relevance Search Unit of Guo et al., Query-dominant User Interest Network,
        CIKM 2023, arXiv:2310.06444. A reconstruction: the order of the two searches and
        the cosine are described in public; equations, numbers of behaviours and ties
        are not. Here a tie goes to the earlier behaviour, and a vector of zeros has
        cosine 0 with all others.
    """

    def __init__(
        self, num_query: int = 100, num_target: int = 20, **kwargs: Any
    ) -> None:
        # The compute dtype may be too coarse to tell items of a long history apart.
        super().__init__(**{"autocast": False, **kwargs})
        if not 1 <= num_target <= num_query:
            raise ValueError(
                "`num_target` must be at least 1 and at most `num_query`. Received: "
                f"num_target={num_target}, num_query={num_query}."
            )
        self.num_query = num_query
        self.num_target = num_target
        self.supports_masking = True

    def call(
        self,
        contents: tf.Tensor,
        query: tf.Tensor,
        target: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Searches twice."""
        if mask is None:
            mask = tf.ones(tf.shape(contents)[:2], tf.bool)
        cosines = _cosines(tf.stack([query, target], axis=1), contents)
        cosines = tf.where(mask[:, None], cosines, _PADDING)
        by_query, by_target = tf.unstack(cosines, axis=1)
        first = _top(by_query, self.num_query)
        second = _top(tf.gather(by_target, first, batch_dims=1), self.num_target)
        places = tf.gather(first, second, batch_dims=1)
        return places, tf.gather(mask, places, batch_dims=1)

    def compute_mask(self, *args: Any) -> None:
        """None: the mask of what was found is an output."""

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_query": self.num_query,
            "num_target": self.num_target,
        }


def _cosines(queries: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Float32 cosines `(batch, num_queries, length)`, without a gradient."""
    queries, contents = (
        tf.stop_gradient(tf.cast(tensor, tf.float32)) for tensor in (queries, contents)
    )
    products = tf.matmul(queries, contents, transpose_b=True)
    norms = tf.norm(queries, axis=-1)[..., None] * tf.norm(contents, axis=-1)[:, None]
    return tf.math.divide_no_nan(products, norms)


def _top(scores: tf.Tensor, count: int) -> tf.Tensor:
    """Places of the highest scores, all of them if there are fewer."""
    length = scores.shape[1]
    if length is None:
        count = tf.minimum(count, tf.shape(scores)[1])
    else:
        count = min(count, length)
    return tf.math.top_k(scores, count).indices
