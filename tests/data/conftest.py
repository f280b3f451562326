"""Fixtures of several test files about data."""

import pytest

from fitnets.kernels import library


@pytest.fixture(params=[True, False], ids=["compiled", "without a compiler"])
def compiled(request):
    """Run a test with compiled loops, and with what is used where there is no compiler."""
    if request.param and library._compiler() is None:
        pytest.skip("needs a C compiler: cc, gcc or clang")
    library.switch(on=request.param)
    yield request.param
    library.switch(on=True)
