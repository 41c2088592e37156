"""Strain, displacement and doubtful sites where the counts tell the shape only: several samples.

Chains of shapes start from the one found, where the data count a tenth, and are relaxed. What their
ends differ by, times a constant chosen on one crystal, is the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.relaxed_shapes import ShapeWalk
from prammol.structure.atoms import Atoms
from prammol.structure.crystal_fields import lattice_strain
from prammol.structure.fitted_lattice import FittedLattice, fit_lattice, lattice_bonds

Floats = NDArray[np.float64]

# chosen: two particles of 3266 Pt atoms, one peak, +-0.2 r.l.u., 1e15: with 2.5 intervals of 68 and
# 95 % held 26 to 33 and 47 to 74 %; not varied
_WIDER = 7.5  # times the spread of the samples, for other shapes that no chain gets to
_SAME = 0.4  # derived: less than half the distance of two atoms [neighbour distances]
_PARTS = 6  # derived: components of a symmetric tensor


def shape_posterior(
    problem: Problem, model: Model, iteration: int, settings: Mapping[str, Any]
) -> tuple[dict[str, Floats], Atoms]:
    """Return columns that tell how sure strain and places are, and vacant sites in doubt.

    Parameters
    ----------
    problem : Problem
    model : Model
        The shape at the end.
    iteration : int
        Of the loop, for the random draws.
    settings : mapping
        Of the preset: ``loop.shapes``, how many samples, ``fit_shape.bond`` and
        ``fit_shape.proposals``.

    Returns
    -------
    columns : dict
        ``strain_mean`` and ``strain_sigma``, (n, 6), mean of the samples and its error, relative to
        the lattice of the model; ``position_sigma``, (n, 3) [Å];
        ``occupancy_confidence``, (n,), the part of the samples in which there is an atom. NaN
        where a strain is in fewer than two samples.
    vacant : Atoms
        Sites beside the model that hold an atom in some samples; ``occupancy_confidence`` tells in
        which part.
    """
    x, distance = model.positions, problem.potential.neighbour_distance
    fitted = fit_lattice(x, problem.potential.lattice)
    tree, n = cKDTree(x), len(x)
    number, known = np.zeros(n), np.zeros((n, 1))
    shift, strain = np.zeros((2, n, 3)), np.zeros((2, n, _PARTS))
    beside: list[Floats] = []
    drawn = 0
    for y in _samples(problem, model, iteration, settings):
        drawn += 1
        gap, place = tree.query(y, distance_upper_bound=_SAME * distance)
        own = np.flatnonzero(np.isfinite(gap))
        beside.append(y[~np.isfinite(gap)])
        place = place[own]
        number[place] += 1
        moved = y[own] - x[place]
        moved -= moved.mean(axis=0)
        shift[0, place] += moved
        shift[1, place] += moved**2
        if fitted is not None:
            values = _strain(y, fitted)[own]
            there = np.isfinite(values).all(axis=1)
            known[place[there]] += 1
            strain[0, place[there]] += values[there]
            strain[1, place[there]] += values[there] ** 2
    mean, sigma = _moments(strain, known)
    _, sigma_x = _moments(shift, number[:, None])
    columns = {
        "strain_mean": mean,
        "strain_sigma": _WIDER * sigma,
        "position_sigma": _WIDER * sigma_x,
        "occupancy_confidence": number / drawn,
    }
    return columns, _vacant(np.concatenate(beside), drawn, _SAME * distance, problem)


def _samples(
    problem: Problem, model: Model, iteration: int, settings: Mapping[str, Any]
) -> Iterator[Floats]:
    """Yield samples, each the end of a chain of its own."""
    bond, proposals = settings["fit_shape.bond"], settings["fit_shape.proposals"]
    for draw in range(settings["loop.shapes"]):
        rng = problem.rng(f"shape posterior {draw}", iteration)
        walk = ShapeWalk(problem, model.positions, bond, proposals, rng)
        walk.hop()
        yield walk.drawn()


def _strain(y: Floats, fitted: FittedLattice) -> Floats:
    return lattice_strain(y, fitted, lattice_bonds(y, fitted))


def _moments(sums: Floats, number: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation by sums of values and squares, (2, n, k)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums[0] / number
        square = (sums[1] - number * mean**2) / (number - 1)
    return mean, np.sqrt(np.maximum(np.where(number > 1, square, np.nan), 0.0))


def _vacant(beside: Floats, drawn: int, near: float, problem: Problem) -> Atoms:
    """Return places that hold an atom in some samples only."""
    sites: list[Floats] = []
    parts: list[float] = []
    rest = beside
    while len(rest):
        here = np.linalg.norm(rest - rest[0], axis=1) < near
        sites.append(rest[here].mean(axis=0))
        parts.append(min(1.0, here.sum() / drawn))
        rest = rest[~here]
    columns = {
        "occupancy_confidence": np.array(parts),
        "earlier_confidence": np.zeros(len(parts)),
    }
    return Atoms(np.array(sites).reshape(-1, 3), problem.potential.element, columns)
