"""Balls of atoms that several stages are tested on."""

import pytest
from small_crystal import relaxed_ball
from vacancy_ball import with_vacancy


@pytest.fixture
def balls():
    """A ball, and the same with a vacancy in its middle, both at rest."""
    return relaxed_ball(12.0), with_vacancy()
