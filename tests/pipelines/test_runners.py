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
    for need in ("glibc 2.39", "tf-mtl[tfx]", ".ci/tfx_environment", "--runner=local"):
        assert need in str(error.value)


def test_unknown_runner_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="local.*airflow"):
        runners.get("airflow")
