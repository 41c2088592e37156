"""Single changes that would explain more: additions, removals, exchanges, moves.

The misfit of all points together is compared with what noise gives for the model at hand, and a
wrong model that is brighter where the crystal is dark expects more of it. A change of one atom is
compared with the model itself. With the slope g of the misfit by an occupancy
(:mod:`prammol.likelihood.difference_map`) and its curvature h, which is the variance of g,

    z = -g / sqrt(h),   -g - h / 2

are a score with the variance 1 if the model is right (Rao), and what a whole atom gains there. A
right model loses more than t of log-likelihood to one of M others with the probability M exp(-t)
at most (Markov): a change that gains more than ln(M / a) is noise in a part a of all runs.

An atom that is missing or too many bends its surroundings, which hides up to 0.6 of it at fixed
positions but not its score: changes whose score isn't noise are relaxed and compared then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.difference_map import DifferenceMap, difference_map
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, relaxed_vacant_sites
from prammol.reconstruction.occupancy.gibbs_sampling import exchanges
from prammol.reconstruction.occupancy.relaxed_moves import relaxed_costs
from prammol.reconstruction.problem import Problem

# derived: a level of significance, that of the score test of moves
FALSE_ALARMS = 0.01  # in a right object, of all changes together
# chosen: time, as reconsider_atoms.moves and tried; not varied
EXAMINED = 16  # changes whose misfit is computed
# chosen: as complete_atoms.force_tolerance; not varied
_LOOSE = 1e-2  # eV/Å
_SAME = 1e-9  # derived: keeps a quotient finite


@dataclass(frozen=True)
class SingleChange:
    """A change of one atom.

    Attributes
    ----------
    kind : str
        ``"addition"``, ``"removal"`` or ``"exchange"``.
    sites : (1,) or (2,) int ndarray
        What is flipped: an atom by its number, or a vacant site by the number of atoms plus its.
    position : (3,) ndarray
        Where an atom comes or goes [Å].
    gain : float
        By how much it lowers the misfit.
    """

    kind: str
    sites: NDArray[np.intp]
    position: NDArray[np.float64]
    gain: float


@dataclass(frozen=True)
class SingleChanges:
    """What single changes of an object would gain.

    Attributes
    ----------
    sites : CandidateSites
        The atoms, then the vacant sites of the lattice beside them.
    suspects : list of SingleChange
        Those whose score isn't noise, the best first.
    least : float
        The largest gain that noise gives.
    """

    sites: CandidateSites
    suspects: list[SingleChange]
    least: float

    @property
    def best(self) -> SingleChange | None:
        """The change that gains most, if it gains more than noise does."""
        found = max(self.suspects, key=lambda change: change.gain, default=None)
        return None if found is None or found.gain <= self.least else found


def single_changes(problem: Problem, model: Model) -> SingleChanges:
    """Return which additions, removals and exchanges of single atoms the counts ask for.

    The difference map at the atoms and at the vacant sites beside them tells of all at once; what
    passes is computed exactly, and with the atoms around it relaxed where these are at a minimum
    of the energy. All ranks call it together.

    Parameters
    ----------
    problem : Problem
    model : Model
    """
    x = model.positions
    probe = _probe(problem, model)
    misfit = PoissonMisfit(problem.shard, probe)
    omega = model.structure_factor(problem.factor)
    vacant = relaxed_vacant_sites(problem, x)
    sites = CandidateSites.around(misfit, problem.potential, x, vacant)
    found = difference_map(misfit, x, omega)
    # Of a whole atom: negative where flipping the site helps.
    slope = np.where(sites.taken, -1.0, 1.0) * found(sites.positions)
    if len(model.occupancies):
        slope[: len(x)][model.occupancies < 1.0] = 0.0  # those may be away already
    pairs = exchanges(sites.positions, sites.distance)
    pairs = pairs[sites.taken[pairs[:, 0]] != sites.taken[pairs[:, 1]]]
    number = len(sites.positions) + len(pairs)
    score = -float(ndtri(FALSE_ALARMS / max(number, 1)))
    least = float(np.log(max(number, 1) / FALSE_ALARMS))
    visible = np.broadcast_to(misfit.visibility_at(sites.positions), len(slope))
    flips, gains = _beyond_noise(found, sites, slope, visible, pairs, score)
    order = np.argsort(-gains, kind="stable")[:EXAMINED]
    moves = [flips[k] for k in order]
    suspects = [
        _described(sites, move, gain)
        for move, gain in zip(moves, _exact(misfit, omega, sites, moves), strict=True)
    ]
    at_rest = not (len(model.displacements) or len(model.occupancies))
    if suspects and at_rest and max(s.gain for s in suspects) <= least:
        costs = relaxed_costs(problem, probe, sites, moves, _LOOSE)
        suspects = [
            replace(s, gain=max(s.gain, -float(cost)))
            for s, cost in zip(suspects, costs, strict=True)
        ]
    return SingleChanges(sites, sorted(suspects, key=lambda s: -s.gain), least)


def _probe(problem: Problem, model: Model) -> StructureFactor:
    """Return the transform of a single atom that moves as most of the model do."""
    base = problem.factor
    if not len(model.displacements):
        return base
    square = np.sum(base.q**2, axis=1)
    damping = np.exp(-0.5 * square * float(np.median(model.displacements)))
    amplitude = damping if base.amplitude is None else damping * base.amplitude
    return base.on(base.patches, amplitude)


def _beyond_noise(
    found: DifferenceMap,
    sites: CandidateSites,
    slope: NDArray[np.float64],
    visible: NDArray[np.float64],
    pairs: NDArray[np.intp],
    score: float,
) -> tuple[list[NDArray[np.intp]], NDArray[np.float64]]:
    """Return flips of one or two sites whose score isn't noise, and what they promise to gain.

    Parameters
    ----------
    found : DifferenceMap
    sites : CandidateSites
    slope : (n,) ndarray
        Of the misfit by flipping each site, in units of a whole atom.
    visible : (n,) ndarray
        Of a whole atom there against the mean, :meth:`PoissonMisfit.visibility_at`.
    pairs : (p, 2) int ndarray
        An atom and a vacant site, in either order.
    score : float
        The largest one that noise gives.
    """
    height = found.height
    singles = np.flatnonzero(-slope * np.sqrt(height) > score * np.sqrt(visible))
    flips = [*singles[:, None]]
    gains = -height * (slope[singles] + 0.5 * visible[singles])
    pairs = pairs[slope[pairs].sum(axis=1) < 0]
    both = slope[pairs].sum(axis=1)
    overlap = found.overlap(sites.positions[pairs[:, 0]] - sites.positions[pairs[:, 1]])
    # The variance of the difference of two slopes that overlap, in units of that of one.
    apart = np.maximum(2.0 * (1.0 - overlap), _SAME) * visible[pairs].mean(axis=1)
    if sites.misfit.factor.scatterers is not None:
        one, other = np.sqrt(visible[pairs]).T
        apart = np.maximum(2.0 * (1.0 - overlap), _SAME) * one * other + (one - other) ** 2
    seen = -both * np.sqrt(height / apart) > score
    flips += [*pairs[seen]]
    return flips, np.concatenate([gains, -height * (both + 0.5 * apart)[seen]])


def _exact(
    misfit: PoissonMisfit,
    omega: NDArray[np.complex128],
    sites: CandidateSites,
    moves: list[NDArray[np.intp]],
) -> list[float]:
    """Return by how much each move lowers the misfit, everything else as it is."""
    if not moves:
        return []
    before = misfit.value(omega)[0]
    signs = np.where(sites.taken, -1.0, 1.0)
    return [
        before - misfit.value(omega + misfit.factor.forward(sites.positions[m], signs[m]))[0]
        for m in moves
    ]


def _described(sites: CandidateSites, move: NDArray[np.intp], gain: float) -> SingleChange:
    if len(move) > 1:
        new = move[~sites.taken[move]]
        return SingleChange("exchange", move, sites.positions[new[0]], gain)
    kind = "removal" if sites.taken[move[0]] else "addition"
    return SingleChange(kind, move, sites.positions[move[0]], gain)
