"""Which atoms left, came and moved between two states of a crystal, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from prammol.evaluation.comparison import Comparison, compare
from prammol.reconstruction.earlier_state import EarlierState, presence_at, sureness
from prammol.reconstruction.refinement.rotation_strain import even_map, strain_of
from prammol.structure.atoms import Atoms

_SURE = 0.95  # derived: the usual level
_AXES = 3  # derived: geometry


@dataclass(frozen=True, eq=False)
class Changes:
    """What two states differ in, after the first was laid evenly on the second.

    Attributes
    ----------
    comparison : Comparison
        Of the first, moved, turned and strained as a whole, with the second.
    left, came : (k,) ndarray
        Probability that each removed atom was there and isn't now, and that each added one is
        there now.
    strain : float
        Even expansion between the states, a third of the trace.
    """

    comparison: Comparison
    left: NDArray[np.float64]
    came: NDArray[np.float64]
    strain: float

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        known = self.comparison.summary()
        return {
            "n_left": len(self.left),
            "n_left_sure": int((self.left > _SURE).sum()),
            "n_came": len(self.came),
            "n_came_sure": int((self.came > _SURE).sum()),
            "expected_left": float(self.left.sum()),
            "expected_came": float(self.came.sum()),
            "even_strain": self.strain,
            **{k: known[k] for k in ("n_moved", "n_moved_by_chance", "rms_distance_pm")},
        }

    def atoms(self) -> Atoms:
        """Return the atoms now, then those that left.

        Columns: ``change`` (``same``, ``moved``, ``came``, ``left``; ``paired`` without error
        bars), its ``confidence`` (of a move one minus its probability by chance), ``distance_pm``.
        """
        made, c = self.comparison.atoms(), self.comparison
        names = {"added": "came", "removed": "left"}
        change = np.array([names.get(name, name) for name in made.columns["change"]])
        confidence = np.full(len(change), np.nan)
        if c.chi_squared is not None:
            by_chance = chi2.sf(c.chi_squared, _AXES)
            moved = change[c.second_index] == "moved"
            confidence[c.second_index] = np.where(moved, 1.0 - by_chance, by_chance)
        confidence[c.added], confidence[len(c.second) :] = self.came, self.left
        columns = {"change": change, "confidence": confidence}
        columns["distance_pm"] = made.columns["distance_pm"]
        return Atoms.of_elements(made.positions, made.symbols, columns)


def changes_between(before: Atoms, after: Atoms, vacant: Atoms | None, distance: float) -> Changes:
    """Compare two states of a crystal that may have moved, turned and expanded as a whole.

    Parameters
    ----------
    before, after : Atoms
        Positions [Å]; ``position_sigma`` and ``occupancy_confidence`` if known.
    vacant : Atoms or None
        Vacant sites of the second with ``occupancy_confidence`` and ``earlier_confidence``.
    distance : float
        Nearest-neighbour distance [Å].

    Raises
    ------
    InputError
        As :func:`prammol.evaluation.comparison.compare`.
    """
    first = compare(before, after).registration
    here = first.apply(after.positions)
    laid = EarlierState.of(before).laid_on(here, distance).positions
    turned = Atoms(laid, before.element, before.columns, before.info)
    found = compare(turned, after)
    there, here_now = sureness(before)[found.removed], sureness(after)[found.added]
    still = np.zeros(len(found.removed))
    if vacant is not None and len(vacant):
        sites = found.registration.apply(vacant.positions)
        still = presence_at(laid[found.removed], sites, sureness(vacant), distance)
    linear = even_map(before.positions, laid)
    strain = 0.0 if linear is None else float(np.trace(strain_of(linear)) / _AXES)
    return Changes(found, there * (1.0 - still), here_now, strain)
