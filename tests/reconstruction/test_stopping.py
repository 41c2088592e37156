"""What keeps a run whose misfit is that of noise from being called converged."""

from __future__ import annotations

import pytest

from prammol.reconstruction.stopping import UNDECIDED, doubt_about


@pytest.mark.parametrize(
    ("excess", "doubts", "expected"),
    [
        (0.3, {}, None),
        (-6.0, {}, None),  # whole numbers: luck
        (-6.0, {"fractional": True}, "counts aren't photons"),
        (-4.0, {"fractional": True}, None),
        (0.3, {"undecided": True}, UNDECIDED),
        (0.3, {"matter": True}, "matter beside the crystal"),
        (0.3, {"shapes": True, "undecided": True}, "shape only"),
    ],
)
def test_a_doubt_names_its_reason(excess, doubts, expected):
    no = dict.fromkeys(("fractional", "undecided", "matter", "shapes"), False)
    assert doubt_about([{"excess": 50.0}, {"excess": excess}], **(no | doubts)) == expected
