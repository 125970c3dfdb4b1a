"""SNR: layers of sub-networks, and connections that training can close."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import StackedMLP, SubNetworkRouting
from tf_mtl.models.base import MultiTaskModel, Shared
from tf_mtl.models.registry import register
from tf_mtl.names import unknown_name_error
from tf_mtl.tasks import Task

MODES = ("trans", "aver")


@register("snr_trans")
@keras.saving.register_keras_serializable(package="tf_mtl")
class SNR(MultiTaskModel):
    """Sub-network routing, with a matrix on each connection.

    Each layer has `num_sub_networks` dense layers. What the next one reads, and a
    tower after the last, is a sum over all of them, each times a gate
    (`layers.HardConcreteGate`): in training random, drawn once per step for the whole
    batch, with a price on open gates; when served a constant, often exactly 0 or 1.

    The representation is the output of the last sub-networks. Gates and matrices above
    it are specific to the task of the tower.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        mode: `"trans"`: connections have a matrix; or `"aver"`: they have none.
        num_sub_networks: int. Sub-networks of each layer.
        sub_network_units: their widths, one for each layer.
        tower_units: widths of the hidden layers of each tower.
        gate: dict of arguments of `layers.HardConcreteGate`, such as `{"l0_weight":
            1e-3}`.
        dropout: float in `[0, 1)`, after each hidden layer.

    Raises:
        ValueError: if `mode` is unknown, `num_sub_networks` is less than 1, or
            `sub_network_units` is empty.

    Reference:
        Ma et al., SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task
        Learning, AAAI 2019. The default sizes, the price and the start of matrices (see
        `layers.SubNetworkRouting`) are not the paper's. An export holds no matrix of a
        closed connection; a sub-network that nobody reads stays. Public code often
        differs: gates with noise in evaluation, or noise drawn once; matrices that are
        not trained; no price on open gates.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        mode: str = "trans",
        num_sub_networks: int = 4,
        sub_network_units: Sequence[int] = (128, 128),
        tower_units: Sequence[int] = (64,),
        gate: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(features, tasks, **kwargs)
        if mode not in MODES:
            raise unknown_name_error("mode", mode, MODES)
        if num_sub_networks < 1:
            raise ValueError(
                "`num_sub_networks` must be at least 1. "
                f"Received: num_sub_networks={num_sub_networks}."
            )
        if not sub_network_units:
            raise ValueError(
                "`sub_network_units` must hold the width of at least one layer. "
                f"Received: sub_network_units={sub_network_units}."
            )
        num_tasks = len(self.tasks)
        self.mode = mode
        self.num_sub_networks = num_sub_networks
        self.sub_network_units = tuple(sub_network_units)
        self.tower_units = tuple(tower_units)
        self.gate = dict(gate or {})
        self.dropout = dropout
        self.sub_network = [
            StackedMLP(
                num_sub_networks,
                (units,),
                dropout=dropout,
                shared_input=number == 1,
                name=f"sub_network_{number}",
                **self.stack_arguments,
            )
            for number, units in enumerate(self.sub_network_units, 1)
        ]
        readers = [num_sub_networks] * (len(self.sub_network) - 1) + [num_tasks]
        self.routing = [
            SubNetworkRouting(
                num_sub_networks,
                count,
                mode == "trans",
                self.gate,
                name=f"routing_{n}",
                dtype=self.dtype_policy,
            )
            for n, count in enumerate(readers, 1)
        ]
        self.tower = StackedMLP(
            num_tasks,
            self.tower_units,
            output_units=1,
            dropout=dropout,
            name="tower",
            **self.stack_arguments,
        )
        self.build_if_adapted()

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """Outputs of the last sub-networks, and in training noise for the last gates.

        Returns:
            dict of `sub_networks`, `(num_sub_networks, batch, units)`; and in training
            of `noise`, `(num_tasks, num_sub_networks)`, which depends on no variable.
        """
        outputs = self.sub_network[0](self.embed(inputs, training), training=training)
        for routing, network in zip(self.routing, self.sub_network[1:], strict=False):
            noise = routing.gate.draw() if training else None
            outputs = network(routing(outputs, noise), training=training)
        shared = {"sub_networks": outputs}
        if training:
            # The gates read it twice: forward, and for the Gramian.
            shared["noise"] = self.routing[-1].gate.draw()
        return shared

    def task_inputs(self, shared: Shared, training: bool) -> tf.Tensor:
        """What the gates of each task let through, `(num_tasks, batch, units)`."""
        noise = shared.get("noise")
        if noise is not None and noise.shape.rank == 3:
            noise = noise[0]  # A copy for each task, all equal and without a gradient.
        return self.routing[-1](shared["sub_networks"], noise)

    def towers(self, task_inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Raw outputs `(num_tasks, batch)`."""
        return self.tower(task_inputs, training=training)[..., 0]

    def representation_gramian(
        self, shared: Shared, cotangents: tf.Tensor
    ) -> tf.Tensor:
        """Inner products of the cotangents at the last sub-networks."""
        return self.routing[-1].gramian(cotangents, shared.get("noise"))

    def open_connections(self) -> list[tf.Tensor]:
        """Which connections are not closed when the model is served.

        Returns:
            list over layers of bool tensors: entry `[o, i]` says whether sub-network
            `o` of the next layer, or the tower of task `o`, reads sub-network `i`.
        """
        return [routing.gate.gates() > 0 for routing in self.routing]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "num_sub_networks": self.num_sub_networks,
            "sub_network_units": self.sub_network_units,
            "tower_units": self.tower_units,
            "gate": self.gate,
            "dropout": self.dropout,
        }


@register("snr_aver")
@keras.saving.register_keras_serializable(package="tf_mtl")
class SNRAver(SNR):
    """Sub-network routing by gates alone: `SNR` whose connections have no matrix.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        **kwargs: see `SNR`, without `mode`.

    Reference:
        Ma et al., SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task
        Learning, AAAI 2019. See `SNR`.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        **kwargs: Any,
    ):
        super().__init__(features, tasks, mode="aver", **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        del config["mode"]
        return config
