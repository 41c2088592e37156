"""Which atoms have another element than the model says: swaps at fixed positions.

An atom whose weight changes by d changes the misfit by about g d + h d^2 / 2, as one of weight d
that is added would (:mod:`prammol.likelihood.difference_map`), and two of them by their overlap
besides. An atom has a swap for each other element, and swaps are chosen as sites are, at most one
of each atom: :mod:`prammol.reconstruction.occupancy.binary_quadratic`. A vacant site may hold any
element. The one of the perfect crystal is tried as an addition; others count as swaps here. Where a
light atom is missing on the site of a heavy one, the heavy one would be no better than none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, identity

from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.candidate_sites import (
    FORBIDDEN,
    OVERLAP_ACCURACY,
    relaxed_vacant_sites,
)
from prammol.reconstruction.occupancy.overlaps import overlaps
from prammol.reconstruction.occupancy.single_changes import EXAMINED, FALSE_ALARMS
from prammol.reconstruction.problem import Problem


@dataclass(frozen=True)
class Swaps:
    """What swaps of the elements of atoms do to the misfit, near an object.

    Attributes
    ----------
    places : (n, 3) ndarray
        The atoms, then vacant sites [Å].
    of : (s,) int ndarray
        The place of each swap; those of one place follow each other.
    kinds : (s,) int ndarray
        The element that comes there.
    slope : (s,) ndarray
        Of the misfit by the part of an atom that is swapped.
    curvature : (s,) ndarray
        Second derivative of each.
    change : (s,) ndarray
        By how much the weight of the atom would change.
    """

    places: NDArray[np.float64]
    of: NDArray[np.intp]
    kinds: NDArray[np.int_]
    slope: NDArray[np.float64]
    curvature: NDArray[np.float64]
    change: NDArray[np.float64]

    @property
    def cost(self) -> NDArray[np.float64]:
        """By how much each swap alone raises the misfit, (s,)."""
        return np.asarray(self.slope + 0.5 * self.curvature)

    @property
    def exclusive(self) -> csr_matrix:
        """A large number for each two swaps of one place, which can't both be, (s, s)."""
        member = csr_matrix((np.ones(len(self.of)), (np.arange(len(self.of)), self.of)))
        twice = csr_matrix(member @ member.T - identity(len(self.of)))
        twice.eliminate_zeros()
        return csr_matrix(twice * FORBIDDEN)


def swaps_of(
    misfit: PoissonMisfit, x: NDArray[np.float64], vacant: NDArray[np.float64] | None = None
) -> Swaps:
    """Return what the swap of each atom does; all ranks together.

    Parameters
    ----------
    misfit : PoissonMisfit
    x : (n, 3) ndarray
        Atoms [Å].
    vacant : (m, 3) ndarray, optional
        Vacant sites [Å]: an atom comes there, of an element that the labels don't have there.
    """
    factor = misfit.factor
    assert factor.scatterers is not None
    places = x if vacant is None else np.concatenate([x, vacant])
    kinds, found = factor.kinds_of(places), difference_map(misfit, x)
    each = [part.adjoint(found.field, places).real.copy() for part in factor.of_elements]
    g = misfit.comm.allreduce(np.array(each))
    ratios = factor.scatterers.mean_ratios
    of = np.repeat(np.arange(len(places)), len(ratios) - 1)
    own = kinds[of]
    other = (own + 1 + np.tile(np.arange(len(ratios) - 1), len(places))) % len(ratios)
    there = of < len(x)
    change = ratios[other] - there * ratios[own]
    slope = g[other, of] - there * g[own, of]
    return Swaps(places, of, other, slope, found.height * change**2, change)


def together(
    misfit: PoissonMisfit, x: NDArray[np.float64], swaps: Swaps, reach: float
) -> csr_matrix:
    """Return the second derivatives of the misfit by all swaps nearer to each other than a reach.

    Parameters
    ----------
    misfit : PoissonMisfit
    x : (n, 3) ndarray
        Atoms [Å].
    swaps : Swaps
        Of these atoms.
    reach : float
        [Å].
    """
    factor = misfit.factor.of_elements[0].with_accuracy(OVERLAP_ACCURACY)
    omega = misfit.factor.forward(x)
    sharpness = misfit.sharpness(omega, misfit.scale(omega))
    alike = overlaps(factor, sharpness, swaps.places, reach, misfit.comm)
    size = diags_array(np.sqrt(swaps.curvature) * np.sign(swaps.change))
    return csr_matrix(size @ alike[swaps.of][:, swaps.of] @ size + swaps.exclusive)


def gain_of_swaps(problem: Problem, model: Model) -> float:
    """Return by how much the best swap lowers the misfit, 0 if it is noise.

    Of one atom, or of a vacant site beside the atoms.
    """
    x = model.positions
    if problem.factor.scatterers is None or not len(x):
        return 0.0
    misfit = PoissonMisfit(problem.shard, problem.factor)
    swaps = swaps_of(misfit, x, relaxed_vacant_sites(problem, x))
    places = swaps.places
    least = float(np.log(len(swaps.of) / FALSE_ALARMS))
    omega = model.structure_factor(problem.factor)
    before, _ = misfit.value(omega)
    kinds, parts = problem.factor.kinds_of(places), problem.factor.of_elements
    gains = [0.0]
    for j in np.argsort(swaps.cost, kind="stable")[:EXAMINED]:
        if swaps.cost[j] < 0:
            i = swaps.of[j]
            here = places[[i]]
            changed = omega + parts[swaps.kinds[j]].forward(here)
            if i < len(x):
                changed -= parts[kinds[i]].forward(here)
            gains.append(before - misfit.value(changed)[0])
    return max(gains) if max(gains) > least else 0.0


def elements_are_seen(problem: Problem, model: Model) -> bool:
    """Tell whether a wrong element of any atom would lower the misfit beyond noise."""
    x = model.positions
    if problem.factor.scatterers is None or not len(x):
        return True
    swaps = swaps_of(PoissonMisfit(problem.shard, problem.factor), x)
    return float(0.5 * swaps.curvature.min()) > float(np.log(len(swaps.of) / FALSE_ALARMS))


def element_confidence(misfit: PoissonMisfit, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how probable the element of each atom is against all others, (n,).

    All as likely before the counts, all else as it is: a half where two scatter alike.
    """
    cost = np.clip(swaps_of(misfit, x).cost.reshape(len(x), -1), -700.0, 700.0)
    return np.asarray(1.0 / (1.0 + np.exp(-cost).sum(axis=1)))


def charge_of_odd(odd: int, atoms: int) -> float:
    """Return what an atom of another element than the perfect crystal has there is charged.

    The logarithm of the odds of the perfect crystal's element, learnt from how many are odd.
    """
    part = (odd + 1.0) / (atoms + 2.0)
    return max(float(np.log((1.0 - part) / part)), 0.0)
