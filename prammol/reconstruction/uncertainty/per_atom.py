"""What is written beside each atom: how far off it may be, and whether it exists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.likelihood.model_error import misfit_with_model_error
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.earlier_state import SAME_SITE
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Expansion
from prammol.reconstruction.occupancy.change_rates import with_earlier
from prammol.reconstruction.occupancy.element_swaps import element_confidence
from prammol.reconstruction.occupancy.gibbs_sampling import sample_near, swept
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.occupancy.relaxed_moves import with_neighbours_relaxed
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.uncertainty.positions import position_uncertainty
from prammol.reconstruction.uncertainty.rough_energy import spread_of_minima
from prammol.structure.atoms import Atoms
from prammol.structure.surface import mean_of_class, neighbour_classes

_HALF_AN_ATOM = 0.5  # derived: none is wrong, rounded
# chosen: not varied
_CONSIDERED = 20  # how often a flip of each site is considered before a set is drawn
# chosen: as complete_atoms.force_tolerance; not varied
_LOOSE = 1e-2  # eV/Å
_DOUBTFUL = 1e-3  # derived: below, of a thousand sites not one holds an atom


def error_bars(
    problem: Problem, model: Model, iteration: int
) -> tuple[dict[str, NDArray[np.float64]], Atoms]:
    """Return columns that tell how sure each atom is, and the vacant sites in doubt.

    Parameters
    ----------
    problem : Problem
    model : Model
        The object at the end.
    iteration : int
        Of the loop, for the random draws.

    Returns
    -------
    columns : dict
        ``position_sigma``, (n, 3) [Å], and ``position_sigma_data``, (n,) [Å], as in
        :class:`~prammol.reconstruction.uncertainty.positions.Uncertainty`, the first with what
        doubtful atoms do to the others and how far apart minima of a rough energy are;
        ``occupancy_confidence``, (n,), the probability that the atom exists. Of several elements
        also ``element_confidence``, (n,), see
        :func:`prammol.reconstruction.occupancy.element_swaps.element_confidence`.
    vacant : Atoms
        See :class:`prammol.reconstruction.result.Reconstruction`.
    """
    misfit = misfit_of(problem, model)
    sure = position_uncertainty(problem, model, iteration, misfit)
    doubt = site_probabilities(problem, model, iteration, misfit)
    spread = spread_of_sets(problem, model, iteration, doubt)
    spread = np.hypot(spread, spread_of_minima(problem, model, iteration))
    elements = {}
    if problem.factor.scatterers is not None:
        elements["element_confidence"] = element_confidence(misfit, model.positions)
    columns = {
        **elements,
        "position_sigma": np.hypot(sure.posterior, spread),
        "position_sigma_data": sure.of_data,
        "occupancy_confidence": doubt.occupied[: len(model.positions)],
    }
    return columns, _vacant(problem, doubt, model.positions)


def _vacant(problem: Problem, doubt: SiteProbabilities, x: NDArray[np.float64]) -> Atoms:
    """Return the vacant sites that may hold an atom, and those that did."""
    distance, potential = doubt.sites.distance, problem.potential
    sites, now = doubt.sites.positions[len(x) :], doubt.occupied[len(x) :]
    before = np.zeros(len(sites))
    if problem.earlier is not None:
        laid = problem.earlier.laid_on(x, distance)
        before = laid.presence(sites, distance)
        known = cKDTree(doubt.sites.positions).query(laid.positions)[0] < SAME_SITE * distance
        sites = np.concatenate([sites, laid.positions[~known]])
        now = np.concatenate([now, np.zeros((~known).sum())])
        before = np.concatenate([before, laid.confidence[~known]])
    kept = (now > _DOUBTFUL) | (before > _DOUBTFUL)
    columns = {"occupancy_confidence": now[kept], "earlier_confidence": before[kept]}
    return Atoms(sites[kept], potential.element, columns)


def misfit_of(problem: Problem, model: Model) -> PoissonMisfit:
    """Return the misfit whose noise includes what the object doesn't explain."""
    omega = model.structure_factor(problem.factor)
    return misfit_with_model_error(problem.shard, problem.factor, omega, len(model.positions))


@dataclass(frozen=True)
class SiteProbabilities:
    """Which sets of sites the data allow near the object.

    Attributes
    ----------
    sites : CandidateSites
        The atoms, then vacant sites of the lattice beside them.
    near : Expansion
        Misfit and prior of bonds for other sets.
    occupied : (m,) ndarray
        Probability that each site holds an atom.
    """

    sites: CandidateSites
    near: Expansion
    occupied: NDArray[np.float64]


def site_probabilities(
    problem: Problem, model: Model, iteration: int, misfit: PoissonMisfit
) -> SiteProbabilities:
    """Return how probable the atoms, and the vacant sites beside them, are.

    At fixed positions a change costs too much: where atoms are at a minimum of the energy those
    in doubt are relaxed, one by one.
    """
    x = model.positions
    low = is_low_signal(problem.shard, problem.factor, problem.factor.forward(x))
    sites = CandidateSites.beside(problem, misfit, x, model.bond_energy if low else None)
    if low:
        sites = with_earlier(sites, problem.earlier, sites.taken)
    near = sites.expand(sites.taken)
    if not np.isfinite(model.stiffness):
        bonds = sites.bonds_of(sites.taken, near)
        near = with_neighbours_relaxed(problem, sites, near, bonds)
    rng = problem.rng("confidence", iteration)
    return SiteProbabilities(sites, near, sample_near(sites, sites.taken, near, rng))


def spread_of_sets(
    problem: Problem,
    model: Model,
    iteration: int,
    doubt: SiteProbabilities,
    # chosen: 1.6e15 to 3.8e15; 95 % intervals hold 85 to 87 % with 3, 95 % with 10
    draws: int = 10,
) -> NDArray[np.float64]:
    """Return how far atoms are pulled by others that may be wrong, (n, 3) [Å].

    Sets of sites are drawn with their probability and relaxed; the root of the mean square
    distance from the object, averaged over atoms with equally many neighbours. Zero where no
    atom is in doubt, and where the data moved the atoms: relaxing would undo that.
    """
    x, sites, near = model.positions, doubt.sites, doubt.near
    doubtful = np.minimum(doubt.occupied, 1.0 - doubt.occupied).sum()
    if doubtful < _HALF_AN_ATOM or np.isfinite(model.stiffness):
        return np.zeros_like(x)
    rng = problem.rng("doubtful atoms", iteration)
    square, number = np.zeros_like(x), np.zeros((len(x), 1))
    relaxed: dict[bytes, NDArray[np.float64]] = {}  # with few atoms in doubt sets come again
    for _ in range(draws):
        keep = swept(sites, sites.taken, near, rng, _CONSIDERED)
        same = keep.tobytes()
        if same not in relaxed:
            relaxed[same], _, _ = problem.cluster.relax(
                sites.positions[keep], force_tolerance=_LOOSE
            )
        y, stayed = relaxed[same], keep[: len(x)]
        if not stayed.any():
            continue
        shift = y[: stayed.sum()] - x[stayed]  # the first of the sites are the atoms
        square[stayed] += (shift - shift.mean(axis=0)) ** 2
        number[stayed] += 1
    classes = neighbour_classes(x, problem.potential.bond_reach)
    counted = np.maximum(mean_of_class(number, classes), 1.0 / len(x))
    return np.sqrt(mean_of_class(square, classes) / counted)
