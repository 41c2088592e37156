"""Thermal diffuse scattering: what vibrating atoms scatter beside the mean structure factor.

To first order in the displacements a mode with displacements e_j and variance v adds

    v exp(-q^2 u) abs(sum_j (q.e_j) exp(-i q.x_j))^2                             (one phonon)

to abs(<Omega>)^2, u the mean square displacement along an axis (Willis & Pryor, Thermal Vibrations
in Crystallography, 1975). The few softest modes are those of the whole body. All stiffer ones are
taken as plane waves of the infinite crystal, cut out by the crystal's shape:

    sum_k  q.G(k).q abs(Omega(q - k))^2,   G(k) = sum_s e_s e_s' / stiffness_s,

a convolution on the grid of a patch. Both are smooth, without the noise of snapshots. Functions
here return them for k_B T = 1 eV and without the factor exp(-q^2 u).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import StructureFactor, squared

Floats = NDArray[np.float64]

_PAIRS = tuple((a, b) for a in range(3) for b in range(a, 3))  # derived: a symmetric matrix


@dataclass(frozen=True, eq=False)
class DiffuseScattering:
    """Diffuse scattering that was predicted of some atoms, the same on all ranks.

    Attributes
    ----------
    photons : (points,) ndarray
        Expected at all points of all patches, one after the other.
    trust : (points,) ndarray
        Variance of Poisson noise over that with the error of the prediction.
    displacement : float
        u, the mean square displacement along an axis of all atoms [Å^2].
    temperatures : (2,) ndarray
        That of the softest modes and that of all stiffer waves, as they were fitted [K].
    error : float
        Error of the prediction, relative to it.
    columns : (2, points) ndarray
        One-phonon scattering of modes and waves, without their temperatures [1/eV].
    positions : (n, 3) ndarray
        The atoms of which these were computed [Å].
    expansion : float
        Even strain of the crystal from rest to that temperature, by the potential.
    """

    photons: Floats
    trust: Floats
    displacement: float
    temperatures: Floats
    error: float
    columns: Floats
    positions: Floats
    expansion: float = 0.0

    def declared_in(self, data: Diffraction) -> Diffraction:
        """Return data with the photons declared as background, exp(-q^2 u) as gain."""
        damped = []
        for k, p in enumerate(data.patches):
            factor = np.exp(-self.displacement * np.sum(p.q() ** 2, axis=1)).reshape(p.shape)
            damped.append(data.gain[k] * factor if data.gain else factor)
        return replace(with_background(data, self.on(data.patches)), gain=damped)

    def on(self, patches: Sequence[BraggPatch]) -> list[Floats]:
        """Return the photons as one array with the patch's shape per patch."""
        parts = np.split(self.photons, np.cumsum([p.size for p in patches])[:-1])
        return [v.reshape(p.shape) for v, p in zip(parts, patches, strict=True)]


NO_DIFFUSE = DiffuseScattering(
    np.empty(0), np.empty(0), 0.0, np.zeros(2), 0.0, np.empty((2, 0)), np.empty((0, 3))
)  # derived: stands for none in files


def with_background(data: Diffraction, more: Sequence[Floats]) -> Diffraction:
    """Return data with more background declared, one array per patch; itself without any."""
    if not more:
        return data
    known = data.background or [np.zeros(1)] * len(more)
    return replace(data, background=[b + m for b, m in zip(known, more, strict=True)])


def scattered_by_modes(
    factor: StructureFactor, x: Floats, stiffness: Floats, vectors: Floats
) -> Floats:
    """Return the one-phonon scattering of some modes, (m,) [1/eV].

    Parameters
    ----------
    factor : StructureFactor
        Transform on the points.
    x : (n, 3) ndarray
        Positions [Å].
    stiffness : (k,) ndarray
        Of each mode [eV/Å^2].
    vectors : (k, n, 3) ndarray
        Displacements of the atoms in each mode, of norm 1.
    """
    total, q = np.zeros(factor.size), factor.q
    for value, vector in zip(stiffness, vectors, strict=True):
        wave = np.zeros(factor.size, dtype=complex)
        for axis in range(3):
            wave += q[:, axis] * factor.forward(x, np.ascontiguousarray(vector[:, axis]))
        total += squared(wave) / value
    return total


def spectrum_of_waves(
    patch: BraggPatch, cell: float, curvature: Callable[[Floats], Floats], softest: float
) -> NDArray[np.complex128]:
    """Return what :func:`scattered_by_waves` convolves with, the same for patches of equal steps.

    Parameters
    ----------
    patch : BraggPatch
        An affine grid.
    cell : float
        Volume of an atom in the crystal [Å^3].
    curvature : callable
        Curvature of the energy of waves, (m, 3) [1/Å] to (m, 3, 3) [eV/Å^2].
    softest : float
        Softer waves are left out [eV/Å^2].

    Returns
    -------
    (6, ...) complex ndarray
        Transforms of the elements of G, those of the upper triangle.
    """
    axes = [np.arange(1 - n, n) for n in patch.shape]
    index = np.array(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T
    half = len(index) // 2 + 1  # the others are -k, with the same curvature
    green = _inverse_above(curvature(index[:half] @ patch.step), softest)
    green = np.concatenate([green, green[-2::-1]])
    # As many waves in a voxel of the grid as it is a part of the Brillouin zone.
    green *= abs(np.linalg.det(patch.step)) * cell / (2.0 * np.pi) ** 3
    green = green.reshape(*(len(a) for a in axes), 3, 3)
    return np.array([rfftn(green[..., a, b], _grid(patch)) for a, b in _PAIRS])


def scattered_by_waves(
    patch: BraggPatch, coherent: Floats, spectrum: NDArray[np.complex128]
) -> Floats:
    """Return the one-phonon scattering of all waves stiffer than some, (size,) [1/eV].

    Parameters
    ----------
    patch : BraggPatch
        An affine grid that contains a Bragg peak.
    coherent : (size,) ndarray
        abs(Omega)^2 of atoms at rest on it.
    spectrum : (6, ...) complex ndarray
        See :func:`spectrum_of_waves`.
    """
    middle = tuple(slice(n - 1, 2 * n - 1) for n in patch.shape)
    grid, q, total = _grid(patch), patch.q(), np.zeros(patch.size)
    shape = rfftn(coherent.reshape(patch.shape), grid)
    for (a, b), one in zip(_PAIRS, spectrum, strict=True):
        pair = q[:, a] * q[:, b] * (1.0 if a == b else 2.0)
        total += pair * irfftn(shape * one, grid)[middle].ravel()
    return np.maximum(total, 0.0)


def _grid(patch: BraggPatch) -> tuple[int, ...]:
    """Return a size whose period spoils nothing in the middle of the convolution."""
    return tuple(next_fast_len(2 * n - 1, real=True) for n in patch.shape)


def _inverse_above(curvature: Floats, softest: float) -> Floats:
    """Return the inverse of symmetric matrices, (m, 3, 3), eigenvalues up to a limit left out."""
    values, vectors = np.linalg.eigh(curvature)
    inverse = np.where(values > softest, 1.0 / np.maximum(values, 1e-300), 0.0)
    return np.asarray((vectors * inverse[:, None, :]) @ vectors.transpose(0, 2, 1))
