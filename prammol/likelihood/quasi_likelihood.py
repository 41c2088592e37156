"""Misfit of the counts: the Poisson log-likelihood with a few photons added to both sides.

With lambda = C^2 R abs(Omega)^2 + b, R the response of the detector (the identity if there is
none), background b, and e photons added to data and model,

    J = sum u [lambda - I + (I + e) ln((I + e) / (lambda + e))]

is half the Poisson deviance for e = 0. Its derivative by lambda, u (lambda - I) / (lambda + e),
has the mean 0 for any e: a quasi-likelihood (Wedderburn, Biometrika 61, 439 (1974)),
without bias however few the photons, bounded where Omega is 0, and with a small e nearly as
sharp as the likelihood. Weights u <= 1 widen the error bars while the model is still wrong:
windows around the Bragg peaks and a relative floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.deviance import deviance, noise_level
from prammol.likelihood.extra_photons import extra_photons
from prammol.likelihood.point_blocks import Derivatives, at_points, blocks

# Upwards: with few photons the sum isn't monotonic, and a large floor gives them away.
_CLEAR = 3.0  # derived: three standard deviations, same atoms from 1.5 to 6 (600 atoms at 1e18)
# chosen: 800 atoms at 100 and 300 K, as much as predictions differ; not varied
_ERROR_OF_ERROR = 0.1  # relative, of the variance of a predicted background
# derived: Newton's error squares, 1e-12 is left
_CLOSE = 1e-6  # last step of Newton for C^2; what is left is about its square
# chosen: steps of a factor 1.45 up to half the amplitude; not varied
_FLOORS = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 24)])


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


class PoissonMisfit:
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
    incoherent : float
        C^2 n, what n atoms scatter into a point without regard to phases [photons]. As many
        photons times floor^2 are added to data and model besides
        :func:`extra_photons`: where Omega is
        small, its error is that of the atoms that are wrong.
    """

    def __init__(
        self,
        shard: Shard,
        factor: StructureFactor,
        window: NDArray[np.float64] | None = None,
        floor: float = 0.0,
        incoherent: float = 0.0,
    ) -> None:
        self._least = extra_photons(shard)
        self._extra, self.floor = self._least + floor**2 * incoherent, floor
        self.comm = shard.comm
        self.factor = factor
        self._counts = shard.counts
        self._background_at = shard.background_at
        self._background = shard.background_at(slice(None))
        self._signal = shard.signal
        self._response, self.detected = shard.response, shard.detected
        self._shard = shard  # its visibility is computed when asked for
        self.whole = shard.whole
        # With it the residual's variance is what noise alone gives.
        self._alone = (
            shard.valid
            if floor == 0.0
            else shard.valid / (1.0 + 4.0 * floor**2 * self._power(slice(None)))
        )
        if window is not None:
            self._alone = self._alone * window
        self._weight = self._alone if shard.trust is None else self._alone * shard.trust

    def _power(self, points: slice) -> NDArray[np.float64]:
        """Return S^2 / I of some points, less two standard deviations.

        A weight that went with the noise of few photons would bias the fit.
        """
        counts = self._counts[points]
        power = np.maximum(counts - 2.0 * np.sqrt(counts), 0.0)
        if self._shard.background is not None:
            power *= (self._signal[points] / np.maximum(counts, 1.0)) ** 2
        return power

    def floor_for(
        self, omega: NDArray[np.complex128], scale: float, incoherent: float = 0.0
    ) -> float:
        """Return the relative floor at which the model's error is just explained.

        The smallest floor, up to 0.5, at which sum u (share of J) exceeds its mean under noise
        by less than three standard deviations: an estimate of how wrong the amplitudes still
        are; 0 where the data don't tell.
        """
        power = self.detected(omega)
        # One after the other: mostly none is needed, or a few.
        for floor in _FLOORS:
            extra, sums = self._least + floor**2 * incoherent, np.zeros(2)
            for part in blocks(len(power)):
                expected = scale**2 * power[part] + self._background_at(part)
                noise, variance = noise_level(expected, self._least)
                u = self._valid_at(part) / (1.0 + 4.0 * floor**2 * self._power(part))
                # The residual's variance is the noise over u: compare u * share with it.
                share = u * deviance(self._counts[part], expected, extra)
                less = (expected + self._least) / (expected + extra)
                valid = self._shard.valid[part]
                sums += [valid @ (share - noise * less), valid @ (variance * less**2)]
            over, square = self.comm.allreduce(sums)
            if over <= _CLEAR * np.sqrt(square):
                break
        return float(floor)

    def _valid_at(self, points: slice) -> NDArray[np.float64] | NDArray[np.bool_]:
        """Return 1 or the trust where points are valid, 0 elsewhere."""
        valid, trust = self._shard.valid[points], self._shard.trust
        return valid if trust is None else valid * trust[points]

    def cost_of_one_atom(self, omega: NDArray[np.complex128], scale: float) -> float:
        """Return by about how much one missing atom raises J.

        C^2 sum u where the photons are the crystal's own, less where others rule.
        """
        return scale**2 * self.comm.sum(
            float(np.sum(self.sharpness(omega, scale) * self.factor.of_one_atom))
        )

    def sharpness(self, omega: NDArray[np.complex128], scale: float) -> NDArray[np.float64]:
        """Return u C^2 abs(Omega)^2 / (lambda + e) on this rank's points, (m,).

        The curvature of J by the weight of an atom anywhere is about 2 C^2 times its sum, weighted
        with what one atom scatters into each point. A response leaves a part of its interference.
        """
        signal = scale**2 * self.detected(omega)
        weight = self._weight * self._shard.visibility
        return np.asarray(weight * signal / (signal + self._background + self._extra))

    def visibility_at(self, x: NDArray[np.float64]) -> NDArray[np.float64] | float:
        """Return how visible atoms at x, (n, 3) [Å], are against the mean, (n,); 1.0 if alike."""
        seen = 1.0 if self._response is None else self._response.visibility_at(x)
        return seen if self.factor.scatterers is None else self.factor.weights_of(x) ** 2 * seen

    def excess(
        self, omega: NDArray[np.complex128], scale: float, fitted: float = 0.0
    ) -> tuple[float, float, float]:
        """Return by how much J exceeds what pure noise gives, C and `fitted` parameters fitted.

        Returns
        -------
        sigmas : float
            In standard deviations of the noise.
        atoms : float
            In single missing atoms, see `cost_of_one_atom`.
        sigma : float
            One standard deviation in single missing atoms.
        """
        power, own = self.detected(omega), np.zeros(3)
        for part in blocks(len(power)):
            expected = scale**2 * power[part] + self._background_at(part)
            mean, variance = noise_level(expected, self._least)
            share = deviance(self._counts[part], expected, self._extra)
            u, weight = self._alone[part].astype(float), self._weight[part]
            absorbed = (u - weight) @ mean  # what a predicted background's error explains
            own += [weight @ share - u @ mean, u**2 @ variance, absorbed]
        sums = self.comm.allreduce(own)
        one = max(self.cost_of_one_atom(omega, scale), 1e-300)
        sigma = float(np.hypot(np.sqrt(max(sums[1], 1e-300)), _ERROR_OF_ERROR * sums[2]))
        over = float(sums[0]) + 0.5 * fitted
        return over / sigma, over / one, sigma / one

    def beyond_noise(self, omega: NDArray[np.complex128], scale: float) -> float:
        """Return what of J is beyond three standard deviations of noise, at least 0."""
        sigmas, _, sigma = self.excess(omega, scale)
        one = self.cost_of_one_atom(omega, scale)
        return max(0.0, (sigmas - _CLEAR) * sigma * one)

    def scale(self, omega: NDArray[np.complex128], start: float | None = None) -> float:
        """Return the C that minimises J for a given structure factor."""
        return self._scale_of(self.detected(omega), start)

    def _scale_of(self, power: NDArray[np.float64], start: float | None) -> float:
        if start is None:
            pair = [self._weight @ self._signal, self._weight @ power]
            sums = self.comm.allreduce(np.array(pair))
            start = float(np.sqrt(sums[0] / max(sums[1], 1e-300)))
        c2 = start**2
        for _ in range(30):
            # Newton in C^2, in which lambda is linear and J convex.
            sums = np.zeros(2)
            for part in blocks(len(power)):
                expected = c2 * power[part]
                expected += self._background_at(part) + self._extra
                ratio = self._counts[part] + self._extra
                ratio /= expected
                weighted = self._weight[part] * power[part]
                sums[0] += weighted.sum()
                ratio *= weighted  # its sum is that of u I'/lambda' dlambda/dC^2
                sums[0] -= ratio.sum()
                ratio /= expected
                sums[1] += ratio @ power[part]
            first, second = self.comm.allreduce(sums)
            step = -float(first / max(second, 1e-300))
            c2 = max(c2 + step, 0.1 * c2)
            if abs(step) < _CLOSE * c2:
                break
        return float(np.sqrt(c2))

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight u of each of this rank's points, (m,)."""
        return np.asarray(self._weight, dtype=float)

    def expected(self, omega: NDArray[np.complex128], scale: float) -> NDArray[np.float64]:
        """Return lambda = C^2 R abs(Omega)^2 + b on this rank's points, (m,)."""
        return np.asarray(scale**2 * self.detected(omega) + self._background)

    def field(
        self, omega: NDArray[np.complex128], scale: float | None = None
    ) -> tuple[float, float, NDArray[np.complex128]]:
        """Return J, C and the field whose adjoint gives all gradients.

        dJ/dw_j = Re sum_q field exp(+i q.x_j), dJ/dx_j = -w_j Im sum_q q field exp(+i q.x_j).
        """
        power = self.detected(omega)
        c = self._scale_of(power, scale)
        field = self.whole(omega).astype(complex)
        slopes = np.empty(0 if self._response is None else len(omega))
        for part in blocks(len(omega)):
            slope = c * c * power[part]
            slope += self._background_at(part)
            expected = slope + self._extra
            slope -= self._counts[part]
            slope *= 2.0 * c * c * self._weight[part]
            slope /= expected
            if self._response is None:
                field[part] *= slope
            else:
                slopes[part] = slope
        if self._response is not None:
            field *= self._response.adjoint(slopes)
        return self._value(power, c), c, field

    def value(
        self, omega: NDArray[np.complex128], scale: float | None = None
    ) -> tuple[float, float]:
        """Return J and C, which is found from `scale` on if that is given."""
        power = self.detected(omega)
        c = self._scale_of(power, scale)
        return self._value(power, c), c

    def _value(self, power: NDArray[np.float64], c: float) -> float:
        value = 0.0
        for part in blocks(len(power)):
            expected = c * c * power[part]
            expected += self._background_at(part)
            share = deviance(self._counts[part], expected, self._extra)
            value += float(self._weight[part] @ share)
        return self.comm.sum(value)

    def newton_step(
        self,
        omega: NDArray[np.complex128],
        scale: float,
        derivatives: Derivatives,
    ) -> tuple[NDArray[np.float64], float]:
        """Return the Gauss-Newton step of some parameters, C free, and what J would lose.

        Parameters
        ----------
        omega : (m,) complex ndarray
            Structure factor on this rank's points.
        scale : float
            C.
        derivatives : callable
            Returns derivatives of abs(Omega)^2 by the parameters, (k, p), on some points.

        Returns
        -------
        step : (k,) ndarray
        gain : float
        """
        seen = self.seen(derivatives)
        system, right = self.normal_equations(self.detected(omega), scale, seen)
        system, right = self.comm.allreduce(system), self.comm.allreduce(right)
        change = -np.asarray(np.linalg.lstsq(system, right, rcond=None)[0], dtype=float)
        return change[:-1], float(-0.5 * change @ right)

    def seen(self, derivatives: Derivatives) -> Derivatives:
        """Return what the detector sees of derivatives of abs(Omega)^2."""
        if self._response is None:
            return derivatives
        return at_points(self._response.apply(derivatives(slice(None))))

    def normal_equations(
        self,
        power: NDArray[np.float64],
        scale: float,
        derivatives: Derivatives,
        points: slice = slice(None),
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Hessian, (k + 1, k + 1), and slope, (k + 1,), of J by Gauss-Newton, C the last.

        Sums over some of this rank's points, not yet over the ranks.

        Parameters
        ----------
        power : (m,) ndarray
            R abs(Omega)^2 on this rank's points.
        scale : float
            C.
        derivatives : callable
            Returns its derivatives by the parameters, (k, p), on some points.
        points : slice
            Those that count.
        """
        first, stop, _ = points.indices(len(power))
        number = len(derivatives(slice(first, first))) + 1
        system, right = np.zeros((number, number)), np.zeros(number)
        for block in blocks(stop - first):
            part = slice(first + block.start, first + block.stop)
            seen = power[part]
            expected = scale**2 * seen + self._background_at(part)
            slope = np.vstack([scale**2 * derivatives(part), 2.0 * scale * seen])
            weighted = slope * (self._weight[part] / (expected + self._extra))
            system += weighted @ slope.T
            right += weighted @ (expected - self._counts[part])
        return system, right

    def preference(
        self, old: NDArray[np.complex128], new: NDArray[np.complex128]
    ) -> tuple[float, float]:
        """Return by how much J is lower for a new structure factor, and the noise of that.

        For points that had no part in either: the difference is linear in the counts.
        """
        (before, c_old), (after, c_new) = self.value(old), self.value(new)
        old_counts, new_counts = self.expected(old, c_old), self.expected(new, c_new)
        ratio = np.log((new_counts + self._extra) / (old_counts + self._extra))
        square = self._weight * self._alone
        variance = self.comm.sum(float(square @ (new_counts * ratio**2)))
        return before - after, float(np.sqrt(variance))

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
        omega = self.factor.forward(x, weights)
        if not (positions or occupancies):
            return Misfit(*self.value(omega, scale), None, None)
        value, c, field = self.field(omega, scale)
        del omega
        d_x = d_w = None
        if positions:
            d_x = -self.factor.adjoint_moments(field, x).imag
            if weights is not None:
                d_x *= weights[:, None]
            d_x = self.comm.allreduce(d_x)
        if occupancies:
            d_w = self.comm.allreduce(self.factor.adjoint(field, x).real.copy())
        return Misfit(value, c, d_x, d_w)
