"""Compare two reconstructions: which atoms are the same, moved, added or removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from prammol.core.errors import InputError
from prammol.evaluation.metrics import PM_PER_ANGSTROM
from prammol.evaluation.registration import Registration, register
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int_]

# derived: the usual level, of 95 % intervals
LEVEL = 0.05
_AXES = 3  # derived: geometry


@dataclass(frozen=True, eq=False)
class Comparison:
    """How a second reconstruction differs from a first, after registration.

    Attributes
    ----------
    first, second : Atoms
        The second in the frame of the first.
    registration : Registration
        The translation and inversion that did that.
    first_index, second_index : (k,) int ndarray
        The pairs, within half the nearest-neighbour distance.
    added, removed : int ndarray
        Atoms of the second alone, of the first alone.
    distance_pm : (k,) ndarray
        Distances of the pairs [pm].
    chi_squared : (k,) ndarray or None
        Squares of the distances over their variances, summed over the three axes; None without
        the column ``position_sigma`` in both.
    rotation_degrees : float
        Rotation that would bring the pairs closest; it isn't applied. NaN with fewer than three.
    """

    first: Atoms
    second: Atoms
    registration: Registration
    first_index: IntArray
    second_index: IntArray
    added: IntArray
    removed: IntArray
    distance_pm: FloatArray
    chi_squared: FloatArray | None
    rotation_degrees: float

    @property
    def moved(self) -> NDArray[np.bool_] | None:
        """Pairs beyond the error bars, their common 95 % region; None if these aren't known."""
        if self.chi_squared is None:
            return None
        return np.asarray(self.chi_squared > chi2.isf(LEVEL, _AXES))

    @property
    def element_changed(self) -> int | None:
        """Pairs of atoms of different elements; None if there is one element."""
        if len({*self.first.elements, *self.second.elements}) == 1:
            return None
        one, other = self.first.symbols[self.first_index], self.second.symbols[self.second_index]
        return int((one != other).sum())

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain values, None for what isn't known."""
        moved, pairs = self.moved, len(self.distance_pm)
        known = moved is not None and pairs > 0
        assert self.chi_squared is not None or not known
        some = self.distance_pm if pairs else None
        return {
            "n_first": len(self.first),
            "n_second": len(self.second),
            "n_same": int((~moved).sum()) if moved is not None else None,
            "n_moved": int(moved.sum()) if moved is not None else None,
            "n_element_changed": self.element_changed,
            "n_moved_by_chance": LEVEL * pairs if moved is not None else None,
            "n_added": len(self.added),
            "n_added_beyond": _certain(self.second, self.added),
            "n_removed": len(self.removed),
            "n_removed_beyond": _certain(self.first, self.removed),
            "mean_distance_pm": None if some is None else float(some.mean()),
            "rms_distance_pm": None if some is None else float(np.sqrt((some**2).mean())),
            "max_distance_pm": None if some is None else float(some.max()),
            "reduced_chi_squared": (
                float(np.mean(self.chi_squared)) / _AXES
                if known and self.chi_squared is not None
                else None
            ),
            "translation_angstrom": self.registration.translation.tolist(),
            "inverted": self.registration.inverted,
            "rotation_degrees": (
                None if np.isnan(self.rotation_degrees) else self.rotation_degrees
            ),
        }

    def atoms(self) -> Atoms:
        """Return all atoms, in the frame of the first.

        Those of the second, then the removed ones, with columns ``change`` (``same``, ``moved``,
        ``added``, ``removed``; ``paired`` without error bars) and ``distance_pm``.
        """
        change = np.full(len(self.second) + len(self.removed), "removed")
        distance = np.full(len(change), np.nan)
        moved = self.moved
        paired = np.where(moved, "moved", "same") if moved is not None else "paired"
        change[self.second_index] = paired
        change[self.added] = "added"
        distance[self.second_index] = self.distance_pm
        x = np.concatenate([self.second.positions, self.first.positions[self.removed]])
        symbols = np.concatenate([self.second.symbols, self.first.symbols[self.removed]])
        return Atoms.of_elements(x, symbols, {"change": change, "distance_pm": distance})


def compare(first: Atoms, second: Atoms) -> Comparison:
    """Lay one reconstruction over another and pair the atoms.

    Parameters
    ----------
    first, second : Atoms
        Positions [Å]; ``position_sigma``, (n, 3) [Å], and ``occupancy_confidence`` if known.

    Raises
    ------
    InputError
        If they have no element in common or the first has fewer than two atoms.
    """
    if not set(first.elements) & set(second.elements):
        of = [", ".join(atoms.elements) for atoms in (first, second)]
        msg = f"the first is made of {of[0]}, the second of {of[1]}"
        raise InputError(msg)
    registration = register(second.positions, first.positions)
    x, y = registration.apply(second.positions), first.positions
    partner = registration.partner
    b = np.flatnonzero(partner >= 0)
    a = partner[b]
    difference = x[b] - y[a]
    return Comparison(
        first=first,
        second=Atoms(x, second.element, second.columns, second.info),
        registration=registration,
        first_index=a,
        second_index=b,
        added=np.flatnonzero(partner < 0),
        removed=np.setdiff1d(np.arange(len(y)), a),
        distance_pm=PM_PER_ANGSTROM * np.linalg.norm(difference, axis=1),
        chi_squared=_chi_squared(difference, first, a, second, b),
        rotation_degrees=_rotation(x[b], y[a]),
    )


def _chi_squared(
    difference: FloatArray, first: Atoms, a: IntArray, second: Atoms, b: IntArray
) -> FloatArray | None:
    sigmas = [atoms.columns.get("position_sigma") for atoms in (first, second)]
    if any(s is None or np.shape(s)[1:] != (_AXES,) for s in sigmas):
        return None
    variance = np.asarray(sigmas[0])[a] ** 2 + np.asarray(sigmas[1])[b] ** 2
    return np.asarray((difference**2 / np.maximum(variance, 1e-30)).sum(axis=1))


def _certain(atoms: Atoms, chosen: IntArray) -> int | None:
    """Count the atoms whose confidence leaves no doubt at the level; None if it isn't known."""
    confidence = atoms.columns.get("occupancy_confidence")
    return None if confidence is None else int((confidence[chosen] > 1 - LEVEL).sum())


def _rotation(x: FloatArray, y: FloatArray) -> float:
    if len(x) < _AXES:
        return float("nan")
    turn, _ = Rotation.align_vectors(y - y.mean(axis=0), x - x.mean(axis=0))
    return float(np.degrees(turn.magnitude()))
