"""Atoms of one element: positions, per-atom columns and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError

# derived: physics
FARTHEST = 1e6  # Å, a tenth of a millimetre: no crystal of atoms is so large


# What the columns written by this package are in; units as NeXus writes them, "" for numbers.
COLUMN_UNITS = {
    "energy": "eV",
    "position_sigma": "angstrom",
    "position_sigma_data": "angstrom",
    "occupancy": "",
    "occupancy_confidence": "",
    "mean_square_displacement": "angstrom^2",
    "displacement": "angstrom",
    "strain": "",
    "coordination": "",
    "centro_symmetry": "angstrom^2",
    "structure_type": "",
    "error_pm": "pm",
}


@dataclass(frozen=True, eq=False)
class Atoms:
    """A free cluster of one element.

    Parameters
    ----------
    positions : (n, 3) ndarray
        Positions [Å].
    element : str
        Chemical symbol.
    columns : mapping of str to (n, ...) ndarray
        Further values of each atom, for example ``energy`` [eV].
    info : mapping
        What is known of the whole, for example ``potential`` or ``seed``.

    Raises
    ------
    InputError
        If the positions aren't (n, 3) finite numbers below 1e6 or a column has another length.
    """

    positions: NDArray[np.float64]
    element: str
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x = np.array(self.positions, dtype=float)
        if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
            msg = f"positions must be finite numbers of shape (n, 3), got shape {x.shape}"
            raise InputError(msg)
        object.__setattr__(self, "positions", x)
        if (np.abs(x) > FARTHEST).any():
            msg = f"positions go up to {np.abs(x).max():.3g} Å, expected at most {FARTHEST:.0e} Å"
            raise InputError(msg)
        for name, values in self.columns.items():
            if len(values) != len(x):
                msg = f"column {name!r} has {len(values)} values for {len(x)} atoms"
                raise InputError(msg)

    def __len__(self) -> int:
        return len(self.positions)
