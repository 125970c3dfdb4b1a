import pytest

from tests.aggregators.solvers.problems import forget_compiled_solvers


@pytest.fixture(scope="package", autouse=True)
def compiled_solvers_end_with_the_package():
    """What is compiled takes memory maps, of which a process has a limited number."""
    yield
    forget_compiled_solvers()
