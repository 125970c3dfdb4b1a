"""AC-MMoE: MMoE whose experts see each other by attention and convolution."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.features import Feature, Preprocessor
from tf_mtl.layers import ExpertAttention, ExpertConvolution
from tf_mtl.models.base import Shared
from tf_mtl.models.mmoe import MMoE
from tf_mtl.models.registry import register
from tf_mtl.tasks import Task


@register("ac_mmoe")
@keras.saving.register_keras_serializable(package="tf_mtl")
class ACMMoE(MMoE):
    """MMoE with attention and convolution over experts, in the manner of AC-MMoE.

    Between experts and gates, `layers.ExpertAttention` and then
    `layers.ExpertConvolution` act on the outputs of the experts. Each is added with a
    factor that starts at 0, so that the model starts as MMoE. The representation is
    what the gates mix.

    Args:
        features: see `MultiTaskModel`.
        tasks: see `MultiTaskModel`.
        num_heads: int. Heads of the attention; must divide the width of the experts.
        filters: int. Channels of the convolution.
        use_attention: bool.
        use_convolution: bool.
        **kwargs: see `MMoE`.

    Raises:
        ValueError: if a number is out of range.

    Reference:
        Li and Xu, AC-MMOE: A Multi-gate Mixture-of-experts Model Based on Attention and
        Convolution, Procedia Computer Science 222, 2023. A reconstruction: neither the
        equations of the paper nor its code were at hand, but only that it adds
        attention and convolution to MMoE so that experts interact. Sizes, places,
        normalisation and the factors are choices made here.
    """

    def __init__(
        self,
        features: Preprocessor | Sequence[Feature],
        tasks: Sequence[Task],
        num_heads: int = 4,
        filters: int = 8,
        use_attention: bool = True,
        use_convolution: bool = True,
        **kwargs: Any,
    ):
        # Before the constructor of MMoE, which builds the model.
        dtype = kwargs.get("dtype")
        self.attention = self.convolution = None
        if use_attention:
            self.attention = ExpertAttention(num_heads, name="attention", dtype=dtype)
        if use_convolution:
            self.convolution = ExpertConvolution(
                filters, name="convolution", dtype=dtype
            )
        self.num_heads = num_heads
        self.filters = filters
        super().__init__(features, tasks, **kwargs)

    def representations(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> Shared:
        """What the gates mix, `(num_experts, batch, units)`, and what they read."""
        shared = super().representations(inputs, training)
        for layer in (self.attention, self.convolution):
            if layer is not None:
                shared["experts"] = layer(shared["experts"])
        return shared

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "filters": self.filters,
            "use_attention": self.attention is not None,
            "use_convolution": self.convolution is not None,
        }
