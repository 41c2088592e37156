"""Parts that were shifted and inverted are put together again."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.phasing.placed_grains import places

AXES = np.array([14.0, 11.0, 9.0])


def whole(x):
    """Tell what is inside a lopsided ellipsoid."""
    inside = np.sum((x / AXES) ** 2, axis=1) < 1
    return (inside & (x.sum(axis=1) > -15) & (x[:, 1] < 8)).astype(float)


def upper(x):
    return whole(x) * (x[:, 2] > 1.0)


def lower(x):
    return whole(x) * (x[:, 2] <= 1.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("larger", [1.0, 1.15])
def test_a_part_finds_its_place_beside_the_other(sign, larger):
    first, second = np.array([2.0, -1.5, -4.0]), np.array([-1.0, 2.0, 3.0])

    def moved_upper(x):
        return upper(x + first)

    def moved_lower(x):
        return lower(sign * (x - second))

    _, place = places(lambda x: whole(x / larger), [moved_upper, moved_lower], 30.0)
    # Where moved_upper has it, the lower part is lower(x + first).
    assert place.sign == sign
    wanted = -first - sign * second
    # To within two steps of the grid, 60 / 32 Å each.
    assert np.abs(place.shift - wanted).max() < 3.75
