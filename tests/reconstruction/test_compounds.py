"""Whole reconstructions of compounds, each atom with its element."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import coal, coal_ball

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from prammol.potentials.choose import choose_potential
from prammol.reconstruction.fit import fit_of
from prammol.reconstruction.loop import make_problem, reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.presets import get_preset
from prammol.simulation.averages import innermost_patches
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal


def measured(potential, atoms, points, flux, form_factor="q"):
    patches = innermost_patches(atoms, points, potential.lattice_constant, potential.lattice)
    return simulate(atoms, flux, 1, patches, form_factor=form_factor)


def require_exact(potential, number, points, flux=1e19, settings=None, substitute=None, **options):
    truth = make_crystal("bulk", potential, number, seed=5, substitute=substitute)
    data = measured(potential, truth, points, flux, **options)
    result = reconstruct(data, support_from_truth(truth), potential, seed=1, settings=settings)
    found = evaluate(result.atoms, truth, with_resolution=False)
    assert (found.n_missing, found.n_extra, found.n_wrong_element) == (0, 0, 0)
    assert result.converged
    assert found.mae_pm < 0.1
    # C^2 is as uncertain as the number of photons: five standard deviations.
    noise = 2.5 / np.sqrt(sum(c.sum() for c in data.counts))
    assert result.scale == pytest.approx(data.meta["scale"], rel=noise)
    return result, data


def test_every_atom_of_coal_and_its_element():
    result, data = require_exact(
        coal(), 150, 20, settings={"error_bars": False}, form_factor="constant"
    )
    fit = fit_of(result, data)
    assert abs(fit.sigma) < 5


@pytest.mark.slow
def test_every_atom_of_a_solid_solution_and_its_element():
    alcu = choose_potential("Al", "AlCu.eam.alloy", structure="fcc", solutes=["Cu"])
    result, _ = require_exact(alcu, 300, 24, substitute={"Cu": 0.04})
    assert (result.atoms.symbols == "Cu").sum() == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "file", "number", "points"),
    [
        ("CoAl", "CoAl.eam.alloy", 400, 28),
        ("NiAl", "NiAlH_jea.eam.alloy", 800, 36),
        ("Ni3Al", "NiAlH_jea.eam.alloy", 300, 24),
        ("SiC", "SiC.tersoff", 216, 28),
        ("NaCl", None, 300, 24),
    ],
)
@pytest.mark.parametrize("flux", [1e18, 1e20])
def test_compounds_are_exact(formula, file, number, points, flux):
    salt = {"pair_style": "eim", "pair_coeff": "* * Na Cl ffield.eim Na Cl"}
    potential = choose_potential(formula, file, **({} if file else salt))
    require_exact(potential, number, points, flux)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_atoms_and_elements(tmp_path):
    potential = choose_potential("Ni3Al", "NiAlH_jea.eam.alloy")
    truth = make_crystal("bulk", potential, 300, 5, substitute={"Al": 0.01, "Ni": 0.01})
    data, support = measured(potential, truth, 24, 1e19), support_from_truth(truth)
    settings = {"error_bars": False}

    class Keeper(Observer):
        def iterated(self, state, history):
            if state.status.iteration == 1:
                write_checkpoint(tmp_path / "c.h5", Checkpoint(state, list(history), {}))

    run = {"seed": 1, "settings": settings}
    whole = reconstruct(data, support, potential, observer=Keeper(), **run)
    saved = read_checkpoint(tmp_path / "c.h5")
    again = reconstruct(data, support, potential, resume=(saved.state, saved.history), **run)
    np.testing.assert_array_equal(again.atoms.positions, whole.atoms.positions)
    np.testing.assert_array_equal(again.atoms.symbols, whole.atoms.symbols)
    found = evaluate(whole.atoms, truth, with_resolution=False)
    assert (found.n_missing, found.n_extra, found.n_wrong_element) == (0, 0, 0)


def test_what_is_for_one_element_is_refused():
    truth = coal_ball(5.5)
    data, support = measured(coal(), truth, 12, 1e18), support_from_truth(truth)
    with pytest.raises(InputError, match="preset paper knows fcc and bcc crystals only, not B2"):
        reconstruct(data, support, coal(), preset="paper")
    with pytest.raises(InputError, match="setting matter is for one element"):
        get_preset("default").with_settings({"matter": True}).require_known(coal())
    nial = choose_potential("NiAl", "NiAlH_jea.eam.alloy", structure="B2", lattice_constant=2.88)
    with pytest.raises(InputError, match="data are of Al,Co, but the potential is for Al,Ni"):
        make_problem(data, support, nial, 1, Communicator())
    alcu = choose_potential("Al", "AlCu.eam.alloy", structure="fcc", solutes=["Cu"])
    with pytest.raises(InputError, match="knows crystals of one element only, not of Al, Cu"):
        reconstruct(data, support, alcu, preset="paper")
    alone = choose_potential("Al", "CoAl.eam.alloy", structure="fcc", lattice_constant=4.05)
    with pytest.raises(InputError, match="data are of Al,Co, but the potential is for Al"):
        make_problem(data, support, alone, 1, Communicator())


def test_the_brightest_patches_are_phased():
    from prammol.phasing.indexing import indexed
    from prammol.phasing.known_reflections import phased_patches

    truth = coal_ball(7.0)
    data = measured(coal(), truth, 16, 1e18)
    assert phased_patches(data, coal())[0] == [0, 1, 2]
    cells = indexed(data.peaks()[:3], coal())
    assert len(cells) == 1
    assert cells[0].lattice.index == 2
    np.testing.assert_allclose(np.abs(np.linalg.det(cells[0].indices)), 2)
