"""The mean scattering of a trajectory, and a density compared with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from small_crystal import hopping_crystal

from prammol.core.errors import InputError
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.evaluation.mean_scattering import ScatteringAverage
from prammol.evaluation.metrics import against_scattering, evaluate
from prammol.io import read_reconstruction, write_reconstruction
from prammol.io.mean_scattering import read_mean_scattering, write_mean_scattering
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms


@pytest.fixture(scope="module")
def trajectory():
    """Snapshots of a crystal of which twelve atoms are elsewhere in two of five."""
    x, vacant, occupied = hopping_crystal()
    sites = np.concatenate([x, vacant])
    from_here = np.flatnonzero((occupied > 0) & (occupied < 1))
    here, there = from_here[from_here < len(x)], from_here[from_here >= len(x)]
    there = there[cKDTree(sites[there]).query(x[here])[1]]
    rng = np.random.default_rng(5)
    snapshots = []
    for number in range(70):  # more than go through one transform
        y = x + rng.normal(0, 0.05, x.shape)
        if number % 5 < 2:
            y[here] = sites[there]
        snapshots.append(y)
    spheres = ScatteringAverage(x)
    for y in snapshots:
        spheres.add(y)
    return x, sites, occupied, np.array(snapshots), spheres.mean()


def test_the_mean_is_that_of_the_snapshots_one_by_one(trajectory):
    _, _, _, snapshots, mean = trajectory
    rng = np.random.default_rng(1)
    shells, rays = rng.integers(0, len(mean.q), 20), rng.integers(0, len(mean.directions), 20)
    q = mean.q[shells, None] * mean.directions[rays]
    expected = np.mean([direct_structure_factor(q, y - mean.centre) for y in snapshots], axis=0)
    error = np.abs(mean.values[shells, rays] - expected)
    assert error.max() < 1e-3
    assert np.pi / mean.q[-1] == pytest.approx(0.5, rel=0.02)


def test_occupancies_have_the_phases_that_mean_positions_lack(trajectory):
    x, sites, occupied, snapshots, mean = trajectory
    density = mean.resolution(sites, occupied)
    positions = mean.resolution(snapshots.mean(axis=0))
    assert not density.failed
    assert density.value == pytest.approx(0.5, rel=0.02)
    assert density.phase_error.max() < 0.2
    assert density.phase_error.max() < 0.5 * mean.resolution(x).phase_error.max()
    assert density.phase_error.max() < 0.5 * positions.phase_error.max()


def test_a_density_is_compared_in_the_frame_of_the_truth(trajectory):
    x, sites, occupied, _, mean = trajectory
    shift = np.array([1.0, -2.0, 0.5])
    density = Atoms(-(sites - shift), "Al", {"occupancy": occupied})
    result = Reconstruction(Atoms(-(x - shift), "Al"), 1.0, density=density)
    metrics = evaluate(result.atoms, x, with_resolution=False)
    assert against_scattering(result, metrics, mean) == pytest.approx(0.5, rel=0.02)
    nothing = replace(result, atoms=Atoms(np.empty((0, 3)), "Al"), density=None)
    assert against_scattering(nothing, metrics, mean) is None


def test_files_give_back_what_was_written(trajectory, tmp_path):
    _, sites, occupied, _, mean = trajectory
    write_mean_scattering(tmp_path / "s.npz", mean)
    back = read_mean_scattering(tmp_path / "s.npz")
    np.testing.assert_allclose(back.values, mean.values, atol=1e-4)
    np.testing.assert_array_equal(back.q, mean.q)
    density = Atoms(sites, "Al", {"occupancy": occupied})
    result = Reconstruction(Atoms(sites[:5], "Al"), 1.0, density=density)
    write_reconstruction(tmp_path / "r.h5", result)
    found = read_reconstruction(tmp_path / "r.h5").density
    np.testing.assert_array_equal(found.positions, sites)
    np.testing.assert_array_equal(found.columns["occupancy"], occupied)
    write_reconstruction(tmp_path / "cold.h5", replace(result, density=None))
    assert read_reconstruction(tmp_path / "cold.h5").density is None


def test_other_files_are_refused_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_mean_scattering(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", omega=np.ones(3))
    arrays = {"q": np.ones(2), "directions": np.ones((3, 3)), "centre": np.zeros(3)}
    np.savez(tmp_path / "misfits.npz", **arrays, values=np.ones((2, 2)))
    np.savez(tmp_path / "nan.npz", **arrays, values=np.full((2, 3), np.nan))
    for name in ("text", "other", "misfits", "nan"):
        with pytest.raises(InputError, match=f"{name}.npz.*expected the mean scattering"):
            read_mean_scattering(tmp_path / f"{name}.npz")
