"""Numbers that can't be right: reported with what to do, never a silent wrong answer."""

import shutil
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from small_crystal import fcc_ball, make_problem, relaxed_ball, simulate
from states import altered, state_of

from prammol.cli.commands.reconstruct import NOT_CONVERGED
from prammol.core.errors import DataError, InputError, PotentialError, SimulationError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import support_from_truth
from prammol.likelihood.poisson import (
    amplitude_scale,
    poisson_log_likelihood,
    poisson_scale,
    residual_weights,
)
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.potentials.table_checks import check_table
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.presets import Preset
from prammol.simulation.counts import simulate as simulate_counts
from prammol.structure.atoms import Atoms

SERIAL = Communicator()


@pytest.fixture
def cluster():
    made = Cluster(aluminium())
    yield made
    made.close()


@pytest.fixture
def data():
    return simulate(fcc_ball(6.0), points=8)


def changed(data, patch, change):
    """The same with other counts in one patch."""
    counts = [change(c) if k == patch else c for k, c in enumerate(data.counts)]
    return Diffraction(data.patches, counts, meta=data.meta, source="d.h5")


# -- counts -------------------------------------------------------------------


def test_a_patch_without_a_photon_is_named(data):
    dark = changed(data, 1, np.zeros_like)
    with pytest.raises(DataError, match=r"d\.h5: patch 2 has no photon .* leave the patch out"):
        dark.require_three_dimensions()


def test_a_patch_that_is_masked_or_all_background_is_named(data):
    valid = [np.full(p.shape, k != 2) for k, p in enumerate(data.patches)]
    with pytest.raises(DataError, match=r"patch 3 has no photon .* in 0 valid points"):
        Diffraction(data.patches, data.counts, valid).require_three_dimensions()
    high = [np.full(p.shape, 1e9 if k == 0 else 0.0) for k, p in enumerate(data.patches)]
    with pytest.raises(DataError, match="patch 1 has no photon beyond its background"):
        Diffraction(data.patches, data.counts, background=high).require_three_dimensions()


@pytest.mark.parametrize("value", [1.1e18, 1e300])
def test_counts_beyond_all_measure_are_refused(data, value):
    with pytest.raises(InputError, match=r"counts of patch 1 go up to .* at most 1e\+18"):
        changed(data, 0, lambda c: np.where(c == c.max(), value, c))
    with pytest.raises(InputError, match="background of patch 1"):
        Diffraction(data.patches, data.counts, background=[np.full((8, 8, 8), value)] * 3)


def test_normalised_counts_are_refused(data):
    top = max(c.max() for c in data.counts)
    low = Diffraction(data.patches, [c / top for c in data.counts])
    with pytest.raises(DataError, match=r"brightest point has 1 counts .* normalised"):
        low.require_three_dimensions()


def test_counts_that_are_not_whole_are_warned_of(prammol, small, tmp_path):
    shutil.copy(small / "d.h5", tmp_path / "half.h5")
    with h5py.File(tmp_path / "half.h5", "r+") as file:
        counts = file["entry_2/image_1/data"][...] + 0.5
        del file["entry_2/image_1/data"]
        file["entry_2/image_1/data"] = counts
    done = prammol(
        "reconstruct", "half.h5", "--support", small / "u.h5", "-o", "r.h5",
        "--preset", "paper", "--set", "max_iterations=1",
    )  # fmt: skip
    assert done.returncode == NOT_CONVERGED, done.stderr
    assert "warning: half.h5: counts of patch 2 aren't whole numbers" in done.stderr


@dataclass(frozen=True)
class Found:
    """A stage that knows the answer, and says it is converged."""

    radius: float = 6.0
    scale: float = 1.9
    excess: float = 0.0

    def __call__(self, problem, state):
        x = fcc_ball(self.radius)
        return altered(state, positions=x, scale=self.scale, excess=self.excess, converged=True)


def found(data, stage, **options):
    support = support_from_truth(Atoms(fcc_ball(6.0), "Al"))
    return reconstruct(data, support, preset=Preset("own", (stage,), ()), **options)


def test_less_noise_than_photons_have_is_not_converged(data):
    smooth = changed(data, 0, lambda c: c + 0.25)
    for counts, excess, converged in ((data, -9.0, True), (smooth, -9.0, False), (smooth, 0, True)):
        result = found(counts, Found(excess=excess))
        assert result.converged is converged
        assert (result.reason == "counts aren't photons") is not converged


# -- likelihood ---------------------------------------------------------------


def test_the_likelihood_is_finite_where_the_structure_factor_is_0():
    counts, omega = np.array([5.0, 0.0, 3.0]), np.array([0j, 0j, 2 + 0j])
    value = poisson_log_likelihood(counts, omega, 1.0, SERIAL)
    assert np.isfinite(value)
    # A photon where none can be is all but impossible: far worse than one where it may be.
    assert value < poisson_log_likelihood(np.array([0.0, 0, 3]), omega, 1.0, SERIAL) - 100
    assert np.isfinite(residual_weights(counts, omega, 1.0)).all()


@pytest.mark.parametrize("scale", [amplitude_scale, poisson_scale])
def test_no_scale_fits_atoms_that_scatter_nothing(scale):
    with pytest.raises(DataError, match="the atoms scatter nothing"):
        scale(np.ones(3), np.zeros(3, dtype=complex), SERIAL)


