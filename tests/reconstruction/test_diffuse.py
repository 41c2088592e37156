"""A warm crystal, counted with its diffuse scattering: the loop finds atoms and temperature."""

from __future__ import annotations

import pytest
from small_crystal import relaxed_ball

import prammol
from prammol.diffraction.bragg_patch import paper_patches
from prammol.simulation.averages import mean_structure_factor
from prammol.simulation.counts import draw_counts


@pytest.mark.slow
def test_atoms_and_temperature_from_counts_with_diffuse_scattering():
    truth = prammol.Atoms(relaxed_ball(11.5), "Al")
    mean = mean_structure_factor(
        truth, 100.0, 3, paper_patches(24), equilibrate=1000, steps=8000, every=40, timestep=2.0
    )
    data = draw_counts(mean, 1e19, 1, diffuse=True, form_factor="constant")
    settings = {"diffuse": True}
    found = prammol.reconstruct(data, prammol.support_from_truth(truth), seed=1, settings=settings)
    judged = prammol.evaluate(found.atoms, truth, with_resolution=False)
    assert (judged.n_missing, judged.n_extra) == (0, 0)
    assert judged.mae_pm < 3.0  # the truth is at rest, the crystal expands
    assert found.history[-1]["temperature"] == pytest.approx(100, rel=0.2)
    assert "diffuse" in found.calibration.terms
