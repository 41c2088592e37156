"""Counts of a small crystal with one effect of an experiment that the program isn't told of."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from small_crystal import relaxed_ball

from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.photon_flux import form_factor
from prammol.diffraction.structure_factor import StructureFactor

A = 4.05
RLU = 2 * np.pi / A
HKL = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
POINTS = 26
CONSTANT = {"element": "Al", "form_factor": "constant"}  # f(G), as the formulas here have it
SCALE = 4.0  # photons of one atom in one point: 16
Floats = NDArray[np.float64]


def atoms() -> Floats:
    return relaxed_ball(10.0)


@cache
def patches() -> list[BraggPatch]:
    return [cubic_patch(h, 0.6, POINTS, A) for h in HKL]


def intensity(at: list[BraggPatch] | None = None, x: Floats | None = None) -> list[Floats]:
    """Return C^2 abs(Omega)^2 of each patch."""
    at = at or patches()
    omega = StructureFactor(at, 1e-9).forward(atoms() if x is None else x)
    parts = np.split(omega, np.cumsum([p.size for p in at])[:-1])
    return [SCALE**2 * np.abs(o.reshape(p.shape)) ** 2 for o, p in zip(parts, at, strict=True)]


def per_point(of_q: Floats) -> list[Floats]:
    """Return values of all points, patch by patch."""
    return [v.reshape((POINTS,) * 3) for v in np.split(of_q, 3)]


def lengths() -> Floats:
    return np.concatenate([np.linalg.norm(p.q(), axis=1) for p in patches()])


def ideal() -> list[Floats]:
    return intensity()


def scale() -> list[Floats]:
    return [f * v for f, v in zip((1.0, 1.1, 1.0), intensity(), strict=True)]


def offset() -> list[Floats]:
    moved = list(patches())
    moved[1] = moved[1].moved(np.eye(3), 0.02 * RLU * np.array([0.6, -0.64, 0.48]))
    return intensity(moved)


def rotation() -> list[Floats]:
    turn = Rotation.from_rotvec(np.radians([0.5, 0.1, -0.4])).as_matrix()
    moved = list(patches())
    moved[2] = moved[2].moved(turn, np.zeros(3))
    return intensity(moved)


def background() -> list[Floats]:
    return [v + b for v, b in zip(intensity(), (0.0, 3.0, 0.0), strict=True)]


def blur() -> list[Floats]:
    pad = 4
    big = [
        BraggPatch(p.origin - pad * p.step.sum(axis=0), p.step, tuple(n + 2 * pad for n in p.shape))
        for p in patches()
    ]
    cut = (slice(pad, -pad),) * 3
    return [ndimage.gaussian_filter(v, 0.4)[cut] for v in intensity(big)]


def strain() -> list[Floats]:
    x = atoms()
    even = np.eye(3) + 1e-3 * np.array([[1.0, 0.5, 0.0], [0.5, -0.5, 0.2], [0.0, 0.2, 0.3]])
    return intensity(x=x.mean(axis=0) + (x - x.mean(axis=0)) @ even)


def thermal() -> list[Floats]:
    damping = np.exp(-0.02 * lengths() ** 2)
    return [v * d for v, d in zip(intensity(), per_point(damping), strict=True)]


def diffuse() -> list[Floats]:
    u = 0.02
    more = SCALE**2 * len(atoms()) * (1.0 - np.exp(-u * lengths() ** 2))
    return [v + d for v, d in zip(intensity(), per_point(more), strict=True)]


def form() -> list[Floats]:
    at = np.linspace(lengths().min(), lengths().max(), 200)
    f = np.interp(lengths(), at, [form_factor("Al", q) for q in at]) / form_factor("Al", 2.69)
    return [v * d for v, d in zip(intensity(), per_point(f**2), strict=True)]


def measured(lam: list[Floats], seed: int = 1, **known: object) -> Diffraction:
    """Draw counts; the geometry is said to be known exactly."""
    rng = np.random.default_rng([seed, 7])
    counts = [rng.poisson(v).astype(float) for v in lam]
    return Diffraction(
        patches(), counts, meta=CONSTANT, geometry=GeometryUncertainty.none(), **known
    )


def saturated(seed: int = 1) -> Diffraction:
    data = measured(ideal(), seed)
    top = 0.1 * max(c.max() for c in data.counts)
    return measured(ideal(), seed).__class__(
        data.patches,
        [np.minimum(c, np.rint(top)) for c in data.counts],
        meta=data.meta,
        geometry=data.geometry,
    )


def zingers(seed: int = 1) -> Diffraction:
    data, rng = measured(ideal(), seed), np.random.default_rng(seed)
    for c in data.counts:
        hit = rng.random(c.shape) < 0.005
        c[hit] += np.rint(rng.exponential(1000.0, hit.sum())).astype(c.dtype)
    return data
