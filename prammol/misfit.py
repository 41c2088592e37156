"""Variance-stabilised misfit of the amplitudes: what the default preset minimises.

For Poisson counts sqrt(I + 3/8) has the variance 1/4 whatever the mean (Anscombe,
Biometrika 35, 246 (1948)), so

    J = 2 sum u (sqrt(I + 3/8) - sqrt(C^2 |Omega|^2 + b + 3/8))^2

with the background b and u = 1 is the Poisson log-likelihood up to a constant, near
its maximum. Unlike the likelihood it stays bounded where Omega is 0, and weights u <= 1
can widen the error bars while the model is still wrong: windows around the Bragg peaks
and a relative floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from prammol.diffraction import Shard
from prammol.scattering import StructureFactor

ANSCOMBE = 0.375


def peak_window(shard: Shard, peaks: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """Return exp(-(d blur)^2 / 2), d the distance of each point to its Bragg peak.

    Parameters
    ----------
    shard : Shard
        This rank's points.
    peaks : (p, 3) ndarray
        Bragg peak of each patch [1/Å].
    blur : float
        Width of the real-space Gaussian the window belongs to [Å].
    """
    if not shard.patches:
        return np.zeros(0)
    offset = np.concatenate([p.q() for p in shard.patches]) - peaks[shard.patch_index]
    return np.exp(-0.5 * blur**2 * np.sum(offset**2, axis=1))


def noise_level(
    intensity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of one point's share of J under pure Poisson noise.

    Both tend to 1/2 for many photons and to small values for few; they are
    interpolated in a table of exact sums over the Poisson distribution.
    """
    log_lam, mean, variance = _noise_table()
    where = np.log(np.clip(intensity, 1e-6, None))
    return np.interp(where, log_lam, mean), np.interp(where, log_lam, variance)


@cache
def _noise_table() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    log_lam = np.linspace(np.log(1e-6), np.log(400.0), 400)
    lam = np.exp(log_lam)[:, None]
    counts = np.arange(600)[None, :]
    share = 2.0 * (np.sqrt(counts + ANSCOMBE) - np.sqrt(lam + ANSCOMBE)) ** 2
    weight = poisson.pmf(counts, lam)
    mean = np.sum(weight * share, axis=1)
    variance = np.sum(weight * share**2, axis=1) - mean**2
    return log_lam, mean, variance


@dataclass(frozen=True)
class Misfit:
    """Value and gradients of the misfit.

    Attributes
    ----------
    value : float
        J.
    scale : float
        C, the one that minimises J.
    d_positions : (n, 3) ndarray or None
        dJ/dx [1/Å].
    d_weights : (n,) ndarray or None
        dJ/dw.
    """

    value: float
    scale: float
    d_positions: NDArray[np.float64] | None
    d_weights: NDArray[np.float64] | None


