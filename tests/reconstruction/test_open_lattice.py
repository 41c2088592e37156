"""Whole reconstructions from peaks that leave the lattice open."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.spatial.transform import Rotation

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import reconstruct
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms
from prammol.structure.lattices import LATTICES

TURN = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()


def require_exact(truth, data, potential):
    """One in ten starts of so small a crystal gets stuck, and says so; another one doesn't."""
    for seed in (4, 1, 2):
        result = reconstruct(data, support_from_truth(truth, 5.0), potential, seed=seed)
        if result.converged:
            break
    metrics = evaluate(result.atoms, truth, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.1
    assert result.converged


def test_every_atom_from_peaks_that_leave_two_lattices():
    truth = make_crystal("bulk", atoms=300, seed=6)
    patches = [cubic_patch(p, 0.6, 32, 4.05) for p in ((1, 1, 1), (2, 2, 0), (2, -2, 0))]
    require_exact(truth, simulate(truth, 1e20, seed=1, patches=patches), aluminium())


@pytest.mark.slow
def test_every_atom_from_three_200_peaks():
    truth = make_crystal("bulk", atoms=800, seed=6)
    patches = [cubic_patch(p, 0.6, 40, 4.05) for p in ((2, 0, 0), (0, 2, 0), (0, 0, 2))]
    require_exact(truth, simulate(truth, 1e20, seed=1, patches=patches), aluminium())


def test_no_lattice_constant_and_no_orientation_goes_in():
    """Any orientation; windows beside the peaks; a potential that says 3 % too much."""
    truth = make_crystal("bulk", atoms=300, seed=6)
    turned = Atoms(truth.positions @ TURN.T, truth.element)
    patches = []
    for hkl in LATTICES["fcc"].peaks:
        p = cubic_patch(hkl, 0.6, 32, 4.05 * 1.03)
        patches.append(BraggPatch(p.origin @ TURN.T, p.step @ TURN.T, p.shape))
    data = simulate(turned, 1e20, seed=1, patches=patches)
    require_exact(turned, data, replace(aluminium(), lattice_constant=4.05 * 1.03))
