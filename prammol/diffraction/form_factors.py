"""Atomic form factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError


def form_factor(element: str, q: float) -> float:
    """Return the number of electrons an atom scatters like; see :func:`form_factors`.

    Parameters
    ----------
    element : str
        Chemical symbol.
    q : float
        Length of the scattering vector [1/Å, with 2 pi].
    """
    return float(form_factors(element, np.array([q]))[0])


def form_factors(element: str, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers of electrons an atom scatters like, (m,).

    The four Gaussians of the International Tables for Crystallography, vol. C (1992),
    table 6.1.1.4, from gemmi; without anomalous dispersion.

    Parameters
    ----------
    element : str
        Chemical symbol.
    q : (m,) ndarray
        Lengths of scattering vectors [1/Å, with 2 pi].

    Raises
    ------
    InputError
        If the table doesn't have the element or doesn't reach so far.
    """
    import gemmi

    known = gemmi.Element(element)
    if known.name != element or known.atomic_number == 0 or known.it92 is None:
        msg = f"no form factor for {element!r}, expected a chemical symbol such as 'Al'"
        raise InputError(msg)
    s = q / (4 * np.pi)  # sin(theta) / wavelength
    if not ((s >= 0) & (s <= 2)).all():
        far = q[~((s >= 0) & (s <= 2))][0]
        msg = f"form factors are known up to |q| = {8 * np.pi:.0f} 1/Å, got {far}"
        raise InputError(msg)
    terms = zip(known.it92.a, known.it92.b, strict=True)
    total = np.full(s.shape, float(known.it92.c))
    for a, b in terms:
        total += a * np.exp(-b * s**2)
    return total