@pytest.mark.parametrize(
    ("stage", "error", "text"),
    [
        (Found(radius=0.0), DataError, "no atom is left after iteration 0"),
        (Found(scale=np.nan), SimulationError, "after iteration 0 the log-likelihood is nan"),
    ],
)
def test_a_run_that_ends_in_nothing_or_in_nan_is_an_error(data, stage, error, text):
    kept = []

    class Keeps(Observer):
        def iterated(self, state, history):
            kept.append(state)

    with pytest.raises(error, match=text):
        found(data, stage, observer=Keeps())
    assert not kept


# -- LAMMPS -------------------------------------------------------------------


def test_overlapping_atoms_are_named(cluster):
    x = fcc_ball(5.0)
    x[7] = x[3]
    with pytest.raises(SimulationError, match="aren't finite; atoms 4 and 8 are 0 Å apart"):
        cluster.energy_forces(x)
    with pytest.raises(InputError, match="atoms 4 and 8 are 0 Å apart, remove one"):
        simulate_counts(Atoms(x, "Al"), 1e20, 1, paper_patches(4))


def test_lost_atoms_are_one_sentence_with_what_to_do(cluster):
    with pytest.raises(SimulationError) as error:
        cluster.sample_nvt(fcc_ball(6.0), 1e7, 1, lambda x: None, equilibrate=100, steps=100)
    assert "Lost atoms" in str(error.value)
    assert "temperature too high" in str(error.value)
    assert "\n" not in str(error.value)
    assert "src/" not in str(error.value)
    # and the cluster is as good as new
    assert np.isfinite(cluster.energy_forces(fcc_ball(6.0))[0])


def test_a_minimiser_that_is_stuck_where_forces_are_left_is_not_at_rest(tmp_path):
    # Half the table of the pair function is moved by 0.3 eV: a step, at which the line
    # search gets stuck.
    lines = aluminium().file.read_text().splitlines()
    words = " ".join(lines[5:]).split()
    step = 24004 - 10000 - 4 + 4 + 4400  # within the pair function
    head = words[: 4 + 20000]
    pair = np.array(words[4 + 20000 :], dtype=float)
    pair[: step - 14000] += 3.0
    file = tmp_path / "step.eam.alloy"
    body = [" ".join(head[:4]), *head[4:], *map(repr, pair.tolist())]
    file.write_text("\n".join([*lines[:5], *body]) + "\n")
    made = Cluster(Potential("Al", "eam/alloy", "* * {file} Al", 26.982, "fcc", 4.05, file))
    x, _, converged = made.relax(fcc_ball(6.0))
    _, forces = made.energy_forces(x)
    made.close()
    assert np.linalg.norm(forces) > 1e-3
    assert not converged


def test_a_crystal_without_minimum_is_no_crystal(monkeypatch):
    from prammol.simulation.samples import make_crystal

    monkeypatch.setattr("prammol.simulation.samples._MAX_ITERATIONS", 2)
    monkeypatch.setattr("prammol.simulation.samples._ATTEMPTS", 2)
    with pytest.raises(SimulationError, match=r"none of 2 grains .*2 of them found no minimum"):
        make_crystal("bulk", atoms=60)


def test_a_stage_whose_minimiser_ran_out_is_judged_by_the_data(data):
    """Refine takes no word of the minimiser: atoms that aren't at rest don't explain the data."""
    from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign

    x = relaxed_ball()
    measured = simulate(x, points=16)
    problem = make_problem(measured, x=x, cluster=True)
    off = x + np.random.default_rng(1).normal(0, 0.3, x.shape)
    relax = problem.cluster.relax
    problem.cluster.relax = lambda y, **options: relax(y, **options, max_iterations=2)
    state = RelaxAndAlign()(problem, state_of(off, 1.9))
    problem.cluster.close()
    assert not state.verdict.explained
    assert not state.verdict.converged


# -- potentials ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1000, "nan", "line 1001 is 'nan', expected finite numbers"),
        (3000, "1.0 -inf 1.0 1.0 1.0", "line 3001 is '1.0 -inf"),
        (3000, "", "the potential ends too early, its tables have 29999 numbers"),
        (4, "1000000000 0.1 1000000000 0.1 6", "promises 3000000000"),
        (4, "-5 0.1 10000 0.1 6", "line 5 is '-5"),
        (4, "10000 0 10000 0 6", "line 5 is"),
        (4, "10000 2e-4 10000 6e-4 1e5", "cutoff of at most 100 Å"),
        (3, "1000000 Al", "elements in line 4"),
    ],
)
def test_a_table_that_lammps_would_take_and_should_not(tmp_path, line, text, message):
    lines = aluminium().file.read_text().splitlines()
    lines[line] = text
    file = tmp_path / "bad.eam.alloy"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(PotentialError) as error:
        check_table(file, "eam/alloy")
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


def test_tables_that_come_with_lammps_are_whole():
    from prammol.potentials.choose import find_potential

    for name, style, elements in (
        ("Cu_mishin1.eam.alloy", "eam/alloy", ["Cu"]),
        ("CuNi.eam.alloy", "eam/alloy", ["Ni", "Cu"]),
        ("AlFe_mm.eam.fs", "eam/fs", ["Al", "Fe"]),
        ("AlCu.adp", "adp", ["Al", "Cu"]),
        ("Cu_u3.eam", "eam", []),
    ):
        assert check_table(find_potential(name), style) == elements
