"""Router of DRGrad: gradients of other branches that a primary task also takes."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self, get_args

import keras
import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.rows import present_rows
from tf_mtl.names import unknown_name_error

Reading = Literal["paired", "literal"]
Auxiliaries = Literal["all", "secondary"]


class Routes(NamedTuple):
    """What a `Router` found.

    The sources of routed gradients are the `num_primary` shared halves and, after
    them, the `num_secondary` secondary tasks.

    Attributes:
        dedicated: structure like `dedicated` of the call, to add to it.
        shared_half: structure like `shared_half` of the call, to add to it.
        norms: float32 tensor of shape `(num_primary, 2)`, norms of the sums
            `dedicated + routed` and `shared_half + routed` over the whole batch.
        cosines: float32 tensor of shape `(num_primary, num_sources)`, the paper's xi,
            of each dedicated gradient with each source; 0 where one of them is 0. With
            `per_example`, `(num_primary, num_sources, batch)`.
        ratios: tensor like `cosines`, the paper's lambda.
    """

    dedicated: Any
    shared_half: Any
    norms: tf.Tensor
    cosines: tf.Tensor
    ratios: tf.Tensor


@keras.saving.register_keras_serializable(package="tf_mtl")
class Router:
    """Routes gradients of a shared half and of other tasks to a dedicated branch.

    For a primary task with the gradients `d` of its dedicated branch and `h` of its
    shared half, and `n` auxiliary gradients `a_j`, with the cosines `k = cos(d, h)` and
    `x_j = cos(d, a_j)` and the ratios `r(v) = min(|d| / |v|, 1) ** gamma`, the routed
    gradients are

    - `"paired"`: `(1 - min(k, 0)) r(h) h + mean_j([x_j >= 0] r(a_j) a_j)` to the
      dedicated branch;
    - `"literal"`: `mean_j((1 - min(x_j, 0)) r(a_j)) h + [k >= 0] r(h) mean_j(a_j)` to
      the dedicated branch, as printed;
    - both: `-mean_j(min(k x_j, 0)) h` to the shared half.

    `"paired"` keeps opposing auxiliaries out; with `gamma=1` what the dedicated branch
    takes is at most `3 |d|`, and `-min(k, 0) r(h) h` is the correction by PCGrad if
    `|d| <= |h|`. Neither holds of `"literal"`, where an auxiliary that opposes `d` is
    added, at any length, whenever the two branches agree (A1, A2, A3, A5). What the
    shared half takes points along `h` and is no longer than it (A4).

    A gradient of 0 has the cosine 0 with all others, which counts as agreement; the
    ratio is 0 if `d` is 0, and else 1 if `v` is (A14). Without any auxiliary gradient
    the means are 0.

    Args:
        reading: `"paired"` or `"literal"` (A1).
        gamma: float, positive. Exponent of the ratios (A11).
        per_example: bool. Whether cosines and ratios are those of each example of the
            batch, instead of the whole batch (A10).
        auxiliaries: `"all"`: the auxiliary gradients of a primary task are those of
            the secondary tasks and of the shared halves of other primary tasks; or
            `"secondary"`: without the latter (A12).

    Call arguments:
        dedicated: gradients of the dedicated branches, float tensor of shape
            `(num_primary, batch, units)` at the inputs of the towers. Or a nested
            structure of tensors `(num_primary, ...)`, such as a list of the gradients
            of stacked towers; inner products run over all of it (A8).
        shared_half: the same of the shared halves.
        secondary: the same of the secondary tasks, `(num_secondary, ...)`. There may
            be none.
        present: bool tensor of shape `(num_primary + num_secondary,)`. False for a
            task with no known label in this batch: nothing is routed to it nor from
            it, and means leave it out. None: all present.
        reduce_fn: function applied to sums of products over the batch. Pass a sum over
            replicas where each of them holds its part of the batch; gradients of
            parameters are summed before the call instead.

    Returns:
        `Routes`. Routed gradients have the dtypes of the gradients; inner products and
        all else are float32, or float64 if the gradients are, so that float32 norms
        below 1e-19 count as 0. A gradient that is not finite gives results that are
        not.

    Raises:
        ValueError: if an argument is outside its range, or the shapes do not fit.
    """

    def __init__(
        self,
        reading: Reading = "paired",
        gamma: float = 1.0,
        per_example: bool = False,
        auxiliaries: Auxiliaries = "all",
    ) -> None:
        if reading not in get_args(Reading):
            raise unknown_name_error("reading", reading, get_args(Reading))
        if auxiliaries not in get_args(Auxiliaries):
            raise unknown_name_error("auxiliaries", auxiliaries, get_args(Auxiliaries))
        self.reading = reading
        self.gamma = check_positive("gamma", gamma)
        self.per_example = per_example
        self.auxiliaries = auxiliaries

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "reading": self.reading,
            "gamma": self.gamma,
            "per_example": self.per_example,
            "auxiliaries": self.auxiliaries,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes a router from `get_config()`."""
        return cls(**config)

    def __call__(
        self,
        dedicated: Any,
        shared_half: Any,
        secondary: Any,
        present: tf.Tensor | None = None,
        reduce_fn: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    ) -> Routes:
        """Routes the gradients of a step."""
        dedicated, shared_half, secondary = tf.nest.map_structure(
            tf.convert_to_tensor, (dedicated, shared_half, secondary)
        )
        parts = [tf.nest.flatten(part) for part in (dedicated, shared_half, secondary)]
        self._check_shapes(parts)
        num_primary = parts[0][0].shape[0]
        present = _mask(present, num_primary + parts[2][0].shape[0])
        own = [self._vectors(leaf, present[:num_primary]) for leaf in parts[0]]
        sources = [
            self._vectors(tf.concat(leaves, axis=0), present)
            for leaves in zip(parts[1], parts[2], strict=True)
        ]
        # Rows of examples are whole on their replica.
        whole = tf.identity if self.per_example else reduce_fn
        # All of shape (num_primary, num_sources, num_groups), or broadcast to it.
        products = whole(_sum_of(_products, own, sources))
        own_norms = tf.sqrt(whole(_sum_of(_squares, own)))[:, None]
        norms = tf.sqrt(whole(_sum_of(_squares, sources)))[None]
        cosines = tf.math.divide_no_nan(products, own_norms * norms)
        cosines = tf.clip_by_value(cosines, -1.0, 1.0)
        # min(1, own_norms / norms), and 0 or 1 where a norm is 0.
        ratios = tf.math.divide_no_nan(own_norms, tf.maximum(own_norms, norms))
        ratios = tf.pow(ratios, self.gamma)
        to_own, to_half = self._coefficients(cosines, ratios, present)

        halves = [source[:num_primary] for source in sources]
        routed_own = [tf.einsum("pmg,mgd->pgd", to_own, source) for source in sources]
        routed_half = [to_half[..., None] * half for half in halves]
        squares = [
            tf.reduce_sum(_sum_of(_squares, _added(plain, routed)), axis=-1)
            for plain, routed in ((own, routed_own), (halves, routed_half))
        ]
        if not self.per_example:
            cosines, ratios = cosines[..., 0], ratios[..., 0]
        return Routes(
            _like(dedicated, routed_own),
            _like(shared_half, routed_half),
            tf.sqrt(reduce_fn(tf.stack(squares, axis=-1))),
            cosines,
            ratios,
        )

    def _coefficients(
        self, cosines: tf.Tensor, ratios: tf.Tensor, present: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the routed gradients are made of.

        Args:
            cosines: `(num_primary, num_sources, num_groups)`; one group for a batch,
                or one for each example.
            ratios: the same.
            present: bool `(num_sources,)`.

        Returns:
            Coefficients of the sources for each dedicated branch, like `cosines`, and
            of its own gradient for each shared half, `(num_primary, num_groups)`.
        """
        num_primary, num_sources, _ = cosines.shape
        is_half = tf.eye(num_primary, num_sources, dtype=cosines.dtype)[..., None]
        if self.auxiliaries == "all":
            shares = 1.0 - is_half
        else:
            is_secondary = tf.range(num_sources) >= num_primary
            shares = tf.cast(is_secondary, cosines.dtype)[None, :, None]
        shares *= tf.cast(present, cosines.dtype)[None, :, None]
        # Share of each auxiliary gradient in the mean.
        shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, 1, keepdims=True))
        half_cosine = tf.reduce_sum(is_half * cosines, axis=1, keepdims=True)
        half_ratio = tf.reduce_sum(is_half * ratios, axis=1, keepdims=True)

        if self.reading == "paired":
            of_half = (1.0 - tf.minimum(half_cosine, 0.0)) * half_ratio
            of_auxiliary = tf.where(cosines >= 0.0, ratios, 0.0)
        else:
            each = (1.0 - tf.minimum(cosines, 0.0)) * ratios
            of_half = tf.reduce_sum(shares * each, axis=1, keepdims=True)
            of_auxiliary = tf.where(half_cosine >= 0.0, half_ratio, 0.0)
        to_own = is_half * of_half + shares * of_auxiliary
        to_half = -tf.reduce_sum(shares * tf.minimum(half_cosine * cosines, 0.0), 1)
        return to_own, to_half

    def _vectors(self, leaf: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Gradients as vectors `(num_rows, num_groups, dim)`, 0 where absent."""
        rows = present_rows(leaf, present)
        return rows if self.per_example else tf.reshape(rows, [leaf.shape[0], 1, -1])

    def _check_shapes(self, parts: list[list[tf.Tensor]]) -> None:
        own, halves, secondary = parts
        fits = len(own) == len(halves) == len(secondary)
        fits &= all(
            a.shape.is_compatible_with(b.shape)
            and a.shape[1:].is_compatible_with(c.shape[1:])
            and (a.shape[0], c.shape[0]) == (own[0].shape[0], secondary[0].shape[0])
            for a, b, c in zip(own, halves, secondary, strict=False)
        )
        shapes = [[tuple(leaf.shape) for leaf in leaves] for leaves in parts]
        received = (
            f"Received shapes: dedicated={shapes[0]}, shared_half={shapes[1]}, "
            f"secondary={shapes[2]}."
        )
        if not fits:
            raise ValueError(
                "`dedicated`, `shared_half` and `secondary` must agree in their "
                "tensors but for the first axis, which is `num_primary` for the first "
                f"two. {received} Give all towers the same widths."
            )
        if self.per_example and [len(shape) for shape in shapes[0]] != [3]:
            raise ValueError(
                "`per_example=True` needs one tensor (num_primary, batch, units). "
                f"{received} Pass gradients at the inputs of the towers."
            )


def _mask(present: tf.Tensor | None, num_tasks: int) -> tf.Tensor:
    if present is None:
        return tf.fill([num_tasks], True)
    present = tf.cast(present, tf.bool)
    if not present.shape.is_compatible_with([num_tasks]):
        raise ValueError(
            "`present` must have shape (num_primary + num_secondary,) = "
            f"({num_tasks},). Received: present of shape {tuple(present.shape)}."
        )
    return present


def _products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.einsum("pgd,mgd->pmg", left, right)


def _squares(vectors: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(vectors), axis=-1)


def _sum_of(function: Callable[..., tf.Tensor], *leaves: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([function(*each) for each in zip(*leaves, strict=True)])


def _added(left: list[tf.Tensor], right: list[tf.Tensor]) -> list[tf.Tensor]:
    return [a + b for a, b in zip(left, right, strict=True)]


def _like(structure: Any, vectors: list[tf.Tensor]) -> Any:
    """Vectors in the structure, shapes and dtypes of the gradients."""
    leaves = [
        tf.cast(tf.reshape(vector, tf.shape(leaf)), leaf.dtype)
        for vector, leaf in zip(vectors, tf.nest.flatten(structure), strict=True)
    ]
    return tf.nest.pack_sequence_as(structure, leaves)
