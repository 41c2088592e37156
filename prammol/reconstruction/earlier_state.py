"""Another state of the same crystal: what is known before its counts are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.potentials.potential import Potential
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]

# derived: thermal expansion, alloying and wrong potentials are less, another lattice is more
_ALIKE = 0.06  # relative, of the distance of neighbours
SAME_SITE = 0.35  # chosen: as vacant_sites; not varied; an atom this far away is another's
_CLOSEST = 0.5  # derived: no two atoms are closer [neighbour distances]
_FEWEST = 20  # derived: fewer have no atom with all its neighbours
_ROUNDS = 3  # chosen: the pairs don't change after two; not varied


@dataclass(frozen=True, eq=False)
class EarlierState:
    """Atoms of an earlier state, and how sure each was.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Atoms [Å].
    confidence : (n,) ndarray
        Probability that each was there; 1 where nothing is known.
    element : str
        Chemical symbols, the lightest first, joined by commas.
    vacant : Atoms, optional
        Sites without an atom that may have held one, with ``occupancy_confidence``.
    only : bool
        Whether nothing may take its place: there is no support for the usual start.
    """

    positions: FloatArray
    confidence: FloatArray
    element: str
    vacant: Atoms | None = None
    only: bool = False

    @classmethod
    def of(cls, atoms: Atoms, vacant: Atoms | None = None) -> EarlierState:
        """Return the state of atoms and vacant sites.

        The column ``occupancy_confidence`` is used if there.
        """
        return cls(atoms.positions, sureness(atoms), ",".join(atoms.elements), vacant)

    def require_like(self, potential: Potential) -> None:
        """Check that it can be a state of a crystal of a potential.

        Raises
        ------
        InputError
            If it is of another element, or has too few atoms, two in one place, or others'
            distances.
        """
        if self.element != ",".join(potential.elements):
            msg = (
                f"the earlier state is made of {self.element}, expected "
                f"{', '.join(potential.elements)} as the potential"
            )
            raise InputError(msg)
        if potential.others:
            msg = "an earlier state is used for crystals of one element only; leave it out"
            raise InputError(msg)
        if len(self.positions) < _FEWEST:
            msg = f"the earlier state has {len(self.positions)} atoms, expected at least {_FEWEST}"
            raise InputError(msg)
        nearest = cKDTree(self.positions).query(self.positions, k=2)[0][:, 1]
        expected = potential.neighbour_distance
        if nearest.min() < _CLOSEST * expected:
            msg = (
                f"two atoms of the earlier state are {nearest.min():.2g} Å apart, expected more "
                f"than {_CLOSEST * expected:.2g} Å"
            )
            raise InputError(msg)
        if abs(np.median(nearest) / expected - 1.0) > _ALIKE:
            msg = (
                f"neighbours in the earlier state are {np.median(nearest):.3g} Å apart, expected "
                f"{expected:.3g} Å to within {_ALIKE:.0%}, as in the potential's {potential.name}"
            )
            raise InputError(msg)

    def at(self, positions: FloatArray) -> EarlierState:
        """Return the state with its atoms elsewhere, (n, 3) [Å], the vacant sites with them."""
        if self.vacant is None:
            return replace(self, positions=positions)
        vacant = _taken_along(self.positions, positions, self.vacant.positions)
        return replace(self, positions=positions, vacant=replace(self.vacant, positions=vacant))

    def laid_on(self, x: FloatArray, distance: float) -> EarlierState:
        """Return the state moved, turned and strained evenly onto atoms that are near.

        Parameters
        ----------
        x : (m, 3) ndarray
            Atoms now [Å].
        distance : float
            Nearest-neighbour distance [Å].
        """
        y, tree = self.positions, cKDTree(x)
        for _ in range(_ROUNDS):
            gap, partner = tree.query(y)
            pairs = gap < SAME_SITE * distance
            if pairs.sum() < _FEWEST:
                break
            y = _taken_along(y[pairs], x[partner[pairs]], y)
        return self.at(y)

    def presence(self, sites: FloatArray, distance: float) -> FloatArray:
        """Return the probability that each of some sites, (m, 3) [Å], held an atom, (m,)."""
        out = presence_at(sites, self.positions, self.confidence, distance)
        if self.vacant is not None and len(self.vacant):
            known = self.vacant.positions, sureness(self.vacant)
            out = np.maximum(out, presence_at(sites, *known, distance))
        return out


def presence_at(
    sites: FloatArray, known: FloatArray, probability: FloatArray, distance: float
) -> FloatArray:
    """Return the probability that sites hold an atom, (m,), 0 where none is known nearby.

    Parameters
    ----------
    sites : (m, 3) ndarray
        Asked for [Å].
    known : (n, 3) ndarray
        Sites of which it is known [Å].
    probability : (n,) ndarray
        That each of these holds an atom.
    distance : float
        Nearest-neighbour distance [Å].
    """
    gap, nearest = cKDTree(known).query(sites)
    return np.where(gap < SAME_SITE * distance, probability[nearest], 0.0)


def _taken_along(before: FloatArray, after: FloatArray, x: FloatArray) -> FloatArray:
    """Return where an affine map that takes points to others, by least squares, takes more, x."""
    arms, more = (np.column_stack([y, np.ones(len(y))]) for y in (before, x))
    return np.asarray(more @ np.linalg.lstsq(arms, after, rcond=None)[0])


def sureness(atoms: Atoms) -> FloatArray:
    """Return the probability that atoms are there, (n,), 1 where it isn't known."""
    known = np.asarray(atoms.columns.get("occupancy_confidence", np.ones(len(atoms))), dtype=float)
    return np.clip(np.nan_to_num(known, nan=1.0), 0.0, 1.0)
