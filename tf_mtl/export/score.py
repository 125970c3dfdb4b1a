"""Score: one number to rank by, made of the predictions of several tasks."""

import ast
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import keras
import tensorflow as tf

from tf_mtl.names import unknown_name_error

_OPERATORS = {
    ast.Add: tf.add,
    ast.Sub: tf.subtract,
    ast.Mult: tf.multiply,
    ast.Div: tf.divide,
    ast.Pow: tf.pow,
    ast.UAdd: tf.identity,
    ast.USub: tf.negative,
}
_FUNCTIONS = {"log": tf.math.log, "exp": tf.exp, "sqrt": tf.sqrt}
_REDUCTIONS = {"min": tf.minimum, "max": tf.maximum}


@keras.saving.register_keras_serializable(package="tf_mtl")
class Score:
    """A formula over tasks, with weights that a request may replace.

    A formula holds names of tasks and weights, numbers, `+ - * / **`, parentheses and
    `min`, `max`, `log`, `exp`, `sqrt`. A task stands for its prediction: a probability,
    calibrated if the export is, or the value of a regression. In the name of a task
    everything but letters, digits and `_` is written `_`. What is not finite, such as
    the logarithm of 0, is not caught.

    Examples:
    ```python
    Score("click * (1 + 2 * like)")
    Score("click ** a * log(1 + dwell_time)", weights={"a": 0.5})
    Score.weighted_sum({"click": 1.0, "like": 3.0})  # w_click * click + ...
    Score.weighted_product({"click": 1.0, "like": 0.5})  # click ** w_click * ...
    ```

    Args:
        formula: str.
        weights: dict of the weights in the formula by name; finite numbers.

    Call arguments:
        predictions: dict by task of float32 tensors `(batch,)`.
        weights: dict of float32 tensors `(batch,)` or `(1,)` by name, instead of those
            of the constructor.

    Returns:
        float32 tensor of shape `(batch,)`.

    Raises:
        ValueError: if the formula holds anything else or is no expression, or a weight
            is not finite or not in the formula.
    """

    def __init__(
        self, formula: str, weights: Mapping[str, float] | None = None
    ) -> None:
        self.formula = formula
        self.weights = {name: float(w) for name, w in (weights or {}).items()}
        self._expression = _parse(formula)
        self._names = sorted(
            {n.id for n in ast.walk(self._expression) if isinstance(n, ast.Name)}
            - {*_FUNCTIONS, *_REDUCTIONS}
        )
        wrong = {n: w for n, w in self.weights.items() if not math.isfinite(w)}
        if wrong:
            raise ValueError(f"`weights` must be finite. Received: {wrong}.")
        for name in self.weights:
            if name not in self._names:
                raise unknown_name_error("weights", name, self._names)

    @classmethod
    def weighted_sum(cls, weights: Mapping[str, float]) -> Self:
        """The sum over tasks of `w_<task> * <task>`.

        Args:
            weights: dict of float by task.
        """
        return cls._of_terms("{w} * {task}", " + ", weights)

    @classmethod
    def weighted_product(cls, weights: Mapping[str, float]) -> Self:
        """The product over tasks of `<task> ** w_<task>`.

        Args:
            weights: dict of float by task.
        """
        return cls._of_terms("{task} ** {w}", " * ", weights)

    @classmethod
    def _of_terms(cls, term: str, sign: str, weights: Mapping[str, float]) -> Self:
        names = {name: _written(name) for name in weights}
        terms = [term.format(task=name, w=f"w_{name}") for name in names.values()]
        return cls(sign.join(terms), {f"w_{names[t]}": w for t, w in weights.items()})

    def __call__(
        self,
        predictions: Mapping[str, tf.Tensor],
        weights: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Computes the score of each row."""
        values = {_written(task): each for task, each in predictions.items()}
        return _value(self._expression.body, values | dict(weights or self.weights))

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Checks that the formula can be computed from tasks.

        Args:
            tasks: names of the tasks.

        Raises:
            ValueError: if a name in the formula is neither task nor weight or is both,
                no name is a task, or a task is called `score`.
        """
        written = [_written(task) for task in tasks]
        for name in self._names:
            if written.count(name) + (name in self.weights) > 1:
                raise ValueError(
                    "`score` must have names that mean one thing. Received: "
                    f"{name!r} of tasks {list(tasks)} and weights {self.weights}."
                )
            if name not in written and name not in self.weights:
                raise unknown_name_error("score", name, [*written, *self.weights])
        if set(self._names) <= set(self.weights):
            raise ValueError(
                "`score` must depend on a task. Received: "
                f"formula={self.formula!r}, tasks {list(tasks)}."
            )
        if "score" in tasks:
            raise ValueError(
                "`score` is the name of an output of its own. Received: a task of that "
                "name. Rename the task."
            )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"formula": self.formula, "weights": self.weights}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**config)


def _written(task: str) -> str:
    """The name of a task as a formula spells it."""
    return re.sub(r"\W", "_", task)


def _parse(formula: str) -> ast.Expression:
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError as error:
        raise ValueError(
            "`formula` must be an expression, such as 'click * (1 + 2 * like)'. "
            f"Received: formula={formula!r}: {error.msg}."
        ) from error
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree.body):
        if isinstance(node, ast.expr) and not _is_allowed(node, id(node) in called):
            raise ValueError(
                "`formula` may hold names, numbers, + - * / **, parentheses and "
                f"{', '.join([*_REDUCTIONS, *_FUNCTIONS])}. Received: "
                f"formula={formula!r}, with {ast.unparse(node)!r}."
            )
    return tree


def _is_allowed(node: ast.expr, is_called: bool) -> bool:
    if isinstance(node, ast.Name):
        return is_called == (node.id in _FUNCTIONS or node.id in _REDUCTIONS)
    if isinstance(node, ast.Constant):
        number = node.value
        if not isinstance(number, int | float) or isinstance(number, bool):
            return False
        return abs(number) < 1e38  # Larger ones are no float32.
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        return type(node.op) in _OPERATORS
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    is_plain = not node.keywords and not any(
        isinstance(a, ast.Starred) for a in node.args
    )
    if node.func.id in _REDUCTIONS:
        return is_plain and len(node.args) >= 2
    return is_plain and len(node.args) == 1


def _value(node: ast.expr, values: Mapping[str, Any]) -> tf.Tensor:
    """The value of a checked expression, float32."""
    if isinstance(node, ast.Name):
        return tf.convert_to_tensor(values[node.id], tf.float32)
    if isinstance(node, ast.Constant):
        return tf.constant(node.value, tf.float32)
    if isinstance(node, ast.BinOp):
        both = (_value(each, values) for each in (node.left, node.right))
        return _OPERATORS[type(node.op)](*both)
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand, values))
    call = cast(ast.Call, node)
    name = cast(ast.Name, call.func).id
    arguments = [_value(each, values) for each in call.args]
    if name in _REDUCTIONS:
        return functools.reduce(_REDUCTIONS[name], arguments)
    return _FUNCTIONS[name](*arguments)
