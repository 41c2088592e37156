"""Occupancies: the relaxed form of the question which atoms exist.

Every site gets a weight between 0 and 1; at fixed positions the misfit is
minimised over the weights by bounded L-BFGS (Byrd et al., SIAM J. Sci. Comput. 16,
1190 (1995)). A weight above 1/2 is an atom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from prammol.likelihood.quasi_likelihood import PoissonMisfit


def fit_occupancies(
    misfit: PoissonMisfit,
    sites: NDArray[np.float64],
    start: NDArray[np.float64],
    free: NDArray[np.bool_],
    iterations: int = 30,  # chosen: every caller but tests gives its own; see there
    tolerance: float = 1e-5,  # chosen: not varied
    price: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the weights in [0, 1] that minimise the misfit at fixed positions.

    Parameters
    ----------
    misfit : PoissonMisfit
        The misfit; all ranks call this together.
    sites : (n, 3) ndarray
        Positions [Å].
    start : (n,) ndarray
        Weights to start from.
    free : (n,) bool ndarray
        Weights that may change.
    iterations : int
        Largest number of L-BFGS iterations.
    tolerance : float
        Stop when an iteration lowers the misfit by less than this fraction.
    price : (n,) ndarray, optional
        What is added to the misfit for a weight of 1 at each site; 0 if not given.

    Returns
    -------
    (n,) ndarray
    """
    weights = np.array(start, dtype=float)
    if not free.any():
        return weights
    costs = np.zeros(len(sites)) if price is None else price
    objective = _OfOccupancies(misfit, sites, weights, free, costs)
    found = minimize(
        objective,
        weights[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(free.sum()),
        options={"maxiter": iterations, "maxcor": 20, "ftol": tolerance},
    )
    weights[free] = found.x
    return weights


class _OfOccupancies:
    """The misfit in units of its first value, and its slope by the free weights.

    The scale found last is where the next one is sought.
    """

    def __init__(
        self,
        misfit: PoissonMisfit,
        sites: NDArray[np.float64],
        weights: NDArray[np.float64],
        free: NDArray[np.bool_],
        price: NDArray[np.float64],
    ) -> None:
        self._misfit, self._sites, self._free = misfit, sites, free
        self._weights, self._price = weights.copy(), price
        self._unit = misfit(sites, weights).value or 1.0
        self._scale: float | None = None

    def __call__(self, values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self._weights[self._free] = values
        result = self._misfit(self._sites, self._weights, occupancies=True, scale=self._scale)
        self._scale = result.scale
        assert result.d_weights is not None
        value = result.value + float(self._price @ self._weights)
        slope = result.d_weights + self._price
        return value / self._unit, slope[self._free] / self._unit
