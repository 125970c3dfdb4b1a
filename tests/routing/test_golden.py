"""Router and updater against golden sequences."""

import numpy as np
import pytest
import tensorflow as tf

from tests.aggregators.test_golden import PRECISIONS, assert_close, of_method
from tf_mtl.routing import Router, Updater


def routes_of(sequence, step, dtype):
    params = sequence["params"]
    router = Router(params["reading"], params["gamma"])
    branches = [step["g_dedicated"], step["g_shared_half"], *step["g_auxiliary"]]
    return router(tf.constant(branches, dtype)[:, None], num_primary=1)


@PRECISIONS
@pytest.mark.parametrize("sequence", of_method("sequences", "drgrad"))
def test_router_matches_golden_values(sequence, dtype, tolerance):
    def close(actual, expected):
        scale = max(np.linalg.norm(expected), 1.0)
        assert_close(np.squeeze(actual), expected, scale, sequence[tolerance])

    for step in sequence["steps"]:
        routes = routes_of(sequence, step, dtype)
        close(routes.cosines[0, :1], step["expected_cos_shared_half"])
        close(routes.cosines[0, 1:], step["expected_cos_aux"])
        close(routes.ratios[0, :1], step["expected_lambda_shared_half"])
        close(routes.ratios[0, 1:], step["expected_lambda_aux"])
        for branch, key in enumerate(
            ("expected_routed_dedicated", "expected_routed_shared_half")
        ):
            scale = np.linalg.norm(step[key])
            routed = np.squeeze(routes.gradients[branch])
            assert_close(routed, step[key], scale, sequence[tolerance])


@PRECISIONS
@pytest.mark.parametrize("sequence", of_method("sequences", "drgrad"))
def test_updater_matches_golden_values(sequence, dtype, tolerance):
    softmax = Updater("softmax_sum")
    ratio = Updater("ratio", decay=0.9)
    for updater in (softmax, ratio):
        updater.build((1, 2, None))
    sums = np.zeros([1, 2])
    for index, step in enumerate(sequence["steps"]):
        norms = routes_of(sequence, step, dtype).norms
        sums += norms
        softmax.update(norms)
        # The file has the share of plain sums: undo the division by the weights, and
        # the decay.
        ratio.update(norms * 0.9**index * tf.cast(ratio.branch_weights(), dtype))
        size = np.linalg.norm(step["expected_sigma"])
        for actual, key, scale in (
            (sums, "expected_sigma", size),
            # A function of the difference of the sums.
            (softmax.branch_weights(), "expected_mu_softmax", size),
            (ratio.branch_weights(), "expected_mu_ratio", 1.0),
        ):
            assert_close(actual, [step[key]], scale, sequence[tolerance])
