"""The structure factor and its adjoint against sums written out here."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor

ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])

GRIDS = {
    "even cube": cubic_patch((-1, 1, 1), 0.6, 12, 4.05),
    "odd cube": cubic_patch((1, -1, 1), 0.6, 11, 4.05),
    "three different edges": BraggPatch([0.9, -1.7, 1.2], np.diag([0.02, 0.03, 0.05]), (6, 9, 14)),
    "rotated": BraggPatch([1.1, 0.3, -0.8], ROTATION * 0.04, (7, 8, 9)),
    "sheared": BraggPatch(
        [-0.5, 1.5, 1.4],
        [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
        (9, 6, 7),
    ),
    "left-handed": BraggPatch([0.4, 1.5, 1.4], np.diag([0.03, -0.02, 0.04]), (5, 8, 6)),
    "one plane": BraggPatch([1.0, 1.0, 1.0], np.eye(3) * 0.05, (1, 5, 4)),
}


def written_out(patch, x, w):
    """Omega on the points of a patch, term by term."""
    i, j, k = np.indices(patch.shape)
    q = (
        patch.origin
        + i[..., None] * patch.step[0]
        + j[..., None] * patch.step[1]
        + k[..., None] * patch.step[2]
    )
    omega = np.zeros(patch.shape, dtype=complex)
    for xj, wj in zip(x, w, strict=True):
        phase = q[..., 0] * xj[0] + q[..., 1] * xj[1] + q[..., 2] * xj[2]
        omega += wj * (np.cos(phase) - 1j * np.sin(phase))
    return omega.ravel()


@pytest.fixture
def atoms(rng):
    """Forty atoms off the origin, and a weight for each."""
    return rng.uniform(-20, 30, (40, 3)), rng.uniform(0.2, 1.5, 40)


@pytest.mark.parametrize("name", GRIDS)
def test_direct_sum_is_the_definition(name, atoms):
    x, w = atoms
    patch = GRIDS[name]
    assert_allclose(direct_structure_factor(patch.q(), x, w), written_out(patch, x, w), atol=1e-11)
    assert_allclose(
        direct_structure_factor(patch.q(), x), written_out(patch, x, np.ones(40)), atol=1e-11
    )


@pytest.mark.parametrize("epsilon", [1e-4, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("name", GRIDS)
def test_forward_is_the_sum_within_epsilon(name, epsilon, atoms):
    x, w = atoms
    patch = GRIDS[name]
    reference = written_out(patch, x, w)
    found = StructureFactor([patch], epsilon).forward(x, w)
    # The accuracy promised is relative to the norm; round-off of a phase of 50 rad adds to it.
    assert np.linalg.norm(found - reference) < 3 * (epsilon + 1e-14) * np.linalg.norm(reference)


def test_forward_counts_each_atom_once_without_weights(atoms):
    x, _ = atoms
    factor = StructureFactor(list(GRIDS.values()))
    assert_allclose(factor.forward(x), factor.forward(x, np.ones(len(x))), atol=1e-12)
    assert_allclose(factor.forward(x), direct_structure_factor(factor.q, x), atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-9])
def test_patches_of_one_shape_each_keep_their_own_steps(epsilon, atoms):
    """Only neighbours with the same steps may share a transform."""
    x, w = atoms
    shape, narrow, wide = (5, 6, 7), np.diag([0.02, 0.03, 0.05]), ROTATION * 0.04
    origins = [[0.9, -1.7, 1.2], [1.1, 0.3, -0.8], [-0.5, 1.5, 1.4], [0.4, 1.5, 1.4]]
    steps = [narrow, narrow, wide, narrow]
    patches = [BraggPatch(o, s, shape) for o, s in zip(origins, steps, strict=True)]
    factor = StructureFactor(patches, epsilon)
    reference = np.concatenate([written_out(p, x, w) for p in patches])
    error = np.linalg.norm(factor.forward(x, w) - reference)
    assert error < 3 * epsilon * np.linalg.norm(reference)
    q = np.concatenate([p.q() for p in patches])
    moments = np.exp(1j * (x @ q.T)) @ (q * reference[:, None])
    error = np.linalg.norm(factor.adjoint_moments(reference, x) - moments)
    assert error < 3 * epsilon * np.linalg.norm(moments)


def test_patches_follow_each_other_in_the_flat_array(atoms):
    x, w = atoms
    patches = list(GRIDS.values())
    whole = StructureFactor(patches).forward(x, w)
    assert_allclose(whole, np.concatenate([written_out(p, x, w) for p in patches]), atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_adjoint_is_the_adjoint(name, atoms, rng):
    x, w = atoms
    factor = StructureFactor([GRIDS[name]], 1e-12)
    v = rng.normal(size=factor.size) + 1j * rng.normal(size=factor.size)
    left = np.vdot(v, factor.forward(x, w))  # <v, F w>
    right = np.vdot(factor.adjoint(v, x), w)  # <F* v, w>
    assert abs(left - right) < 1e-9 * abs(left)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-9])
def test_adjoint_and_moments_are_sums_over_the_points(atoms, rng, epsilon):
    x, _ = atoms
    factor = StructureFactor(list(GRIDS.values()), epsilon)
    v = rng.normal(size=factor.size) + 1j * rng.normal(size=factor.size)
    q = np.concatenate([p.q() for p in GRIDS.values()])
    wave = np.exp(1j * (x @ q.T))
    size = np.linalg.norm(v) * np.sqrt(len(x))
    assert_allclose(factor.adjoint(v, x), wave @ v, atol=3 * epsilon * size)
    moments = np.stack([wave @ (q[:, a] * v) for a in range(3)], axis=1)
    found = factor.adjoint_moments(v, x)
    assert found.shape == (len(x), 3)
    assert_allclose(found, moments, atol=9 * epsilon * size)


def test_a_translation_is_a_phase(atoms):
    x, w = atoms
    shift = np.array([3.1, -7.4, 12.9])
    factor = StructureFactor(list(GRIDS.values()), 1e-12)
    phase = np.exp(-1j * (factor.q @ shift))
    assert_allclose(factor.forward(x + shift, w), phase * factor.forward(x, w), atol=1e-9)


def test_a_crystal_larger_than_the_period_of_the_grid_is_right():
    # 2 pi / step is 66 Å here; the coordinates have to be folded, the phases not.
    patch = cubic_patch((1, 1, -1), 0.6, 20, 4.05)
    x = np.array([[0.0, 0.0, 0.0], [400.0, -350.0, 91.0], [-1234.5, 8.0, 33.0]])
    assert_allclose(
        StructureFactor([patch], 1e-12).forward(x), written_out(patch, x, np.ones(3)), atol=1e-9
    )


def test_no_atom_scatters_nothing_and_no_patch_is_empty(atoms):
    factor = StructureFactor([GRIDS["rotated"]])
    none = np.empty((0, 3))
    assert not factor.forward(none).any()
    assert factor.adjoint(np.ones(factor.size, complex), none).shape == (0,)
    assert factor.adjoint_moments(np.ones(factor.size, complex), none).shape == (0, 3)
    idle = StructureFactor([])  # a rank with no points
    assert idle.forward(atoms[0]).shape == (0,)
    assert idle.q.shape == (0, 3)
    assert not idle.adjoint_moments(np.empty(0, complex), atoms[0]).any()


def test_threads_change_nothing(atoms):
    x, w = atoms
    patches = [GRIDS["even cube"], GRIDS["sheared"]]
    one = StructureFactor(patches, 1e-12).forward(x, w)
    two = StructureFactor(patches, 1e-12, threads=2).forward(x, w)
    assert_allclose(two, one, atol=1e-11)


def test_transform_and_adjoint_have_the_amplitude_of_each_point(atoms, rng):
    """Against direct sums, and each other: <F w, v> = <w, F* v>, with moments and at x, 2 x."""
    x, w = atoms
    patches = [GRIDS["even cube"], GRIDS["sheared"]]
    own = rng.uniform(0.3, 1.8, sum(p.size for p in patches))
    factor = StructureFactor(patches, 1e-12, amplitude=own)
    omega = np.concatenate([written_out(p, x, w) for p in patches])
    assert_allclose(factor.forward(x, w), own * omega, atol=1e-9)
    assert_allclose(factor.with_accuracy(1e-10).forward(x, w), own * omega, atol=1e-7)
    assert_allclose(factor.of_one_atom, own**2)
    v = rng.normal(size=(factor.size, 2)) @ [1.0, 1j]
    assert_allclose(np.vdot(factor.forward(x, w), v), w @ factor.adjoint(v, x), rtol=1e-9)
    wave = np.exp(1j * x @ factor.q.T)
    assert_allclose(factor.adjoint(v, x), wave @ (own * v), rtol=1e-8)
    moments = np.stack([wave @ (own * v * factor.q[:, a]) for a in range(3)], axis=1)
    assert_allclose(factor.adjoint_moments(v, x), moments, rtol=1e-7, atol=1e-8)
