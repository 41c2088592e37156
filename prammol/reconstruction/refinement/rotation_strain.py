"""Rotation and strain of the whole object: what no energy determines, the data do.

By their derivatives, :mod:`prammol.likelihood.linear_maps`.
"""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from prammol.likelihood.linear_maps import map_derivatives, moments_of
from prammol.likelihood.quasi_likelihood import PoissonMisfit

# Antisymmetric A turn the object, symmetric ones strain it.
ROTATIONS = np.zeros((3, 3, 3))
for _k in range(3):
    ROTATIONS[_k, (_k + 2) % 3, (_k + 1) % 3] = 1.0
    ROTATIONS[_k, (_k + 1) % 3, (_k + 2) % 3] = -1.0
LINEAR_MAPS = np.eye(9).reshape(9, 3, 3)

# A map with six more parameters lowers J by 3 on average if there is no strain.
# chosen: ten times what noise gives; same atoms from 15 to 60 (600 atoms at 1e18)
_SIGNIFICANT = 30.0
# While atoms are missing any map gains a little; one that doesn't explain this part of the
# misfit beyond noise would only take the atoms off the minimum of the energy.
# chosen: vacancy crystal, 1e20; without it 67 instead of 46 s; same atoms from 0.025 to 0.1 (600
# atoms at 1e18)
_WORTHWHILE = 0.05
_LARGEST_STRAIN = 0.1  # derived: physics, no crystal bears a tenth
# derived: double precision
_SMALLEST_STRAIN = 1e-12  # less is rounding
_DONE = 1e-3  # derived: far below a log-likelihood ratio that counts
_TURNS = 3  # chosen: 600 atoms at 1e18; same atoms from 2 to 6
_HALVINGS = 4  # chosen: 600 atoms at 1e18; same atoms from 2 to 8


def align_strained(
    misfit: PoissonMisfit,
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    steps: int = 6,  # chosen: not varied
) -> tuple[NDArray[np.float64], float]:
    """Turn an object about its centre and, where the data insist, strain it evenly.

    Gauss-Newton on the three angles, or all nine elements of the map, and the scale; a step that
    doesn't lower the misfit isn't taken. A warm crystal is larger than the minimum of its energy,
    and so is one whose potential has another lattice constant.

    Parameters
    ----------
    misfit : PoissonMisfit
    x : (n, 3) ndarray
        Positions at a minimum of the energy [Å].
    data : (n, 3) ndarray
        Where the data had put the same atoms before [Å]: the even part of the
        difference is tried first.
    steps : int
        Largest number of steps.

    Returns
    -------
    positions : (n, 3) ndarray
        Positions [Å]; strained only if that lowers the misfit by more than noise would.
    value : float
        Misfit there.
    """
    start = _align(misfit, Pose(misfit, x), ROTATIONS, _TURNS)
    turned, value = start.x, start.value
    even = even_map(x, data)
    if even is None:
        return turned, value
    least = least_gain_of_strain(start.beyond_noise)
    if is_plausible(even):
        arm = x - x.mean(axis=0)
        start.forget()
        start = min(start, Pose(misfit, x.mean(axis=0) + arm @ even), key=lambda p: p.value)
    strained = _align(misfit, start, LINEAR_MAPS, steps, least)
    if strained.value >= value - least:
        return turned, value
    # Taken: to its end, or what is left would be outside of the error bars.
    strained = _align(misfit, strained, LINEAR_MAPS, steps)
    return strained.x, strained.value


def even_map(x: NDArray[np.float64], data: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the linear map that takes positions nearest to others, (3, 3); None if undetermined.

    Parameters
    ----------
    x, data : (n, 3) ndarray
        The same atoms in two places [Å].
    """
    arm = x - x.mean(axis=0)
    if np.linalg.matrix_rank(arm) < arm.shape[1]:
        return None
    return np.asarray(np.linalg.lstsq(arm, data - data.mean(axis=0), rcond=None)[0])


def rotation_of(even: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of a map of rows as by :func:`even_map`, (3, 3), that turns."""
    u, _, vt = np.linalg.svd(even)
    return np.asarray(u @ vt)


def strain_of(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a linear map x -> M x, (3, 3), does besides turning: symmetric, (3, 3)."""
    axes, stretched, _ = np.linalg.svd(linear)
    return np.asarray((axes * (stretched - 1.0)) @ axes.T)


def is_plausible(even: NDArray[np.float64]) -> bool:
    """Tell whether a map, (3, 3), strains a crystal by more than rounding and less than a tenth."""
    strain = np.abs(np.linalg.svd(even, compute_uv=False) - 1.0).max()
    return bool(_SMALLEST_STRAIN < strain < _LARGEST_STRAIN)


def least_gain_of_strain(over: float) -> float:
    """Return by how much strain must lower a misfit to be taken, from what it has beyond noise."""
    return max(_SIGNIFICANT, _WORTHWHILE * over)


class Pose:
    """An object at its best scale: what it costs, and how that changes with linear maps."""

    def __init__(
        self,
        misfit: PoissonMisfit,
        x: NDArray[np.float64],
        scale: float | None = None,
    ) -> None:
        self.x, self._factor, self._misfit = x, misfit.factor, misfit
        self.value, self.scale = misfit.value(self.omega, scale)

    @cached_property
    def omega(self) -> NDArray[np.complex128]:
        """Structure factor, (points,)."""
        return self._factor.forward(self.x)

    def forget(self) -> None:
        """Drop what is as large as the points; it is computed again if it is asked for."""
        self.__dict__.pop("omega", None)
        self.__dict__.pop("moments", None)

    @property
    def power(self) -> NDArray[np.float64]:
        """What the detector sees of abs(Omega)^2, (points,)."""
        return self._misfit.detected(self.omega)

    @property
    def beyond_noise(self) -> float:
        """Part of the misfit that noise doesn't explain."""
        return self._misfit.beyond_noise(self.omega, self.scale)

    @cached_property
    def moments(self) -> NDArray[np.float32]:
        """Im(conj(Omega) M_b), (3, points)."""
        return moments_of(self.x, self._misfit.whole(self.omega), self._factor)

    def derivatives(self, generators: NDArray[np.float64], points: slice) -> NDArray[np.float64]:
        """Return those of abs(Omega)^2 by the coefficient of each generator, (k, p)."""
        q, moments = self._factor.q_of(points), self.moments[:, points]
        return map_derivatives(q, moments, generators)


def _align(
    misfit: PoissonMisfit,
    pose: Pose,
    generators: NDArray[np.float64],
    steps: int,
    least: float = _DONE,
) -> Pose:
    """Gauss-Newton on the coefficients of the generators, (k, 3, 3), and the scale.

    It ends when a step promises to lower the misfit by less than `least`.
    """
    for _ in range(steps):
        centre = pose.x.mean(axis=0)
        derivatives = partial(pose.derivatives, generators)
        change, gain = misfit.newton_step(pose.omega, pose.scale, derivatives)
        if gain < least:
            break
        pose.forget()  # of two poses at most one is held
        for halving in range(_HALVINGS):
            turn = expm(np.tensordot(change / 2**halving, generators, axes=1))
            moved = Pose(misfit, centre + (pose.x - centre) @ turn.T, pose.scale)
            if moved.value < pose.value:
                break
        else:
            break
        pose = moved
    return pose
