"""PEPNet and PPNet: embeddings and towers that personal gates rescale."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import PersonalGate, PersonalMLP, StackedDense
from tf_mtl.layers.personal_mlp import Placement
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("pepnet")
@keras.saving.register_keras_serializable(package="tf_mtl")
class PEPNet(MultiTaskModel):
    """Parameter and embedding personalized network.

    EPNet, a `PersonalGate` fed by the domain features, rescales the vectors of all
    features, before the trunk. What comes of it goes to a tower for each task, whose
    layers have gates too, fed by the personal features: PPNet.

    A gate has two layers. The first also reads what the gate rescales at the bottom,
    which gets no gradient from there: else gates would shape the embeddings. The second
    starts at 0, so that the model starts ungated. In PPNet the first layers are shared
    by all tasks, the second ones belong to a task each.

    The representation is what the towers read: the embedded features, and the first
    layers of PPNet's gates.

    Args:
        features: see `MultiTaskModel`. Those with `personal=True`, such as the user,
            the item and the author, feed the gates of the towers.
        tasks: see `MultiTaskModel`.
        domain: names of the features that feed the gate of the embeddings, such as the
            page and its statistics. None: the personal features. Empty: no such gate,
            which is `PPNet`.
        tower_units: widths of the hidden layers of each tower.
        gate_units: int. Width of the first layer of each gate.
        placement: `"input"` for gates on the input of every layer of a tower, or
            `"output"` for gates on the output of every hidden layer; see `PersonalMLP`.
        stop_gradient: bool. Whether the personal and domain features get no gradient
            from the gates either.
        dropout: float in `[0, 1)`, after each hidden layer of a tower.
        **kwargs: see `MultiTaskModel`.

    Raises:
        ValueError: if no feature is personal, `domain` names what is no feature,
            `gate_units` is less than 1, or `placement` is unknown.

    Reference:
        Chang et al., PEPNet: Parameter and Embedding Personalized Network for Infusing
        with Personalized Prior Information, KDD 2023, arXiv:2302.01115. The width of
        the first layer of a gate is not given; public code takes that of the second,
        here all gates have one. Their initial values are not given either. Public code
        also gates the output of the last layer, which scales the logit; lets the last
        gate reach 1 instead of 2, so that it starts by halving; and stops the gradient
        of the personal features, here `stop_gradient`.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        domain: Sequence[str] | None = None,
        tower_units: Sequence[int] = (128, 64),
        gate_units: int = 64,
        placement: Placement = "input",
        stop_gradient: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        names = [f.name for f in self.features.features]
        self.personal = tuple(f.name for f in self.features.features if f.personal)
        if not self.personal:
            raise ValueError(
                "`features` must hold one with `personal=True`, to feed the gates. "
                f"Received: {names}, none of which is. Mark user, item and author."
            )
        self.domain = self.personal if domain is None else tuple(domain)
        unknown = sorted(set(self.domain) - set(names))
        if unknown:
            raise ValueError(
                f"`domain` must name some of the features {names}. Received: {unknown}."
            )
        if gate_units < 1:
            raise ValueError(
                f"`gate_units` must be at least 1. Received: gate_units={gate_units}."
            )
        self.tower_units = tuple(tower_units)
        self.gate_units = gate_units
        self.placement = placement
        self.stop_gradient = stop_gradient
        self.dropout = dropout
        self.embedding_gate = None
        if self.domain:
            self.embedding_gate = PersonalGate(
                gate_units,
                use_bias=True,
                name="embedding_gate",
                dtype=self.dtype_policy,
            )
        self.tower = PersonalMLP(
            len(self.tasks),
            self.tower_units,
            placement=placement,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.gate = StackedDense(
            self.tower.num_gates,
            gate_units,
            activation="relu",
            shared_input=True,
            name="gate",
            dtype=self.dtype_policy,
        )
        self.build_if_adapted()

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """The embedded features, and the first layers of the gates of towers.

        Returns:
            dict of `representation`, `(batch, units)`, and `gates`, `(number of gates,
            batch, gate_units)`.
        """
        vectors = self.feature_vectors(inputs, training)
        embedded = self.join(self._rescaled(vectors), training)
        gates = self.gate(self._gate_inputs(self.personal, vectors, embedded))
        return {"representation": embedded, "gates": gates}

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """The parts of the representation side by side, once for each task."""
        gates = tf.unstack(shared["gates"], axis=-3)
        joined = tf.concat([shared["representation"], *gates], axis=-1)
        if joined.shape.rank == 3:  # A copy for each task.
            return joined
        return tf.repeat(joined[None], len(self.tasks), axis=0)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        widths = [self.gate_units] * self.tower.num_gates
        widths = [task_inputs.shape[-1] - sum(widths), *widths]
        embedded, *gates = tf.split(task_inputs, widths, axis=-1)
        return self.tower(embedded, gates, training=training)[..., 0]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "domain": self.domain,
            "tower_units": self.tower_units,
            "gate_units": self.gate_units,
            "placement": self.placement,
            "stop_gradient": self.stop_gradient,
            "dropout": self.dropout,
        }

    def _rescaled(self, vectors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The vectors of all features, rescaled by the gate of the embeddings."""
        if self.embedding_gate is None:
            return vectors
        joined = tf.concat(list(vectors.values()), axis=-1)
        gated = self.embedding_gate(
            joined, self._gate_inputs(self.domain, vectors, joined)
        )
        widths = [vector.shape[-1] for vector in vectors.values()]
        return dict(zip(vectors, tf.split(gated, widths, axis=-1), strict=True))

    def _gate_inputs(
        self, names: Sequence[str], vectors: Mapping[str, tf.Tensor], shared: tf.Tensor
    ) -> tf.Tensor:
        """What the first layer of a gate reads, `(batch, width)`."""
        prior = tf.concat([vectors[name] for name in names], axis=-1)
        if self.stop_gradient:
            prior = tf.stop_gradient(prior)
        return tf.concat([prior, tf.stop_gradient(shared)], axis=-1)


@register("ppnet")
@keras.saving.register_keras_serializable(package="tf_mtl")
class PPNet(PEPNet):
    """Parameter personalized network: `PEPNet` without the gate of the embeddings.

    Args:
        features: see `PEPNet`.
        tasks: see `MultiTaskModel`.
        **kwargs: see `PEPNet`, without `domain`.

    Reference:
        Chang et al., PEPNet: Parameter and Embedding Personalized Network for Infusing
        with Personalized Prior Information, KDD 2023, arXiv:2302.01115. With
        `placement="output"` its towers are those of LHUC: Swietojanski et al., Learning
        Hidden Unit Contributions for Unsupervised Acoustic Model Adaptation,
        arXiv:1601.02828, whose factors are learned for each speaker instead.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        **kwargs: Any,
    ):
        super().__init__(features, tasks, domain=(), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        del config["domain"]
        return config
