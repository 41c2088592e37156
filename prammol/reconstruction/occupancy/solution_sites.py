"""Which sites of a solid solution hold an atom, and of which element: both at once.

A site is vacant, or has an atom of one of the elements. Near an object the misfit is
quadratic in what flips change, atoms taken out or put in and elements swapped, so the best set of
both is found as that of flips alone is (:mod:`prammol.reconstruction.occupancy.candidate_sites`).
Atoms of the wrong element would pass for atoms that are missing or too many if flips came first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, coo_array, csr_array, diags_array

from prammol.reconstruction.occupancy.binary_quadratic import trusted_flips
from prammol.reconstruction.occupancy.candidate_sites import (
    FORBIDDEN,
    CandidateSites,
    Expansion,
)
from prammol.reconstruction.occupancy.element_swaps import Swaps, charge_of_odd, swaps_of
from prammol.structure.labels import Labels


@dataclass(frozen=True)
class SolutionChoice:
    """Which sites hold an atom, and which element.

    Attributes
    ----------
    taken : (n,) bool ndarray
    labels : Labels
    value : float
        Misfit of the set.
    """

    taken: NDArray[np.bool_]
    labels: Labels
    value: float


def choose_solution(
    sites: CandidateSites,
    taken: NDArray[np.bool_],
    labels: Labels,
    passes: int = 1,
    free: bool = True,
) -> SolutionChoice:
    """Return the best set of sites and elements near a given one.

    By misfit, prior of bonds and the odds of an atom that the perfect crystal hasn't there, learnt
    from how many there are. The same sites are free as for
    :meth:`~prammol.reconstruction.occupancy.candidate_sites.CandidateSites.choose`; all atoms may
    change their element.

    Parameters
    ----------
    sites : CandidateSites
    taken : (n,) bool ndarray
        Where to start.
    labels : Labels
        The elements there.
    passes : int
        How often the misfit is expanded anew; fewer if nothing changes.
    free : bool
        False: only elements change.
    """
    most = len(taken)
    best = SolutionChoice(taken, labels, np.inf)
    for _ in range(passes):
        taken, labels = best.taken, best.labels
        here = sites.labelled(labels)
        near, atoms = here.expand(taken), np.flatnonzero(taken)
        near = near if free else near.only(np.empty(0, dtype=int))
        kinds = labels.kinds_of(sites.positions)
        odd = kinds != labels.perfect.kinds_of(sites.positions)
        charge = charge_of_odd(int(odd[atoms].sum()), len(atoms))
        swaps = swaps_of(here.misfit, sites.positions[atoms])
        cost = _Cost(sites, best, near, swaps, kinds, charge)
        perfect = labels.perfect.kinds_of(sites.positions[atoms])
        price = charge * ((swaps.kinds != perfect[swaps.of]) - odd[atoms[swaps.of]].astype(float))
        slope = np.concatenate([near.slope, swaps.slope + price])
        start = np.concatenate([taken[near.free], np.zeros(len(swaps.of), dtype=bool)])
        every = _curvature(here, near, swaps, atoms)
        before = near.value + here.energy(taken, near.prior) + charge * odd[atoms].sum()
        found = trusted_flips(start, slope, every, cost, before, most)
        if not found.better:
            return replace(best, value=near.value)
        best, most = found.result, found.most
    return best


@dataclass(frozen=True)
class _Cost:
    """What other free sites and elements swapped cost: misfit, prior of bonds, odd elements."""

    sites: CandidateSites
    start: SolutionChoice
    near: Expansion
    swaps: Swaps
    kinds: NDArray[np.intp]
    charge: float  # of an atom the perfect crystal hasn't there

    def __call__(self, flips: NDArray[np.bool_]) -> tuple[float, SolutionChoice]:
        sites, number = self.sites, len(self.near.free)
        taken, kinds = self.start.taken.copy(), self.kinds.copy()
        swapped = np.flatnonzero(taken)[self.swaps.of[flips[number:]]]
        kinds[swapped] = self.swaps.kinds[flips[number:]]
        taken[self.near.free] = flips[:number]
        x = sites.positions[taken]
        labels = self.start.labels.perfect.with_kinds(x, kinds[taken])
        then = sites.labelled(labels)
        value = then.misfit(x).value if len(x) else np.inf
        cost = value + then.energy(taken, self.near.prior) + self.charge * len(labels.odd)
        return cost, SolutionChoice(taken, labels, value)


def _curvature(
    sites: CandidateSites, near: Expansion, swaps: Swaps, atoms: NDArray[np.intp]
) -> csr_array:
    """Return the second derivatives by flips of the free sites, then swaps of the atoms."""
    own = atoms[swaps.of]
    both = np.concatenate([near.free, own])
    weight = sites.misfit.factor.weights_of(sites.positions[near.free])
    height = swaps.curvature / swaps.change**2
    size = np.concatenate([np.broadcast_to(weight, len(near.free)), swaps.change])
    scaled = diags_array(size * np.sqrt(height[0]))
    of_data = csr_array(scaled @ sites.alike(both).astype(float) @ scaled)
    # An atom that is taken out has no element.
    place = np.full(len(sites.positions), -1)
    place[near.free] = np.arange(len(near.free))
    swap = np.flatnonzero(place[own] >= 0)
    gone = coo_array(
        (np.full(len(swap), -FORBIDDEN), (place[own[swap]], swap)),
        shape=(len(near.free), len(own)),
    )
    flips = near.every - of_data[: len(near.free), : len(near.free)]
    return csr_array(
        of_data + block_array([[flips, gone], [gone.T, swaps.exclusive]], format="csr")
    )
