"""Diffuse scattering: against double sums over pairs of atoms."""

from __future__ import annotations

import numpy as np
from small_crystal import fcc_ball

from prammol.diffraction.bragg_patch import cubic_patch
from prammol.diffraction.diffuse_scattering import (
    scattered_by_modes,
    scattered_by_waves,
    spectrum_of_waves,
)
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor

A = 4.05


def pair_sum(q, x, covariance):
    """sum_ij q.<u_i u_j>.q exp(-i q.(x_i - x_j)), the first order of <abs(F)^2> - abs(<F>)^2."""
    out = []
    for here in q:
        wave = np.exp(-1j * x @ here)
        pairs = np.einsum("a,iajb,b->ij", here, covariance, here)
        out.append((wave @ pairs @ wave.conj()).real)
    return np.array(out)


def test_modes_scatter_like_their_correlations(rng):
    x = fcc_ball(6.0)
    vectors = np.linalg.qr(rng.normal(size=(x.size, 5)))[0].T.reshape(5, -1, 3)
    stiffness = np.array([0.1, 0.2, 0.5, 1.0, 3.0])
    covariance = np.einsum("k,kia,kjb->iajb", 1 / stiffness, vectors, vectors)
    patches = [cubic_patch((1, 1, 1), 0.5, 4, A), cubic_patch((-1, 1, 1), 0.5, 4, A)]
    factor = StructureFactor(patches, 1e-9)
    found = scattered_by_modes(factor, x, stiffness, vectors)
    np.testing.assert_allclose(found, pair_sum(factor.q, x, covariance), rtol=1e-6)


def test_waves_scatter_like_the_correlations_of_an_infinite_crystal():
    neighbours = (
        A
        / 2
        * np.array(
            [(0, s, t) for s in (-1, 1) for t in (-1, 1)]
            + [(s, 0, t) for s in (-1, 1) for t in (-1, 1)]
            + [(s, t, 0) for s in (-1, 1) for t in (-1, 1)]
        )
    )

    def curvature(k):
        """Springs between neighbours, along and across, and a weak one to each site."""
        n = neighbours / np.linalg.norm(neighbours[0])
        tensor = 0.3 * np.eye(3) + np.einsum("ra,rb->rab", n, n)
        wave = np.einsum("kr,rab->kab", 1 - np.cos(k @ neighbours.T), tensor)
        return wave + 0.8 * np.eye(3)

    # Correlations between sites: the mean over a mesh of the Brillouin zone.
    basis = 2 * np.pi / A * np.array([(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
    mesh = np.array(np.meshgrid(*[(np.arange(12) + 0.5) / 12] * 3)).reshape(3, -1).T @ basis
    green = np.linalg.inv(curvature(mesh))
    x = fcc_ball(9.0)
    gap = (x[:, None] - x[None]).reshape(-1, 3)
    unique, back = np.unique(np.rint(gap / A * 2).astype(int), axis=0, return_inverse=True)
    wave = np.cos(unique @ mesh.T * A / 2) / len(mesh)
    between = np.tensordot(wave, green, axes=1)[back.ravel()].reshape(len(x), len(x), 3, 3)
    patch = cubic_patch((1, 1, 1), 0.5, 20, A)
    coherent = np.abs(direct_structure_factor(patch.q(), x)) ** 2
    found = scattered_by_waves(patch, coherent, spectrum_of_waves(patch, A**3 / 4, curvature, 0.0))
    some = np.arange(0, patch.size, 397)
    exact = pair_sum(patch.q()[some], x, between.transpose(0, 2, 1, 3))
    # The patch cuts the tails of the shape's transform.
    assert np.abs(found[some] - exact).sum() < 0.1 * exact.sum()
    assert np.corrcoef(found[some], exact)[0, 1] > 0.95
    # All waves below the limit are left out.
    assert not spectrum_of_waves(patch, A**3 / 4, curvature, 100.0).any()
