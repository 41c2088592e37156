"""Atoms: positions, elements, per-atom columns and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError

ELEMENT = "element"  # column with the chemical symbols of atoms of several elements
# derived: physics
FARTHEST = 1e6  # Å, a tenth of a millimetre: no crystal of atoms is so large


# What the columns written by this package are in; units as NeXus writes them, "" for numbers.
COLUMN_UNITS = {
    "energy": "eV",
    "position_sigma": "angstrom",
    "position_sigma_data": "angstrom",
    "occupancy": "",
    "occupancy_confidence": "",
    "earlier_confidence": "",
    "element_confidence": "",
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
    """A free cluster.

    Parameters
    ----------
    positions : (n, 3) ndarray
        Positions [Å].
    element : str
        Chemical symbol; of several elements the lightest.
    columns : mapping of str to (n, ...) ndarray
        Further values of each atom, for example ``energy`` [eV]. Where there are several elements
        ``element`` holds the chemical symbol of each atom, (n,) of str.
    info : mapping
        What is known of the whole, for example ``potential`` or ``seed``.

    Raises
    ------
    InputError
        If the positions aren't (n, 3) finite numbers below 1e6, a column has another length, or
        the column ``element`` doesn't hold symbols of elements of which `element` is the lightest.
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
        if ELEMENT in self.columns:
            lightest, *_ = by_atomic_number(self.columns[ELEMENT])
            if lightest != self.element:
                msg = f"the lightest element of the atoms is {lightest}, not {self.element}"
                raise InputError(msg)

    @classmethod
    def of_elements(
        cls,
        positions: NDArray[np.float64],
        symbols: NDArray[np.str_],
        columns: Mapping[str, NDArray[Any]] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Atoms:
        """Return atoms with a chemical symbol each, (n,) of str; without that column if alike."""
        columns, elements = dict(columns or {}), by_atomic_number(symbols)
        if len(elements) > 1:
            columns[ELEMENT] = np.asarray(symbols, dtype=str)
        return cls(positions, elements[0], columns, info or {})

    @property
    def symbols(self) -> NDArray[np.str_]:
        """Chemical symbol of each atom, (n,)."""
        own = self.columns.get(ELEMENT)
        return np.full(len(self), self.element) if own is None else np.asarray(own, dtype=str)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        return by_atomic_number(self.columns.get(ELEMENT, (self.element,)))

    @property
    def kinds(self) -> NDArray[np.int_]:
        """Place of each atom's element in `elements`, (n,)."""
        order = {name: k for k, name in enumerate(self.elements)}
        return np.array([order[name] for name in self.symbols.tolist()], dtype=int)

    def __len__(self) -> int:
        return len(self.positions)


def by_atomic_number(symbols: Iterable[str]) -> tuple[str, ...]:
    """Return the different ones of some chemical symbols, the lightest first.

    Raises
    ------
    InputError
        If one isn't a chemical symbol, or there is none.
    """
    numbers = {}
    for symbol in sorted({str(symbol) for symbol in symbols}):
        numbers[symbol] = gemmi.Element(symbol).atomic_number
        if numbers[symbol] == 0 or gemmi.Element(symbol).name != symbol:
            msg = f"{symbol[:40]!r} isn't a chemical symbol, expected one such as Al"
            raise InputError(msg)
    if not numbers:
        msg = "there are no atoms, expected at least one of an element"
        raise InputError(msg)
    return tuple(sorted(numbers, key=numbers.__getitem__))
