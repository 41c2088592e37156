"""How much wider the Gaussians of the response are than declared, fitted to the counts.

Partial coherence and a point-spread function that nobody measured blur the intensity along the
axes of the grids. A Gaussian of variance w along an axis has the transfer function
exp(-2 pi^2 w u^2): the three variances w, the same for all patches, and C are found by Gauss-Newton
steps on counts and prior, with w >= 0. What adds in quadrature has a half-normal prior of the
declared uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.calibration import Calibration
from prammol.diffraction.dataset import Shard
from prammol.diffraction.structure_factor import squared
from prammol.likelihood.point_blocks import at_points
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.problem import Problem, responding

Floats = NDArray[np.float64]

_STEPS = 8  # chosen: Gauss-Newton is done after three to five; not varied
_HALVINGS = 4  # chosen: as for a rotation; not varied
_DONE = 1e-2  # derived: promised decrease of the misfit, far below the noise of a parameter, 0.5
_APART = 0.02  # derived: of the differences [steps^2]; the responses are good to 1e-4


def fitted_blur(problem: Problem, x: Floats) -> Calibration | None:
    """Return the calibration with the blur that the counts want beyond the declared response.

    Called together by all ranks. The one of the problem, the same object, where the response is
    known or nothing is to be gained.

    Parameters
    ----------
    problem : Problem
        On all points of the patches, with its calibration.
    x : (n, 3) ndarray
        Atoms [Å].
    """
    response, had = problem.data.response, problem.calibration
    if response is None or response.uncertainty == 0:
        return had
    nominal = had or Calibration.nominal(len(problem.data.patches))
    error = np.zeros(3)
    first = best = _Blurred.of(problem, problem.factor.forward(x), nominal.blur**2)
    for _ in range(_STEPS):
        step, promised, error = best.step()
        if promised < _DONE:
            break
        for halving in range(_HALVINGS):
            moved = best.moved(step / 2**halving)
            if moved.objective < best.objective:
                break
        else:
            break
        best = moved
    if best is first:
        return had
    widths = np.sqrt(best.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(widths > 0, 0.5 * error / widths, np.nan)
    return replace(nominal, blur=widths, blur_error=errors)


@dataclass(frozen=True)
class _Blurred:
    """What an object and variances (3,) [steps^2] beyond the declared ones cost."""

    problem: Problem
    omega: NDArray[np.complex128]
    variance: Floats
    shard: Shard
    misfit: PoissonMisfit
    scale: float
    objective: float

    @classmethod
    def of(cls, problem: Problem, omega: NDArray[np.complex128], variance: Floats) -> _Blurred:
        """Return it, with the prior."""
        shard = _seen_through(problem, variance)
        misfit = PoissonMisfit(shard, problem.factor)
        value, scale = misfit.value(omega)
        objective = value + float(variance.sum()) * _slope(problem)
        return cls(problem, omega, variance, shard, misfit, scale, objective)

    def moved(self, step: Floats) -> _Blurred:
        """Return that after a step, no variance below 0."""
        return self.of(self.problem, self.omega, np.maximum(self.variance + step, 0.0))

    def _system(self) -> tuple[Floats, Floats]:
        """Return Hessian and slope by the variances and C, (4, 4) and (4,)."""
        power, seen = squared(self.omega), self.shard.detected(self.omega)
        slopes = np.empty((3, len(power)))
        for axis in range(3):
            wider = self.variance.copy()
            wider[axis] += _APART
            slopes[axis] = _seen_through(self.problem, wider).detected(self.omega) - seen
        system, slope = self.misfit.normal_equations(seen, self.scale, at_points(slopes / _APART))
        comm = self.problem.comm
        system, slope = comm.allreduce(system), comm.allreduce(slope)
        slope[:3] += _slope(self.problem)
        return system, slope

    def step(self) -> tuple[Floats, float, Floats]:
        """Return the step of the variances, (3,), what it promises to gain, and their errors."""
        system, slope = self._system()
        free = np.append((self.variance > 0) | (slope[:3] < 0), True)
        change = np.zeros(4)
        part = system[np.ix_(free, free)]
        change[free] = -np.linalg.lstsq(part, slope[free], rcond=None)[0]
        errors = np.sqrt(np.diag(np.linalg.pinv(system, hermitian=True))[:3])
        return change[:3], -0.5 * float(change @ slope), errors


def _slope(problem: Problem) -> float:
    """Return the derivative of minus the logarithm of the prior by a variance."""
    response = problem.data.response
    assert response is not None
    return 0.5 / response.uncertainty**2


def _seen_through(problem: Problem, variance: Floats) -> Shard:
    """Return the same points with another blur beyond the declared response."""
    data = problem.data
    assert data.response is not None
    wider = replace(data, response=data.response.blurred(np.sqrt(variance)))
    made = responding(problem.shard, wider, problem.extent)
    return replace(problem.shard, response=made.response)
