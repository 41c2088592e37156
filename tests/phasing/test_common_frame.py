"""Objects that were phased apart, against the structure they were shifted and inverted from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prammol.diffraction.support import support_from_truth
from prammol.phasing.common_frame import in_common_frame
from prammol.phasing.hio_er import support_mask
from prammol.structure.atoms import Atoms

SHIFT = np.array([8.2, -6.6, 4.4])  # Å, some voxels


def moved(p, shift, inverted):
    field = p.field.conj() if inverted else p.field
    turn = (p.patch.q() - p.peak) @ shift
    return replace(p, field=field * np.exp(-1j * turn).reshape(p.patch.shape), error=0.1)


@pytest.mark.parametrize("inverted", [False, True])
def test_shift_and_hand_of_each_patch_are_undone(crystal, exact, inverted):
    support = support_from_truth(Atoms(crystal, "Al"), 8.0)
    masks = {k: support_mask(p.patch, support, p.centre) for k, p in enumerate(exact)}
    first, second, third = exact
    own = {0: replace(first, error=0.0), 1: moved(second, SHIFT, inverted), 2: third}
    framed = in_common_frame(own, masks)
    assert framed[0] is own[0]
    assert framed[2] is third
    ratio = framed[1].field * second.field.conj()
    turn = np.angle(ratio / ratio[np.unravel_index(np.abs(ratio).argmax(), ratio.shape)])
    bright = np.abs(ratio) > 0.1 * np.abs(ratio).max()
    assert np.abs(turn[bright]).max() < 0.3
