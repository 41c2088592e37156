"""Which sites hold an atom, as a whole: the best of many sets by flips and exchanges.

Near an object the misfit is a quadratic function of the occupancies,

    J(w + d) = J(w) + sum_i g_i d_i + 1/2 sum_ij H_ij d_i d_j,

g from the difference map, H_ij = 2 C^2 sum_q s cos(q.(x_i - x_j)) the overlap of the images of two
atoms (Gauss-Newton; the other half of the sum has random phases). The patches around a few Bragg
peaks don't resolve neighbouring sites, so flips must be weighed together: a flip changes g of its
neighbourhood, and pairs of flips are tried where single ones don't help. A prior of bonds
(:class:`~prammol.reconstruction.occupancy.bond_prior.BondPrior`) is of the same form.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import Potential
from prammol.reconstruction.occupancy.binary_quadratic import trusted_flips
from prammol.reconstruction.occupancy.bond_prior import BondPrior, fit_bonds, scale_free_bonds
from prammol.reconstruction.occupancy.overlaps import overlaps, pairwise
from prammol.reconstruction.problem import Problem
from prammol.structure.labels import Labels
from prammol.structure.separation import TOO_CLOSE

FORBIDDEN = 1e12  # derived: more than any change of the misfit
# chosen: 600 atoms at 1e18; same atoms from 2 to 8
_FAR = 4.0  # overlaps beyond are left out [neighbour distances]
# chosen: 600 atoms at 1e18; same atoms from 2 to 6
_FEWEST = 3  # neighbours of a site that may be taken
# derived: more than the 8 or 9 of an adatom's place in a step of fcc
_INSIDE = 0.75  # of all neighbours: a vacant site with more is a hole
# chosen: vacancy crystal, speed; 1e-4 against 1e-6, same atoms
OVERLAP_ACCURACY = 1e-4  # accuracy of the overlaps


@dataclass(frozen=True)
class Choice:
    """Which sites hold an atom.

    Attributes
    ----------
    taken : (n,) bool ndarray
    cost : (n,) ndarray
        What flipping each site alone would cost; infinite for those that weren't free.
    prior : BondPrior
        The prior that was used.
    value : float
        Misfit of the set.
    """

    taken: NDArray[np.bool_]
    cost: NDArray[np.float64]
    prior: BondPrior
    value: float


@dataclass(frozen=True)
class Expansion:
    """Misfit and prior of bonds as a quadratic function of the occupancies of free sites.

    Attributes
    ----------
    free : (m,) int ndarray
        Which sites are free.
    slope : (m,) ndarray
        Derivative by the occupancy of each.
    curvature : (m, m) sparse array
        Second derivatives.
    close : (m, m) sparse array
        Besides, for sites too close to each other to be both taken.
    prior : BondPrior
    value : float
        Misfit of the set itself.
    """

    free: NDArray[np.intp]
    slope: NDArray[np.float64]
    curvature: csr_matrix
    close: csr_matrix
    prior: BondPrior
    value: float

    def only(self, some: NDArray[np.intp]) -> Expansion:
        """Return that of some of the free sites, numbers of them."""
        curvature, close = (m[some][:, some] for m in (self.curvature, self.close))
        return replace(
            self, free=self.free[some], slope=self.slope[some], curvature=curvature, close=close
        )

    @property
    def every(self) -> csr_matrix:
        """All second derivatives."""
        return (self.curvature + self.close).tocsr()


class CandidateSites:
    """Sites that may hold an atom, and how the images of their atoms overlap.

    Parameters
    ----------
    misfit : PoissonMisfit
        Its transform is that of all fields here; all ranks call together.
    potential : Potential
        Its neighbour distance and bond reach are the units of length.
    positions : (n, 3) ndarray
        Where the sites are [Å].
    taken : (n,) bool ndarray
        Which of them hold an atom now: sets near this one will be asked about.
    bond_energy : float, optional
        Worth of a bond; learnt from the object if not given.
    """

    def __init__(
        self,
        misfit: PoissonMisfit,
        potential: Potential,
        positions: NDArray[np.float64],
        taken: NDArray[np.bool_],
        bond_energy: float | None = None,
    ) -> None:
        self.positions, self.taken, self.potential = positions, taken, potential
        self.misfit = misfit
        self.distance = potential.neighbour_distance
        self._bond = bond_energy
        self._odds = np.zeros(len(positions))
        omega = misfit.factor.forward(positions[taken])
        self._sharpness = misfit.sharpness(omega, misfit.scale(omega))
        self._visible = misfit.visibility_at(positions)
        self._known = np.zeros(len(positions), dtype=bool)
        self._overlaps = csr_matrix((0, 0))
        self._close = pairwise(positions, TOO_CLOSE * self.distance)
        self._bonds = pairwise(positions, potential.bond_reach)

    @classmethod
    def around(
        cls,
        misfit: PoissonMisfit,
        potential: Potential,
        atoms: NDArray[np.float64],
        candidates: NDArray[np.float64],
        bond_energy: float | None = None,
    ) -> CandidateSites:
        """Return the sites of atoms, (n, 3) [Å], which come first, and candidates, (m, 3) [Å]."""
        positions = np.concatenate([atoms, candidates])
        taken = np.arange(len(positions)) < len(atoms)
        return cls(misfit, potential, positions, taken, bond_energy)

    @classmethod
    def beside(
        cls,
        problem: Problem,
        misfit: PoissonMisfit,
        atoms: NDArray[np.float64],
        bond_energy: float | None = None,
    ) -> CandidateSites:
        """Return atoms, (n, 3) [Å], and the vacant sites of the lattice beside them, relaxed."""
        vacant = relaxed_vacant_sites(problem, atoms)
        return cls.around(misfit, problem.potential, atoms, vacant, bond_energy)

    def changes(self, taken: NDArray[np.bool_]) -> tuple[int, int]:
        """Return how many atoms another set, (n,) bool, adds and removes."""
        return int((taken & ~self.taken).sum()), int((self.taken & ~taken).sum())

    def with_bond(self, bond: float) -> CandidateSites:
        """Return the same sites with another worth of a bond."""
        other = self._copy()
        other._bond = bond
        return other

    def with_odds(self, odds: NDArray[np.float64]) -> CandidateSites:
        """Return the same sites with log-odds, (n,), that each is taken, besides its bonds."""
        other = self._copy()
        other._odds = odds
        return other

    def labelled(self, labels: Labels) -> CandidateSites:
        """Return the same sites with other elements."""
        other = self._copy()
        other.misfit = copy(self.misfit)
        other.misfit.factor = self.misfit.factor.labelled(labels)
        other._visible = other.misfit.visibility_at(self.positions)
        return other

    def _copy(self) -> CandidateSites:
        other = copy(self)
        other._known = self._known.copy()
        return other

    # derived: half an atom
    def choose(self, taken: NDArray[np.bool_], passes: int = 1, depth: float = 0.5) -> Choice:
        """Return the best set of sites near a given one, by misfit and prior of bonds.

        The surface of the object and the vacant sites beside it are free, and sites at which
        the difference map is stronger than `depth` whole atoms.

        Parameters
        ----------
        taken : (n,) bool ndarray
            Where to start.
        passes : int
            How often the misfit is expanded anew; fewer if nothing changes.
        depth : float
        """
        most = len(taken)
        for _ in range(passes):
            near = self.expand(taken, depth)
            before = near.value + self.energy(taken, near.prior)
            found = trusted_flips(
                taken[near.free], near.slope, near.every, self._cost(taken, near), before, most
            )
            flips = found.flips
            cost = np.full(len(taken), np.inf)
            cost[near.free] = _of_moves(flips.cost, flips.taken, near.curvature, near.close)
            if not found.better:
                value = near.value
                break
            (taken, value), most = found.result, found.most
        return Choice(taken, cost, near.prior, value)

    def _cost(
        self, taken: NDArray[np.bool_], near: Expansion
    ) -> Callable[[NDArray[np.bool_]], tuple[float, tuple[NDArray[np.bool_], float]]]:
        """Return what costs a set with other free sites, and tells that set and its misfit."""

        def cost(free: NDArray[np.bool_]) -> tuple[float, tuple[NDArray[np.bool_], float]]:
            new = taken.copy()
            new[near.free] = free
            value = self.misfit(self.positions[new]).value if new.any() else np.inf
            return value + self.energy(new, near.prior), (new, value)

        return cost

    # derived: half an atom
    def expand(self, taken: NDArray[np.bool_], depth: float = 0.5) -> Expansion:
        """Return misfit and prior of bonds near a set of sites as a quadratic function.

        Parameters
        ----------
        taken : (n,) bool ndarray
        depth : float
            As for :meth:`choose`.
        """
        difference = difference_map(self.misfit, self.positions[taken])
        map_ = difference(self.positions)
        bonds = self.without_data(taken, np.abs(map_ / self._visible) > depth)
        free = bonds.free
        return replace(
            bonds,
            slope=bonds.slope + map_[free] * difference.height,
            curvature=self._curvature(free, difference.height, bonds.curvature),
            value=difference.value,
        )

    def _curvature(self, free: NDArray[np.intp], height: float, of_bonds: csr_matrix) -> csr_matrix:
        """Return the overlaps of some sites times a height, and what bonds have besides, (m, m)."""
        own = self.alike(free)
        if not isinstance(self._visible, float):
            seen = diags_array(np.sqrt(self._visible[free]).astype(np.float32))
            own = csr_matrix(seen @ own @ seen)
        own.data *= np.float32(height)
        return (own + of_bonds.astype(np.float32)).tocsr()

    def without_data(
        self, taken: NDArray[np.bool_], besides: NDArray[np.bool_] | None = None
    ) -> Expansion:
        """Return the prior of bonds alone near a set of sites.

        Parameters
        ----------
        taken : (n,) bool ndarray
        besides : (n,) bool ndarray, optional
            Sites that are free besides the surface and the vacant sites beside it, if they
            touch the set.
        """
        number = self._bonds @ taken
        surface, beside = self._at_surface(taken, number)
        if self._bond is None:
            prior = fit_bonds(number[surface], number[beside])
        else:
            prior = scale_free_bonds(number[taken], self._bond)
        wanted = surface | beside
        if besides is not None:
            wanted |= besides & (taken | (number > 0))
        free = np.flatnonzero(wanted)
        close = self._close[free][:, free] * FORBIDDEN
        half = prior.half_at(int(taken.sum()))
        slope = prior.strength * (half - number[free])
        if self._bond is None:
            slope = np.maximum(slope, -prior.surest(int(taken.sum())))
        slope += close @ taken[free] - self._odds[free]
        curvature = -prior.strength * self._bonds[free][:, free]
        return Expansion(free, slope, curvature.tocsr(), close, prior, 0.0)

    def bonds_of(self, taken: NDArray[np.bool_], near: Expansion) -> Expansion:
        """Return the prior of bonds alone near a set, of the sites free in another expansion."""
        return self.without_data(taken, np.isin(np.arange(len(taken)), near.free))

    def without_holes(self, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a set with the vacant sites that have most of their neighbours filled."""
        while True:
            inside = ~taken & (self._close @ taken == 0)
            inside &= self._bonds @ taken >= _INSIDE * self.potential.lattice.bonds[0]
            if not inside.any():
                return taken
            taken = taken | inside

    def smoothness(self, taken: NDArray[np.bool_]) -> float:
        """Return the worth of a bond that a set's own surface tells, see :func:`fit_bonds`."""
        number = self._bonds @ taken
        surface, beside = self._at_surface(taken, number)
        return fit_bonds(number[surface], number[beside]).strength

    @staticmethod
    def _at_surface(
        taken: NDArray[np.bool_], number: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell which sites are atoms of the surface, and which vacant ones lie beside it."""
        return taken & (number < np.median(number[taken])), ~taken & (number >= _FEWEST)

    def alike(self, free: NDArray[np.intp]) -> csr_matrix:
        """Return the overlaps of atoms of weight 1 on some sites, (m, m)."""
        if not self._known[free].all():
            # At a surface a third of all is enough; who asks for others will ask for many.
            self._known[free if not self._known.any() else slice(None)] = True
            sites = self.positions[self._known]
            rough = self.misfit.factor.of_elements[0].with_accuracy(OVERLAP_ACCURACY)
            far = _FAR * self.distance
            self._overlaps = overlaps(rough, self._sharpness, sites, far, self.misfit.comm)
        place = np.cumsum(self._known) - 1
        chosen = place[free]
        whole = np.array_equal(chosen, np.arange(len(place)))
        return self._overlaps.copy() if whole else self._overlaps[chosen][:, chosen]

    def energy(self, taken: NDArray[np.bool_], prior: BondPrior) -> float:
        """Return minus the logarithm of the prior of a set, up to a constant."""
        number = self._bonds @ taken
        atoms = int(taken.sum())
        energy = prior.of(atoms, 0.5 * float(taken @ number)) - float(self._odds[taken].sum())
        if self._bond is not None:
            return energy
        vacant = ~taken & (self._close @ taken == 0)
        return energy - prior.overcharged(number[vacant], atoms)


def relaxed_vacant_sites(problem: Problem, atoms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vacant lattice sites beside atoms, (n, 3) [Å], each relaxed by itself, (m, 3)."""
    potential = problem.potential
    vacant = potential.vacant_sites(atoms)
    relaxed, _ = problem.cluster.relax_adatoms(atoms, vacant)
    return relaxed


def _of_moves(
    cost: NDArray[np.float64],
    taken: NDArray[np.bool_],
    curvature: csr_matrix,
    close: csr_matrix,
) -> NDArray[np.float64]:
    """Return what flips cost if an atom that is added takes the place of those too close to it."""
    i, k = close[:, taken].nonzero()
    k = np.flatnonzero(taken)[k]
    new = ~taken[i]
    i, k = i[new], k[new]
    out = cost.copy()
    overlap = np.asarray(curvature[i, k]).ravel() if len(i) else np.empty(0)
    np.add.at(out, i, cost[k] - overlap - FORBIDDEN)
    return out
