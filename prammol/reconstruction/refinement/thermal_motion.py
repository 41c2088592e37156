"""Mean square displacements of the atoms, fitted to the counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.point_blocks import at_points
from prammol.likelihood.quasi_likelihood import PoissonMisfit

# derived: physics
_LARGEST = 1.0  # Å^2, beyond any solid
_NEGLIGIBLE = 0.01  # derived: far below a log-likelihood ratio that counts


def fit_displacements(
    misfit: PoissonMisfit,
    x: NDArray[np.float64],
    classes: NDArray[np.intp],
    start: NDArray[np.float64] | None = None,
    occupancies: NDArray[np.float64] | None = None,
    steps: int = 5,  # chosen: not varied
) -> NDArray[np.float64]:
    """Fit the mean square displacement of each class, by Gauss-Newton with the scale.

    Parameters
    ----------
    misfit : PoissonMisfit
        The misfit of the points that are fitted; its transform is that of atoms at rest.
    x : (n, 3) ndarray
        Positions [Å].
    classes : (n,) int ndarray
        Class of each atom, 0 the bulk.
    start : (k,) ndarray, optional
        Displacements to start from; 0 if not given.
    occupancies : (n,) ndarray, optional
        Occupancy of each atom; 1 if not given.
    steps : int
        Largest number of steps.

    Returns
    -------
    (k,) ndarray
        Mean square displacement of each class along one axis [Å^2].
    """
    factor, number = misfit.factor, int(classes.max()) + 1
    weights = np.ones(len(x)) if occupancies is None else occupancies
    parts = np.array([factor.forward(x, weights * (classes == k)) for k in range(number)])
    square = np.sum(factor.q**2, axis=1)
    displacements = np.zeros(number) if start is None else np.array(start, dtype=float)

    def terms(u: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Contribution of each class."""
        return np.asarray(parts * np.exp(-0.5 * np.outer(u, square)))

    one_by_one = terms(displacements)
    omega = one_by_one.sum(axis=0)
    value, scale = misfit.value(omega)
    for _ in range(steps):
        whole = misfit.whole(omega).conj()
        slopes = at_points(-square * (whole * one_by_one).real)
        change, gain = misfit.newton_step(omega, scale, slopes)
        if gain < _NEGLIGIBLE:
            break
        tried = np.clip(displacements + change, 0.0, _LARGEST)
        new_terms = terms(tried)
        omega_new = new_terms.sum(axis=0)
        new, scale_new = misfit.value(omega_new, scale)
        if new >= value:
            break
        displacements, one_by_one, omega = tried, new_terms, omega_new
        value, scale = new, scale_new
    return displacements
