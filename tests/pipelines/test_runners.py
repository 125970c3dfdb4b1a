import importlib.util
import re

import pytest

from pipelines import runners


@pytest.mark.skipif(
    importlib.util.find_spec("tfx") is not None, reason="TFX is installed"
)
@pytest.mark.parametrize("name", ["tfx", "kubeflow"])
def test_without_tfx_the_runner_says_what_is_needed(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))) as error:
        runners.get(name)
    needs = (
        "glibc 2.39",
        "'.[tfx]' in a checkout",
        ".ci/tfx_environment",
        "--runner=local",
    )
    for need in needs:
        assert need in str(error.value)


def test_unknown_runner_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="local.*airflow"):
        runners.get("airflow")
