"""Which sites of a solid solution hold an atom, and of which element: both at once.

A site is vacant, or has an atom of the one or the other element. Near an object the misfit is
quadratic in what flips change, atoms taken out or put in and elements swapped, so the best set of
both is found as that of flips alone is (:mod:`prammol.reconstruction.occupancy.candidate_sites`).
Atoms of the wrong element would pass for atoms that are missing or too many if flips came first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, coo_array, csr_array, diags_array

from prammol.reconstruction.occupancy.binary_quadratic import best_flips
from prammol.reconstruction.occupancy.candidate_sites import (
    FORBIDDEN,
    LEAST_GAIN,
    PART,
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
    value = np.inf
    for _ in range(passes):
        here = sites.labelled(labels)
        near, atoms = here.expand(taken), np.flatnonzero(taken)
        near = near if free else near.only(np.empty(0, dtype=int))
        x = sites.positions[atoms]
        swaps, kinds = swaps_of(here.misfit, x), labels.kinds_of(sites.positions)
        odd = kinds != labels.perfect.kinds_of(sites.positions)
        charge = charge_of_odd(int(odd[atoms].sum()), len(atoms))
        price = charge * (1.0 - 2.0 * odd[atoms])
        slope = np.concatenate([near.slope, swaps.slope + price])
        start = np.concatenate([taken[near.free], np.zeros(len(atoms), dtype=bool)])
        every = _curvature(here, near, swaps, atoms)
        before = near.value + here.energy(taken, near.prior) + charge * odd[atoms].sum()
        # A step too far for the quadratic function is taken back by half.
        while True:
            found = best_flips(start, slope, every, LEAST_GAIN, most)
            new, other = taken.copy(), kinds.copy()
            new[near.free] = found.taken[: len(near.free)]
            swapped = atoms[found.taken[len(near.free) :]]
            other[swapped] = 1 - other[swapped]
            told = labels.perfect.with_kinds(sites.positions[new], other[new])
            then = sites.labelled(told)
            value = then.misfit(sites.positions[new]).value if new.any() else np.inf
            after = value + then.energy(new, near.prior) + charge * len(told.odd)
            gain = before - after
            if found.steps == 0 or gain > PART * found.gain or found.steps == 1:
                break
            most = max(found.steps // 2, 1)
        if found.steps == 0 or gain <= 0:
            return SolutionChoice(taken, labels, near.value)
        taken, labels = new, told
        most *= 2
    return SolutionChoice(taken, labels, value)


def _curvature(
    sites: CandidateSites, near: Expansion, swaps: Swaps, atoms: NDArray[np.intp]
) -> csr_array:
    """Return the second derivatives by flips of the free sites, then swaps of the atoms."""
    both = np.concatenate([near.free, atoms])
    weight = sites.misfit.factor.weights_of(sites.positions[near.free])
    height = swaps.curvature / swaps.change**2
    size = np.concatenate([np.broadcast_to(weight, len(near.free)), swaps.change])
    scaled = diags_array(size * np.sqrt(height[0]))
    of_data = csr_array(scaled @ sites.alike(both).astype(float) @ scaled)
    # An atom that is taken out has no element.
    place = np.full(len(sites.positions), -1)
    place[near.free] = np.arange(len(near.free))
    swap = np.flatnonzero(place[atoms] >= 0)
    gone = coo_array(
        (np.full(len(swap), -FORBIDDEN), (place[atoms[swap]], swap)),
        shape=(len(near.free), len(atoms)),
    )
    flips = near.every - of_data[: len(near.free), : len(near.free)]
    return csr_array(of_data + block_array([[flips, gone], [gone.T, None]], format="csr"))
