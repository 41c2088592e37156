"""Energies, forces, relaxation and dynamics against ASE, closed forms and experiments."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms as AseAtoms
from ase.calculators.eam import EAM
from scipy.optimize import minimize_scalar
from small_crystal import fcc_ball, relaxed_ball

from prammol.core.errors import PotentialError, SimulationError
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium

BOLTZMANN = 8.617333e-5  # eV/K

JOULE_PER_M2 = 16.02177  # of one eV/Å^2


@pytest.fixture
def cluster():
    c = Cluster(aluminium())
    yield c
    c.close()


@pytest.fixture(scope="module")
def eam():
    return EAM(potential=str(aluminium().file), form="alloy")


def fresh_energy_forces(x):
    """What LAMMPS says when it has seen nothing else before."""
    c = Cluster(aluminium())
    out = c.energy_forces(x)
    c.close()
    return out


def core_energy(cluster, a):
    """Energy of an atom so deep inside that the surface doesn't reach it."""
    x = fcc_ball(14.0, a)
    centre = np.linalg.norm(x, axis=1).argmin()
    return cluster.atom_energies(x)[centre]


def test_cohesive_energy_and_lattice_constant_are_those_published(cluster):
    # Mishin et al. 1999: fitted to -3.36 eV/atom and 4.05 Å.
    assert core_energy(cluster, 4.05) == pytest.approx(-3.36, abs=1e-3)
    a = np.linspace(4.0, 4.1, 5)
    parabola = np.polyfit(a, [core_energy(cluster, v) for v in a], 2)
    assert -parabola[1] / (2 * parabola[0]) == pytest.approx(4.05, abs=2e-3)


@pytest.mark.parametrize(
    ("axes", "published"),
    [
        (((1, 0, 0), (0, 1, 0), (0, 0, 1)), 0.943),
        (((1, -1, 0), (1, 1, -2), (1, 1, 1)), 0.870),
        (((1, -1, 0), (0, 0, 1), (1, 1, 0)), 1.006),
    ],
)
def test_surface_energies_are_near_those_published(cluster, axes, published):
    # A block is cut off along the third axis. Mishin et al. give the relaxed values
    # [J/m^2]; the ideal surface may be up to 5 % above.
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    cells = np.indices((20, 20, 20)).reshape(3, -1).T - 10
    x = 4.05 * (cells[:, None] + basis).reshape(-1, 3)
    unit = np.array([np.array(v) / np.linalg.norm(v) for v in axes])
    y = x @ unit.T + [0.3, 0.2, 0.1]
    periods = 4.05 * np.array([np.linalg.norm(v) for v in axes[:2]])
    periods *= [0.5 if v.tolist().count(0) == 1 else 1.0 for v in map(np.array, axes[:2])]
    periods *= [0.5 if 2 in np.abs(v) else 1.0 for v in axes[:2]]
    y = y[(np.abs(y[:, :2]) < 18).all(axis=1) & (np.abs(y[:, 2]) < 10)]
    column = ((y[:, :2] >= 0) & (y[:, :2] < periods)).all(axis=1)
    excess = (cluster.atom_energies(y)[column] + 3.36).sum()
    found = excess / (2 * np.prod(periods)) * JOULE_PER_M2
    assert 0.99 * published < found < 1.05 * published


def test_energy_and_forces_are_those_of_ase(cluster, eam, rng):
    x = fcc_ball(5.5) + 0.1 * rng.normal(size=fcc_ball(5.5).shape)
    atoms = AseAtoms(f"Al{len(x)}", positions=x, calculator=eam)
    energy, forces = cluster.energy_forces(x)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-4)


def test_forces_are_the_slope_of_the_energy(cluster, rng):
    x = fcc_ball(6.0) + 0.2 * rng.normal(size=fcc_ball(6.0).shape)
    _, forces = cluster.energy_forces(x)
    for direction in rng.normal(size=(5, *x.shape)):
        up, down = (cluster.energy_forces(x + s * 1e-4 * direction)[0] for s in (1, -1))
        assert (up - down) / 2e-4 == pytest.approx(-(forces * direction).sum(), rel=1e-6)


def test_energies_do_not_depend_on_earlier_calls(cluster, rng):
    x = fcc_ball(9.0)
    pair = x.copy()
    pair[0] = pair[1] + [0.9, 0, 0]
    flown = x.copy()
    flown[3] = [60.0, -40.0, 50.0]
    cases = [
        x,
        x + 0.02 * rng.normal(size=x.shape),
        x + 0.3 * rng.normal(size=x.shape),
        x + np.array([7.0, -3.0, 0.0]),
        x[rng.permutation(len(x))],
        -x,
        0.85 * x,
        1.4 * x,
        pair,
        x[:-7],
        flown,
        x[:1],
        x,
    ]
    for y in cases:
        expected = fresh_energy_forces(y)
        energy, forces = cluster.energy_forces(y)
        assert energy == pytest.approx(expected[0], abs=1e-9)
        np.testing.assert_allclose(forces, expected[1], atol=1e-10)
        each, forces = cluster.atom_energies_forces(y)
        assert each.sum() == pytest.approx(expected[0], abs=1e-8)
        np.testing.assert_allclose(forces, expected[1], atol=1e-10)


