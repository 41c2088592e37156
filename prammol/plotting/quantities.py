"""What atoms can be coloured by: values, words with units, and colours of each column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from prammol.plotting.style import EVEN, SIGNED
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]

_PERCENTILES = (1, 99)  # chosen: display, few atoms don't take the colours from all others
_FLAT = 1e-6  # chosen: display, least span of a colour bar
_LEAST_ERROR, _LEAST_SPAN = 0.01, 0.1  # chosen: display, below it errors are all nothing [pm]
_DECADE = 10.0  # chosen: display, errors that span more are drawn on a logarithmic scale
_DECADES = 1e3  # chosen: display, longest such scale


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number of each atom, and how it is drawn.

    Attributes
    ----------
    label : str
        With its unit in parentheses.
    values : (n,) ndarray
        NaN where unknown.
    norm : Normalize
    cmap : str
    """

    label: str
    values: FloatArray
    norm: Normalize
    cmap: str


def _length(values: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(values, axis=1))


def _volume(strain: FloatArray) -> FloatArray:
    return np.asarray(100 * strain[:, :3].sum(axis=1))


def _shear(strain: FloatArray) -> FloatArray:
    """Return the von Mises invariant (Shimizu et al. 2007), OVITO's atomic shear strain."""
    xx, yy, zz, xy, xz, yz = strain.T
    normal = (yy - zz) ** 2 + (xx - zz) ** 2 + (xx - yy) ** 2
    return np.asarray(100 * np.sqrt(yz**2 + xz**2 + xy**2 + normal / 6))


def _plain(values: FloatArray) -> FloatArray:
    return np.asarray(values, dtype=float)


# name -> column, label, what is shown of it, ends of the colours if they are fixed
_SHOWN: dict[str, tuple[str, str, Callable[[FloatArray], FloatArray], tuple[float, float] | None]]
_SHOWN = {
    "displacement": ("displacement", "displacement from the lattice (Å)", _length, None),
    "strain": ("strain", "volume strain (%)", _volume, None),
    "shear": ("strain", "shear strain (%)", _shear, None),
    "coordination": ("coordination", "neighbours", _plain, None),
    "error_bars": ("position_sigma", "error bar (Å)", _length, None),
    "occupancy": ("occupancy", "occupancy", _plain, (0, 1)),
    "confidence": ("occupancy_confidence", "confidence that it is there", _plain, (0, 1)),
    "energy": ("energy", "energy per atom (eV)", _plain, None),
    "motion": ("mean_square_displacement", "mean square displacement (Å²)", _plain, None),
    "centro_symmetry": ("centro_symmetry", "centro-symmetry (Å²)", _plain, None),
}
NAMES = tuple(_SHOWN)


def quantities(atoms: Atoms) -> dict[str, Quantity]:
    """Return what is known of each atom, by name, what matters most first."""
    out = {}
    for name, (column, label, shown, ends) in _SHOWN.items():
        if column in atoms.columns and len(atoms):
            values = shown(np.asarray(atoms.columns[column], dtype=float))
            known = values[np.isfinite(values)]
            if len(known):
                signed = name == "strain"
                norm = Normalize(*ends) if ends else _norm(known, signed, name == "coordination")
                out[name] = Quantity(label, values, norm, SIGNED if signed else EVEN)
    return out


def _norm(known: FloatArray, signed: bool, whole: bool) -> Normalize:
    if whole:
        return Normalize(float(known.min()), float(max(known.max(), known.min() + 1)))
    low, high = (float(v) for v in np.percentile(known, _PERCENTILES))
    if signed:
        high = max(-low, high, _FLAT)
        low = -high
    return Normalize(low, max(high, low + _FLAT))


def error_norm(errors: FloatArray) -> Normalize:
    """Return a scale for errors [pm], logarithmic if they span more than a decade."""
    if not len(errors):
        return Normalize(0, _LEAST_SPAN)
    # A few bad atoms must not take the colours from all others.
    low, high = (float(v) for v in np.percentile(errors, [_PERCENTILES[0], 99.5]))
    high = max(high, _LEAST_SPAN)
    low = max(low, high / _DECADES, _LEAST_ERROR)
    return LogNorm(low, high) if high > _DECADE * low else Normalize(0, high)
