"""A crystal without inversion symmetry and its phased patches."""

import pytest
from phased import bitten_ball, phased_patches


@pytest.fixture
def crystal():
    """A ball with a bite, (n, 3) [Å]."""
    return bitten_ball()


@pytest.fixture
def exact():
    """The patches with their true phases."""
    return phased_patches()
