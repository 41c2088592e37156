"""The zoo: the same crystals each time, at rest, and verdicts that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms as Cell
from ase.calculators.eam import EAM
from processes import ROOT
from scipy.spatial.transform import Rotation


@pytest.fixture
def scripts(monkeypatch):
    """Make the scripts of benchmarks importable."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(
    ("converged", "right", "honest", "seen", "verdict"),
    [
        (True, True, True, False, "exact"),
        (True, True, False, False, "silent"),
        (True, False, True, True, "silent"),
        (True, False, True, False, "undecidable"),
        (False, True, True, False, "unconfirmed"),
        (False, False, True, True, "said"),
        (False, True, False, False, "said"),
    ],
)
def test_verdicts(converged, right, honest, seen, verdict):
    from zoo import verdict_of

    assert verdict_of(converged, right, honest, seen) == verdict


@pytest.mark.usefixtures("scripts")
def test_a_crystal_of_the_zoo_is_at_rest_turned_and_inside_its_patches():
    from zoo_crystals import crystal, drawn, patches_of

    from prammol.diffraction.structure_factor import StructureFactor

    what = drawn(3, 0, 300, 400)
    assert what.formula == drawn(3, 0, 300, 400).formula
    assert {drawn(3, k, 300, 400).structure for k in range(60)} > {"fcc", "bcc", "hcp", "B2"}
    turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    what = replace(
        what,
        formula="Cu",
        file="Cu_mishin1.eam.alloy",
        structure="fcc",
        shape="rough",
        atoms=300,
        defects=("vacancies",),
        turn=turn,
    )
    truth, potential = crystal(what, 3, 0)
    # Forces of another program.
    cell = Cell("Cu" * len(truth), positions=truth.positions)
    cell.calc = EAM(potential=str(potential.file))
    assert np.abs(cell.get_forces()).max() < 1e-3
    patches = patches_of(what, truth, potential)
    extent = np.ptp(truth.positions, axis=0)
    for patch, hkl in zip(patches, potential.lattice.peaks, strict=True):
        period = 2 * np.pi / np.diag(patch.step)
        assert (period > what.sampling * extent).all()
        brightest = np.abs(StructureFactor([patch], 1e-6).forward(truth.positions)).argmax()
        peak = turn @ np.array(hkl) * 2 * np.pi / potential.lattice_constant
        assert np.abs(patch.q()[brightest] - peak).max() < 0.06 * np.linalg.norm(peak)
