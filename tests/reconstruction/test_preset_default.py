"""Whole reconstructions by preset default: every atom of 300, from counts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cut_crystals import FCC, A
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from states import BRIEF

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import reconstruct
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms


@pytest.fixture(scope="module")
def truth():
    return make_crystal("bulk", atoms=300, seed=6)


def require_exact(truth, data, seed=1):
    result = reconstruct(data, support_from_truth(truth, 5.0), seed=seed)
    metrics = evaluate(result.atoms, truth, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.1
    assert result.scale == pytest.approx(data.meta["scale"], rel=1e-3)
    assert (result.converged, result.reason) == (True, "converged")
    assert abs(result.history[-1]["excess"]) < 5
    return result


@pytest.mark.slow  # tests/reconstruction/test_background.py has the same, and a background
def test_every_atom_in_spite_of_gaps_hot_pixels_and_a_beam_stop(truth):
    data = simulate(truth, 1e20, seed=1, patches=paper_patches(32))
    rng = np.random.default_rng(0)
    valid = [rng.random(c.shape) > 0.02 for c in data.counts]
    for v in valid:
        v[20:22] = False
        v[:, :, 9] = False
    valid[0][14:18, 14:18, 14:18] = False
    counts = [np.where(v, c, 7e7) for c, v in zip(data.counts, valid, strict=True)]
    require_exact(truth, replace(data, counts=counts, valid=valid), seed=2)


@pytest.mark.slow  # tests/project/test_own_data.py has a turned crystal on bent grids
def test_every_atom_of_a_turned_crystal_on_sheared_grids(truth):
    """No lattice direction goes in: any orientation, the raw grids of rocking scans."""
    turn = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()
    turned = Atoms(truth.positions @ turn.T, truth.element)
    patches = []
    for p in paper_patches(32):
        step = p.step + 0.1 * p.step[0, 0] * np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0]])
        middle = p.origin + 15.5 * p.step.sum(axis=0)
        origin = middle - 15.5 * step.sum(axis=0)
        patches.append(BraggPatch(origin @ turn.T, step @ turn.T, p.shape))
    require_exact(turned, simulate(turned, 1e20, seed=1, patches=patches), seed=2)


@pytest.mark.slow  # test_open_lattice.py has two families
def test_every_atom_from_four_peaks_of_two_families(truth):
    peaks = ((2, 0, 0), (0, 2, 0), (1, 1, 1), (-1, 1, 1))
    patches = [cubic_patch(p, 0.6, 32, 4.05) for p in peaks]
    require_exact(truth, simulate(truth, 1e20, seed=1, patches=patches))


def test_a_wrong_potential_is_not_called_converged(truth):
    """Atoms at 0.5 Å from where any relaxation puts them can't be explained, and it says so.

    Each in another direction: an even strain would be found.
    """
    moved = truth.positions + np.random.default_rng(3).normal(0.0, 0.3, truth.positions.shape)
    data = simulate(Atoms(moved, "Al"), 1e20, seed=1, patches=paper_patches(32))
    support = support_from_truth(Atoms(moved, "Al"), 5.0)
    result = reconstruct(data, support, seed=1, settings=BRIEF)
    assert not result.converged
    assert result.history[-1]["excess"] > 100


def plate(half: tuple[float, float, float]) -> tuple[Atoms, list[BraggPatch]]:
    """A plate with two symmetric faces each, and three patches that hold it."""
    cells = np.indices((20,) * 3).reshape(3, -1).T
    x = (cells[:, None] + FCC).reshape(-1, 3) * A
    x -= x.mean(axis=0) - [0.3, 0.1, 0.2]
    x = x[(np.abs(x) < half).all(axis=1)]
    cluster = Cluster(aluminium())
    x, _, _ = cluster.relax(x)
    cluster.close()
    points = max(30, int(np.ceil(1.2 * (np.ptp(x, axis=0).max() + 4) / A * 2.8)))
    peaks = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
    return Atoms(x, "Al"), [cubic_patch(p, 0.6, points, A) for p in peaks]


@pytest.mark.parametrize(
    ("half", "seed"),
    [((5, 14, 12), 4), pytest.param((9, 26, 22), 5, marks=pytest.mark.slow)],
)
def test_every_atom_of_a_plate(half, seed):
    """A symmetric one is dark in most points: a facet on the wrong side costs less than an atom."""
    truth, patches = plate(half)
    data = simulate(truth, 1e18, seed=seed, patches=patches)
    result = reconstruct(data, support_from_truth(truth, 5.0), seed=seed)
    metrics = evaluate(result.atoms, truth, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert result.converged
    assert result.diagnosis == ()


def test_a_misfit_comes_with_its_cause(truth):
    """The shape of the peaks is wrong, and it says by what."""
    data = simulate(truth, 1e19, seed=1, patches=paper_patches(32))
    blurred = [np.rint(gaussian_filter(c, 0.5)) for c in data.counts]
    data = replace(data, counts=blurred)
    result = reconstruct(data, support_from_truth(truth, 5.0), seed=1, settings=BRIEF)
    assert not result.converged
    assert result.diagnosis[0].effect == "blur"
    assert result.misfit_text().endswith("% of it")