class AmplitudeMisfit:
    """The misfit on this rank's points; all ranks call it together.

    Parameters
    ----------
    shard : Shard
        Counts and mask.
    factor : StructureFactor
        Transform on the same points.
    window : (m,) ndarray, optional
        Weight of each point between 0 and 1.
    floor : float
        Relative error of the model's amplitude, added to the counting error:
        u = window / (1 + 4 floor^2 S^2 / I), S = I - b what isn't background.
    """

    def __init__(
        self,
        shard: Shard,
        factor: StructureFactor,
        window: NDArray[np.float64] | None = None,
        floor: float = 0.0,
    ) -> None:
        self._comm = shard.comm
        self._factor = factor
        self._measured = np.sqrt(shard.counts + ANSCOMBE)
        self._background = 0.0 if shard.background is None else shard.background
        self._offset = self._background + ANSCOMBE
        self._signal = shard.signal
        # S^2 / I, which is I itself without background
        self._power = shard.counts
        if shard.background is not None:
            self._power = self._signal**2 / np.maximum(shard.counts, 1.0)
        weight = shard.valid / (1.0 + 4.0 * floor**2 * self._power)
        self._weight = weight if window is None else weight * window
        self._valid = shard.valid.astype(float)

    def floor_for(self, omega: NDArray[np.complex128], scale: float) -> float:
        """Return the relative floor at which the model's error is just explained.

        The smallest floor, up to 0.5, with sum u (2 residual^2 - noise) <= 0: an
        estimate of how wrong the amplitudes still are.
        """
        mean, _ = noise_level(scale**2 * np.abs(omega).astype(float) ** 2 + self._background)
        square = 2.0 * (self.model(omega, scale) - self._measured) ** 2
        low, high = 0.0, 0.5
        for _ in range(12):
            floor = 0.5 * (low + high)
            u = self._valid / (1.0 + 4.0 * floor**2 * self._power)
            # The residual's variance is the noise over u: compare u * square with it.
            if self._comm.sum(float(self._valid @ (u * square - mean))) > 0:
                low = floor
            else:
                high = floor
        return high

    def cost_of_one(self, scale: float) -> float:
        """Return by about how much one missing atom raises J, C^2 sum u."""
        return scale**2 * self._comm.sum(float(self._weight.sum()))

    def excess(self, omega: NDArray[np.complex128], scale: float) -> tuple[float, float]:
        """Return by how much J exceeds what pure noise gives.

        Returns
        -------
        sigmas : float
            In standard deviations of the noise.
        atoms : float
            In single missing atoms, see `cost_of_one`.
        """
        power = np.abs(omega).astype(float) ** 2
        mean, variance = noise_level(scale**2 * power + self._background)
        residual = self.model(omega, scale) - self._measured
        u = self._weight
        sums = self._comm.allreduce(
            np.array([u @ (2.0 * residual**2 - mean), u**2 @ variance], dtype=float)
        )
        one = max(self.cost_of_one(scale), 1e-300)
        return float(sums[0] / np.sqrt(max(sums[1], 1e-300))), float(sums[0] / one)

    def scale(self, omega: NDArray[np.complex128], start: float | None = None) -> float:
        """Return the C that minimises J for a given structure factor."""
        power = np.abs(omega).astype(float) ** 2
        if start is None:
            pair = [self._weight @ self._signal, self._weight @ power]
            sums = self._comm.allreduce(np.array(pair))
            start = float(np.sqrt(sums[0] / max(sums[1], 1e-300)))
        c = start
        for _ in range(20):
            model = np.sqrt(c * c * power + self._offset)
            slope = c * power / model
            pair = [self._weight @ ((self._measured - model) * slope), self._weight @ slope**2]
            sums = self._comm.allreduce(np.array(pair))
            step = float(sums[0] / max(sums[1], 1e-300))
            c = max(c + step, 0.1 * c)
            if abs(step) < 1e-10 * c:
                break
        return c

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight u of each of this rank's points, (m,)."""
        return self._weight

    @property
    def measured(self) -> NDArray[np.float64]:
        """sqrt(I + 3/8) on this rank's points, (m,)."""
        return self._measured

    def model(self, omega: NDArray[np.complex128], scale: float) -> NDArray[np.float64]:
        """Return sqrt(C^2 abs(omega)^2 + b + 3/8) on this rank's points, (m,)."""
        return np.asarray(np.sqrt(scale**2 * np.abs(omega).astype(float) ** 2 + self._offset))

    def field(
        self, omega: NDArray[np.complex128], scale: float | None = None
    ) -> tuple[float, float, NDArray[np.complex128]]:
        """Return J, C and the field whose adjoint gives all gradients.

        dJ/dw_j = Re sum_q field exp(+i q.x_j), dJ/dx_j = -w_j Im sum_q q field exp(+i q.x_j).
        """
        c = self.scale(omega, scale)
        model = self.model(omega, c)
        residual = model - self._measured
        value = self._comm.sum(2.0 * float(self._weight @ residual**2))
        return value, c, (4.0 * c * c) * (self._weight * residual / model) * omega

    def newton_step(
        self,
        omega: NDArray[np.complex128],
        scale: float,
        derivatives: NDArray[np.complex128],
    ) -> tuple[NDArray[np.float64], float]:
        """Return the Gauss-Newton step of some parameters, C free, and what J would lose.

        Parameters
        ----------
        omega : (m,) complex ndarray
            Structure factor on this rank's points.
        scale : float
            C.
        derivatives : (k, m) complex ndarray
            Its derivatives by the parameters.

        Returns
        -------
        step : (k,) ndarray
        gain : float
        """
        model = self.model(omega, scale)
        slope = scale**2 * (omega.conj() * derivatives).real / model
        slope = np.vstack([slope, scale * np.abs(omega) ** 2 / model])
        system = self._comm.allreduce((slope * self._weight) @ slope.T)
        right = self._comm.allreduce((slope * self._weight) @ (model - self._measured))
        change = -np.linalg.lstsq(system, right, rcond=None)[0]
        return change[:-1], float(-2.0 * change @ right)

    def __call__(
        self,
        x: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
        *,
        positions: bool = False,
        occupancies: bool = False,
        scale: float | None = None,
    ) -> Misfit:
        """Evaluate J for atoms at x, (n, 3) [Å], with optional weights, (n,)."""
        value, c, field = self.field(self._factor.forward(x, weights), scale)
        d_x = d_w = None
        if positions:
            d_x = -self._factor.adjoint_moments(field, x).imag
            if weights is not None:
                d_x *= weights[:, None]
            d_x = self._comm.allreduce(d_x)
        if occupancies:
            d_w = self._comm.allreduce(self._factor.adjoint(field, x).real.copy())
        return Misfit(value, c, d_x, d_w)
