"""Parts of DRGrad: which gradients are routed where, and how two branches are weighed.

A primary task has two branches, a dedicated one and a shared half, which reads the
same tensor as the secondary tasks. The `Router` adds gradients of the shared half and
of other tasks to that of the dedicated branch; the `Updater` weighs the two branches
by the norms of what they get.

Reference:
    Liu et al., Direct Routing Gradient (DRGrad): A Personalized Information Surgery
    for Multi-Task Learning (MTL) Recommendations, AAAI 2025, arXiv:2510.09643.

The paper has no public code, and it leaves open or misprints these points:

- A1, indices: as printed, the ratio and the indicator of one vector act on the other.
  `Router(reading="paired")` gives each vector its own, `"literal"` follows the print.
- A2, Table 1: fixes vectors and indicators, not what they are made of. Both readings
  agree with it.
- A3, "a superset of PCGrad": true of `"paired"` only.
- A4, "equivalent to PCGrad" at the shared tensor: true of no reading. There the shared
  half is only lengthened, at most twofold, and no gradient is projected.
- A5, bound of the sum: signs and constants are wrong. See `Router` for what holds.
- A6, numbers of equations: off by one after the third. None is cited here.
- A7, softmax of the updater: the denominators are misprinted. A softmax of two.
- A8, level: `Router` takes gradients at the inputs of towers or of their parameters.
- A9, "update all parameters": all others. The caller steps each tower once.
- A10, granularity: `Router(per_example=...)`.
- A11, gamma: has no value. 1, so that a gradient is cut to the norm of the dedicated.
- A12, several tasks: the mean over auxiliary gradients, one shared half for each
  primary task, and a state of the updater for each. `Router(auxiliaries=...)`.
- A13, logits or probabilities: `Updater` adds outputs as it gets them, so logits,
  and one loss reads the sum.
- A14, norms: L2 norms. Zeros are treated as `Router` and `Updater` say.
- A15, weights of the losses: those of the tasks, in the gradients already.
- A16, the gate: `layers.PersonalGate` says what it takes from PPNet.
- A17, saturation: the printed updater soon gives one branch all the weight. See
  `Updater(rule="ratio")`.
"""

from tf_mtl.routing.router import Router, Routes
from tf_mtl.routing.updater import Updater

__all__ = ["Router", "Routes", "Updater"]
