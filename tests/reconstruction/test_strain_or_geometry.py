"""An even strain taken from counts whose patches are said to be where they aren't."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_crystal import make_problem, relaxed_ball

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.calibration import Calibration, GeometryUncertainty
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.calibration_fit import align_calibrated
from prammol.reconstruction.strain_or_geometry import cause_of, strain_taken

OFFSET = 0.01  # 1/Å


def ways(seed=3):
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(3, 3))
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def taken(strain, offset, scale, seed=1):
    """What is said of a strained ball under patches with offsets that nobody knows of."""
    x = relaxed_ball(8.5)
    truth = x @ (np.eye(3) + strain)
    nominal = paper_patches(20)
    seen = Calibration(np.ones(3), offset * ways(), np.zeros((3, 3)))
    rng = np.random.default_rng(seed)
    counts = [
        rng.poisson(scale**2 * np.abs(direct_structure_factor(seen.patch(p, k).q(), truth)) ** 2)
        .reshape(p.shape)
        .astype(float)
        for k, p in enumerate(nominal)
    ]
    data = Diffraction(
        nominal,
        counts,
        meta={"element": "Al", "form_factor": "constant"},
        geometry=GeometryUncertainty.none(),
    )
    problem = make_problem(data, x=x, cluster=True)
    try:
        laid = align_calibrated(problem, x, truth)
        return strain_taken(laid.problem, Model(laid.positions, scale))
    finally:
        problem.cluster.close()


def test_nothing_is_said_of_a_crystal_at_rest():
    assert taken(0.0, 0.0, 1.9) is None


def test_a_lattice_constant_that_is_off_is_a_strain():
    found = taken(0.003 * np.eye(3), 0.0, 1.9)
    assert_allclose(found.strain, 0.003 * np.eye(3), atol=3e-4)
    assert found.offset == 0
    assert cause_of(found).text() == "the crystal is strained evenly by 0.3 %"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_few_photons_offsets_explain_a_strain_as_well(seed):
    """The crystal isn't strained at all, and the user is told what else it may be."""
    found = taken(0.0, OFFSET, 0.3, seed)
    assert 0.3 * OFFSET < found.offset < 3 * OFFSET
    assert "the counts don't tell" in cause_of(found).text()


def test_many_photons_rule_offsets_out_where_the_crystal_is_strained():
    load = 0.004 * np.array([[1.0, 0.3, 0.0], [0.3, -0.6, 0.2], [0.0, 0.2, -0.4]])
    found = taken(load, 0.0, 10.0)
    assert_allclose(found.strain, load, atol=2e-4)
    assert found.offset == 0


def test_nothing_is_said_where_the_geometry_is_uncertain():
    x = relaxed_ball(8.5)
    data = Diffraction(paper_patches(8), [np.ones((8, 8, 8))] * 3)
    problem = make_problem(data, x=x)
    assert strain_taken(problem, Model(1.01 * x, 1.0)) is None
