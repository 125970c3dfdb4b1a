"""Router of DRGrad: gradients of other branches that a primary task also takes."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self, get_args

import keras
import tensorflow as tf

from tf_mtl.aggregators.checks import check_positive
from tf_mtl.aggregators.rows import as_rows
from tf_mtl.gradients import inner_products
from tf_mtl.names import unknown_name_error

Reading = Literal["paired", "literal"]
Auxiliaries = Literal["all", "secondary"]


class Routes(NamedTuple):
    """What a `Router` found.

    The sources of routed gradients are the `num_primary` shared halves and, after
    them, the `num_secondary` secondary tasks.

    Attributes:
        gradients: structure like `gradients` of the call, with what is routed added.
        received: `gradients` of the call.
        norms: float32 tensor of shape `(num_primary, 2)`, norms of the routed gradients
            of both branches over the whole batch.
        cosines: float32 tensor of shape `(num_primary, num_sources)`, the paper's xi,
            of each dedicated gradient with each source; 0 where one of them is 0. With
            `per_example`, `(batch, num_primary, num_sources)`.
        ratios: tensor like `cosines`, the paper's lambda.
    """

    gradients: Any
    received: Any
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
        gradients: float tensor of shape `(num_branches, batch, units)`, gradients at
            the inputs of the towers: those of the `num_primary` dedicated branches, of
            their shared halves, and of the secondary tasks, of which there may be none.
            Or a nested structure of tensors `(num_branches, ..., units)`, such as a
            list of the gradients of stacked towers; inner products run over all of it
            (A8).
        num_primary: int.
        present: bool tensor of shape `(num_primary + num_secondary,)`. False for a
            task with no known label in this batch, whose gradients must be 0: nothing
            is routed to it nor from it, and means leave it out. None: all present.
        reduce_fn: function applied to sums of products over the batch. Pass a sum over
            replicas where each of them holds its part of the batch; gradients of
            parameters are summed before the call instead.

    Returns:
        `Routes`. Routed gradients have the dtypes of the gradients; inner products and
        all else are float32, or float64 if the gradients are, so that float32 norms
        below 1e-19 count as 0. A gradient that is not finite gives results that are
        not, for all primary tasks. On a GPU, TensorFloat-32 rounds routed gradients to
        about 1e-3, as it does all products of matrices.

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
        gradients: Any,
        num_primary: int,
        present: tf.Tensor | None = None,
        reduce_fn: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    ) -> Routes:
        """Routes the gradients of a step."""
        gradients = tf.nest.map_structure(tf.convert_to_tensor, gradients)
        leaves = tf.nest.flatten(gradients)
        self._check_shapes(leaves, num_primary)
        present = _mask(present, leaves[0].shape[0] - num_primary)
        rows = [as_rows(leaf) for leaf in leaves]
        products = tf.add_n([self._products(block, num_primary) for block in rows])
        if not self.per_example:  # An example is whole on its replica.
            products = reduce_fn(products)
        cosines, ratios = _geometry(products)
        ratios = tf.pow(ratios, self.gamma)
        coefficients = self._coefficients(cosines, ratios, present)
        routed = [self._routed(block, coefficients) for block in rows]
        norms = _norms(products, coefficients, routed, reduce_fn)
        # Secondary tasks stay as they are.
        routed = [
            tf.concat([tf.cast(new, leaf.dtype), leaf[2 * num_primary :]], axis=0)
            for new, leaf in zip(routed, leaves, strict=True)
        ]
        return Routes(
            tf.nest.pack_sequence_as(gradients, routed),
            gradients,
            norms,
            cosines,
            ratios,
        )

    def _products(self, rows: tf.Tensor, num_primary: int) -> tf.Tensor:
        """Squared norms of all branches; below, their products with dedicated ones.

        Returns:
            Tensor `(..., 1 + num_primary, num_branches)`.
        """
        others = [rows, *tf.unstack(rows[:num_primary])]
        products = tf.stack([inner_products(rows, other) for other in others])
        if self.per_example:
            return tf.transpose(products, [2, 0, 1])
        return tf.reduce_sum(products, axis=range(2, products.shape.rank))

    def _coefficients(
        self, cosines: tf.Tensor, ratios: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Coefficients of all gradients in the routed ones of primary tasks.

        Args:
            cosines: `(..., num_primary, num_sources)`.
            ratios: the same.
            present: bool `(num_sources,)`.

        Returns:
            Tensor `(..., 2 * num_primary, num_branches)`: rows are the dedicated
            branches and the shared halves, columns all branches.
        """
        num_primary, num_sources = cosines.shape[-2:]
        is_half = tf.eye(num_primary, num_sources, dtype=cosines.dtype)
        if self.auxiliaries == "all":
            shares = 1.0 - is_half
        else:
            is_secondary = tf.range(num_sources) >= num_primary
            shares = tf.cast(is_secondary, cosines.dtype)[None]
        shares *= tf.cast(present, cosines.dtype)
        # Share of each auxiliary gradient in the mean.
        shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, -1, keepdims=True))
        half_cosine, half_ratio = (
            tf.linalg.diag_part(x[..., :num_primary])[..., None]
            for x in (cosines, ratios)
        )
        if self.reading == "paired":
            of_half = (1.0 - tf.minimum(half_cosine, 0.0)) * half_ratio
            of_auxiliary = tf.where(cosines >= 0.0, ratios, 0.0)
        else:
            each = (1.0 - tf.minimum(cosines, 0.0)) * ratios
            of_half = tf.reduce_sum(shares * each, axis=-1, keepdims=True)
            of_auxiliary = tf.where(half_cosine >= 0.0, half_ratio, 0.0)
        to_own = is_half * of_half + shares * of_auxiliary
        to_half = -shares * tf.minimum(half_cosine * cosines, 0.0)
        to_half = tf.reduce_sum(to_half, axis=-1, keepdims=True)
        # A dedicated branch takes from all sources, a shared half from itself alone.
        taken = tf.concat([to_own, is_half * to_half], axis=-2)
        paddings = [[0, 0]] * (taken.shape.rank - 1) + [[num_primary, 0]]
        own = tf.eye(2 * num_primary, num_primary + num_sources, dtype=taken.dtype)
        return own + tf.pad(taken, paddings)

    def _routed(self, rows: tf.Tensor, coefficients: tf.Tensor) -> tf.Tensor:
        """Routed gradients of the dedicated branches and the shared halves."""
        if self.per_example:
            return tf.einsum("bqn,nbu->qbu", coefficients, rows)
        # One product over all rows: XLA on CPU would copy a slice of them. It has two
        # rows or more: XLA would fuse a single one into a loop, and compute all that
        # its coefficients are made of again for each entry.
        return tf.tensordot(coefficients, rows, axes=1)

    def _check_shapes(self, leaves: list[tf.Tensor], num_primary: int) -> None:
        shapes = [tuple(leaf.shape) for leaf in leaves]
        received = f"Received: shapes {shapes}, num_primary={num_primary}."
        if (
            min(len(shape) for shape in shapes) < 2
            or len({shape[0] for shape in shapes}) > 1
            or shapes[0][0] < 2 * num_primary
        ):
            raise ValueError(
                "`gradients` must have two axes at least and agree in the first, which "
                "holds `num_primary` dedicated branches, as many shared halves, and "
                "secondary tasks. "
                f"{received} Give all towers the same widths."
            )
        if self.per_example and [len(shape) for shape in shapes] != [3]:
            raise ValueError(
                "`per_example=True` needs one tensor (num_branches, batch, units). "
                f"{received} Pass gradients at the inputs of the towers."
            )


