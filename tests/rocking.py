"""Three rocking scans of a small crystal on a three-circle diffractometer, for tests.

The scattering vectors are worked out here from the angles, by rotation matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from prammol.diffraction.photon_flux import form_factor
from prammol.diffraction.structure_factor import direct_structure_factor

WAVELENGTH = 0.5  # Å
DISTANCE = 0.033  # m
PIXEL = 195e-6  # m
MOUNTED = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()  # q_sample = MOUNTED q_crystal
PEAKS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
SAMPLE_AXES = ("y-", "x+", "z-")  # eta, chi, phi
DETECTOR_AXES = ("z-", "y-")  # nu, delta
K = 2 * np.pi / WAVELENGTH


@dataclass
class Scan:
    """Angles [degrees] and counts of one scan, and the scattering vectors worked out here."""

    eta: np.ndarray
    chi: float
    phi: float
    nu: float
    delta: float
    centre: tuple[float, float]  # direct beam on the image
    q: np.ndarray
    counts: np.ndarray


def turned(axis: str, degrees: float) -> np.ndarray:
    vector = np.eye(3)["xyz".index(axis[0])] * (1 if axis[1] == "+" else -1)
    return Rotation.from_rotvec(np.radians(degrees) * vector).as_matrix()


def scattering_vectors(eta, chi, phi, nu, delta, centre, shape) -> np.ndarray:
    """(frames, n1, n2, 3): q of each pixel, turned back into the frame of the sample."""
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    pixel = np.array([DISTANCE, 0.0, 0.0])
    pixel = pixel + PIXEL * (i - centre[0])[..., None] * np.array([0, 0, -1.0])
    pixel = pixel + PIXEL * (j - centre[1])[..., None] * np.array([0, 1.0, 0])
    out = pixel @ (turned("z-", nu) @ turned("y-", delta)).T
    k_out = K * out / np.linalg.norm(out, axis=-1, keepdims=True)
    q = k_out - [K, 0, 0]
    still = turned("x+", chi) @ turned("z-", phi)
    return np.array([q @ (turned("y-", e) @ still) for e in eta])


def angles_of(peak: np.ndarray) -> tuple[float, float, float, float, float]:
    """eta, chi, phi, nu, delta that bring a vector of the sample's frame to the detector."""
    length = np.linalg.norm(peak)
    theta = np.degrees(np.arcsin(length / (2 * K)))
    # chi and phi bring it upright, eta tilts it by theta against the beam
    phi = np.degrees(np.arctan2(peak[1], peak[0])) - 90.0
    upright = turned("z-", phi) @ peak  # in the plane of y and z
    chi = brentq(lambda c: (turned("x+", c) @ upright)[1], *_bracket(upright))
    return theta, chi, phi, 0.0, 2 * theta


def _bracket(upright):
    middle = np.degrees(np.arctan2(upright[1], upright[2]))
    return middle - 60, middle + 60


def known_factors(q, centre, shape):
    """(frames, n1, n2): solid angle and aluminium's form factor, 1 at the direct beam and peak."""
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    square = (i - centre[0]) ** 2 + (j - centre[1]) ** 2
    solid = (1 + square * (PIXEL / DISTANCE) ** 2) ** -1.5
    f = np.array([form_factor("Al", g) for g in np.linalg.norm(q.reshape(-1, 3), axis=1)])
    peak = form_factor("Al", 2 * np.pi / 4.05 * 3**0.5)
    return solid * (f.reshape(q.shape[:3]) / peak) ** 2


def scans(
    x, scale, shape=(32, 30, 28), lattice_constant=4.05, background=0.0, seed=1, factors=False
):
    """Poisson counts of atoms at x (in the frame of the crystal) by direct summation."""
    rng = np.random.default_rng(seed)
    out = []
    for n, hkl in enumerate(PEAKS):
        peak = MOUNTED @ (2 * np.pi / lattice_constant * np.array(hkl))
        theta, chi, phi, nu, delta = angles_of(peak)
        step = np.degrees(K * PIXEL / DISTANCE / np.linalg.norm(peak))
        eta = theta + step * (np.arange(shape[0]) - (shape[0] - 1) / 2)
        centre = ((shape[1] - 1) / 2 + n, (shape[2] - 1) / 2 - n)
        q = scattering_vectors(eta, chi, phi, nu, delta, centre, shape[1:])
        omega = direct_structure_factor(q.reshape(-1, 3), x @ MOUNTED.T)
        mean = scale**2 * np.abs(omega) ** 2
        if factors:
            mean = mean * known_factors(q, centre, shape[1:]).ravel()
        mean = mean + background
        counts = rng.poisson(mean).reshape(shape)
        out.append(Scan(eta, chi, phi, nu, delta, centre, q, counts))
    return out