def test_many_small_moves_renew_the_neighbour_list_in_time(cluster, rng):
    x = fcc_ball(9.0)
    cluster.energy_forces(x)
    for _ in range(40):
        x = x + 0.1 * rng.normal(size=x.shape)
        found = cluster.energy_forces(x)
        expected = fresh_energy_forces(x)
        assert found[0] == pytest.approx(expected[0], abs=1e-8)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-8)


def test_no_atoms_have_no_energy(cluster):
    nothing = np.zeros((0, 3))
    assert cluster.energy_forces(nothing)[0] == 0
    assert cluster.atom_energies(nothing).shape == (0,)
    assert cluster.relax(nothing)[0].shape == (0, 3)


def test_overlap_and_nan_are_errors_and_the_next_call_is_right(cluster):
    x = fcc_ball(5.0)
    overlap = x.copy()
    overlap[0] = overlap[1]
    with pytest.raises(SimulationError, match="finite"):
        cluster.energy_forces(overlap)
    with pytest.raises(SimulationError, match="finite"):
        cluster.energy_forces(x * np.nan)
    assert cluster.energy_forces(x)[0] == pytest.approx(fresh_energy_forces(x)[0], abs=1e-9)


def test_relax_finds_a_minimum(cluster, rng):
    x = fcc_ball(7.0)
    y, energy, converged = cluster.relax(x + 0.05 * rng.normal(size=x.shape))
    found, forces = fresh_energy_forces(y)
    assert converged
    assert np.linalg.norm(forces) < 2e-8
    assert energy == pytest.approx(found, abs=1e-8)
    for direction in rng.normal(size=(5, *x.shape)):
        assert fresh_energy_forces(y + 1e-3 * direction)[0] > energy


def test_relax_with_a_mask_leaves_held_atoms_untouched(cluster, rng):
    x = fcc_ball(8.0) + 0.1 * rng.normal(size=fcc_ball(8.0).shape)
    free = rng.random(len(x)) < 0.5
    y, energy, converged = cluster.relax(x, free)
    found, forces = fresh_energy_forces(y)
    assert converged
    assert np.array_equal(y[~free], x[~free])
    assert np.abs(forces[free]).max() < 1e-7 < np.abs(forces[~free]).max()
    assert energy == pytest.approx(found, abs=1e-8)
    # the held atoms are held no longer
    np.testing.assert_allclose(cluster.energy_forces(x)[1], fresh_energy_forces(x)[1], atol=1e-10)
    held = cluster.relax(x, np.zeros(len(x), dtype=bool))
    assert np.array_equal(held[0], x)


def test_relax_says_when_it_ran_out_of_iterations(cluster, rng):
    x = fcc_ball(8.0)
    assert not cluster.relax(x + 0.1 * rng.normal(size=x.shape), max_iterations=3)[2]


def test_free_tetrahedron_is_that_of_ase(cluster, eam):
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])

    def energy(size):
        return AseAtoms("Al4", positions=size * corners, calculator=eam).get_potential_energy()

    best = minimize_scalar(energy, bounds=(0.8, 1.2), method="bounded")
    assert cluster.free_tetrahedron_energy() == pytest.approx(best.fun / 4, abs=1e-4)


def test_cutoff_is_that_in_the_file(cluster):
    header = Path(aluminium().file).read_text().splitlines()[4]
    assert cluster.cutoff() == pytest.approx(float(header.split()[4]), abs=0.15)


@pytest.mark.parametrize("timestep", [0.5, 2.0])
def test_the_first_step_goes_as_far_as_the_atoms_fly(cluster, timestep):
    """At rest no force acts yet: sqrt(k T / m) times the time step along each axis."""
    x = relaxed_ball()
    after = []
    cluster.sample_nvt(x, 100.0, 7, after.append, 0, 1, 1, timestep)
    # k T / m of aluminium, 26.98 u, in (Å / fs)^2
    speed = np.sqrt(1.380649e-23 * 100.0 / (26.98 * 1.66053907e-27)) * 1e-5
    free = (3 * len(x) - 3) / (3 * len(x))  # the centre is at rest
    far = np.sqrt(np.mean((after[0] - x) ** 2) / free)
    assert far == pytest.approx(speed * timestep, rel=0.02)