def _geometry(products: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cosines of dedicated branches and sources, and ratios of their norms, up to 1.

    Args:
        products: see `Router._products`.

    Returns:
        Two tensors `(..., num_primary, num_sources)`.
    """
    num_primary = products.shape[-2] - 1
    norms = tf.sqrt(products[..., 0, :])
    own, sources = norms[..., :num_primary, None], norms[..., None, num_primary:]
    cosines = tf.math.divide_no_nan(products[..., 1:, num_primary:], own * sources)
    # 0 or 1 where a norm is 0.
    ratios = tf.math.divide_no_nan(own, tf.maximum(own, sources))
    return tf.clip_by_value(cosines, -1.0, 1.0), ratios


def _norms(
    products: tf.Tensor,
    coefficients: tf.Tensor,
    routed: list[tf.Tensor],
    reduce_fn: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Norms `(num_primary, 2)` of routed gradients, see `Routes`."""
    num_primary = coefficients.shape[-2] // 2
    dedicated = tf.add_n([_squares(block[:num_primary]) for block in routed])
    # A shared half is a multiple of what it was.
    factors = tf.linalg.diag_part(coefficients[..., num_primary:, num_primary:])
    halves = products[..., 0, num_primary : 2 * num_primary] * tf.square(factors)
    if halves.shape.rank == 1:
        squares = tf.stack([reduce_fn(dedicated), halves], axis=-1)
    else:  # Of each example, which is whole on its replica.
        halves = tf.reduce_sum(halves, axis=0)
        squares = reduce_fn(tf.stack([dedicated, halves], axis=-1))
    return tf.sqrt(squares)


def _squares(rows: tf.Tensor) -> tf.Tensor:
    """Squared norm of each row."""
    parts = inner_products(rows, rows)
    return tf.reduce_sum(parts, axis=range(1, parts.shape.rank))


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