@pytest.mark.parametrize("timestep", [1.0, 2.0])
def test_potential_energy_in_dynamics_obeys_equipartition(cluster, timestep):
    # A harmonic crystal of n atoms with 3n - 6 vibrations has kT/2 potential energy in each.
    x = relaxed_ball()
    ground, _ = cluster.energy_forces(x)
    snapshots = []
    cluster.sample_nvt(x, 100.0, 7, snapshots.append, 1000, 4000, 100, timestep)
    assert len(snapshots) == 40
    mean = np.mean([cluster.energy_forces(y)[0] for y in snapshots]) - ground
    assert mean == pytest.approx((3 * len(x) - 6) / 2 * BOLTZMANN * 100, rel=0.1)
    again = []
    cluster.sample_nvt(x, 100.0, 7, again.append, 0, 100, 50)
    other = []
    cluster.sample_nvt(x, 100.0, 8, other.append, 0, 100, 50)
    assert not np.allclose(again[0], other[0])


def test_a_truncated_potential_is_an_error(tmp_path):
    file = tmp_path / "short.eam.alloy"
    file.write_text("\n".join(aluminium().file.read_text().splitlines()[:3000]))
    with pytest.raises(PotentialError, match=r"short\.eam\.alloy: the potential ends too early"):
        Potential("Al", "eam/alloy", "* * {file} Al", 26.982, "fcc", 4.05, file)


ON_RANKS = """
    import numpy as np
    from prammol.core.parallel import world
    from prammol.potentials.lammps import Cluster
    from prammol.potentials.potential import Potential, aluminium
    comm = world()
    rng = np.random.default_rng(3)
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    x = 4.05 * ((np.indices((5, 5, 5)).reshape(3, -1).T - 2)[:, None] + basis).reshape(-1, 3)
    together, alone = Cluster(aluminium(), comm), Cluster(aluminium())

    def same(a, b, tolerance=1e-8):
        for u, v in zip(a, b, strict=True):
            np.testing.assert_allclose(u, v, rtol=0, atol=tolerance)
            bits = comm.gather(np.asarray(u).tobytes())
            assert len(set(bits)) == 1, "ranks hold different bits"

    x = x + 0.05 * rng.normal(size=x.shape)
    for y in (
        x, x + 0.1 * rng.normal(size=x.shape), -x, x + [9.0, 0, -9.0], x[rng.permutation(len(x))],
        x[:-9], 0.8 * x, x[:1], x,
    ):
        same(together.energy_forces(y), alone.energy_forces(y))
        same(together.atom_energies_forces(y), alone.atom_energies_forces(y))
    free = rng.random(len(x)) < 0.5
    y, energy, _ = together.relax(x, free)
    assert np.array_equal(y[~free], x[~free])
    same((y, energy), alone.relax(x, free)[:2], 1e-6)
    g = rng.uniform(-14, 14, (300, 3))
    g = g[np.linalg.norm(g[:, None] - x, axis=2).min(axis=1) > 1.9][:8]
    same(together.relax_adatoms(x, g), alone.relax_adatoms(x, g))
    pairs = Potential("Al", "morse 7.0", "* * 0.3 2.5 2.8", 26.98, "fcc", 4.05)
    together, alone = Cluster(pairs, comm), Cluster(pairs)
    same(together.relax_adatoms(x, g), alone.relax_adatoms(x, g), 1e-5)
    comm.barrier()
    if comm.is_root:
        print("done", comm.size)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_ranks_give_what_one_gives(parallel, tmp_path, ranks):
    script = tmp_path / "ranks.py"
    script.write_text(textwrap.dedent(ON_RANKS))
    result = parallel(ranks, script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["done", str(ranks)]


JUMPS = """
    import numpy as np
    from prammol.core.parallel import world
    from prammol.potentials.lammps import Cluster
    from prammol.potentials.potential import aluminium
    comm = world()
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    rod = 4.05 * ((np.indices((40, 2, 2)).reshape(3, -1).T)[:, None] + basis).reshape(-1, 3)
    rod -= rod.mean(axis=0)
    together, alone = Cluster(aluminium(), comm), Cluster(aluminium())
    for x in (rod, -rod, np.random.default_rng(0).permutation(rod), rod):
        np.testing.assert_allclose(together.energy_forces(x)[0], alone.energy_forces(x)[0])
    comm.barrier()
    if comm.is_root:
        print("done", comm.size)
"""


@pytest.mark.mpi
def test_atoms_may_jump_across_ranks(parallel, tmp_path):
    # LAMMPS alone loses atoms that pass over a neighbouring rank: four in a row are needed
    script = tmp_path / "jumps.py"
    script.write_text(textwrap.dedent(JUMPS))
    result = parallel(4, script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["done", "4"]
