"""How sure it is that each atom exists: sampling of the sets of sites.

Near the object found, misfit and prior of bonds are a quadratic function E of the occupancies
(:mod:`prammol.reconstruction.occupancy.candidate_sites`), and sets of sites have the probability
exp(-E). It is sampled by a Markov chain in continuous time (Bortz, Kalos, Lebowitz, J. Comput.
Phys. 17, 10 (1975)) whose moves are flips of single sites and exchanges between neighbours, with
the rates of a heat bath, 1 / (1 + exp(change of E)): no time is spent on moves that aren't made,
so a sharp distribution costs nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from scipy.special import expit

from prammol.reconstruction.occupancy.binary_quadratic import flip
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites, Expansion

# derived: beyond the second neighbours of fcc and bcc, short of the third
_EXCHANGE = 1.5  # atoms exchange sites so close [neighbour distances]


def sample_near(
    sites: CandidateSites,
    taken: NDArray[np.bool_],
    near: Expansion,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the probability that each site holds an atom, (n,), near a set of sites.

    Parameters
    ----------
    sites : CandidateSites
    taken : (n,) bool ndarray
        The set.
    near : Expansion
        Misfit and prior near it; sites that aren't free there stay as they are.
    rng : Generator
    """
    out = taken.astype(float)
    if len(near.free):
        pairs = exchanges(sites.positions[near.free], sites.distance)
        out[near.free] = sample_sets(taken[near.free], near.slope, near.every, pairs, rng)
    return out


def exchanges(sites: NDArray[np.float64], distance: float) -> NDArray[np.intp]:
    """Return the pairs of sites that may exchange an atom, (p, 2).

    Parameters
    ----------
    sites : (m, 3) ndarray
        Positions [Å].
    distance : float
        Nearest-neighbour distance [Å].
    """
    return cKDTree(sites).query_pairs(_EXCHANGE * distance, output_type="ndarray")


def sample_sets(
    taken: NDArray[np.bool_],
    slope: NDArray[np.float64],
    curvature: csr_matrix,
    neighbours: NDArray[np.intp],
    rng: np.random.Generator,
    duration: float = 200.0,  # chosen: not varied
    most: int = 50_000,  # chosen: time; not varied
) -> NDArray[np.float64]:
    """Return how often sites are taken in sets with the probability exp(-E), E quadratic.

    Parameters
    ----------
    taken : (m,) bool ndarray
        Where to start.
    slope : (m,) ndarray
        Derivative by each occupancy there.
    curvature : (m, m) sparse array
        Second derivatives, symmetric.
    neighbours : (p, 2) int ndarray
        Pairs that may exchange an atom.
    rng : Generator
    duration : float
        Length of the chain: each move is considered so often on average.
    most : int
        Most moves; the chain is shorter then.

    Returns
    -------
    (m,) ndarray
        Part of the time that each site was taken.
    """
    taken, g = taken.copy(), slope.astype(float).copy()
    half = 0.5 * curvature.diagonal()
    i, j = neighbours.T.reshape(2, -1)
    between = np.asarray(curvature[i, j]).ravel() if len(i) else np.empty(0)
    time = 0.0
    since = np.zeros(len(taken))  # when each site changed last
    occupied = np.zeros(len(taken))
    moves = 0
    while time < duration and moves < most:
        sign = np.where(taken, -1.0, 1.0)
        cost = sign * g + half
        rates = expit(-cost)
        exchange = np.where(taken[i] != taken[j], expit(between - cost[i] - cost[j]), 0.0)
        total = np.cumsum(np.concatenate([rates, exchange]))
        wait = rng.exponential(1.0 / max(total[-1], 1e-300))
        time = min(time + wait, duration)
        if time >= duration:
            break
        k = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        for site in (k,) if k < len(taken) else (i[k - len(taken)], j[k - len(taken)]):
            occupied[site] += taken[site] * (time - since[site])
            since[site] = time
            flip(site, taken, g, curvature)
        moves += 1
    occupied += taken * (time - since)
    return occupied / time


def heat_bath(
    taken: NDArray[np.bool_],
    slope: NDArray[np.float64],
    curvature: csr_matrix,
    neighbours: NDArray[np.intp],
    rng: np.random.Generator,
    sweeps: int,
) -> NDArray[np.bool_]:
    """Return a set after some sweeps of the same moves as in :func:`sample_sets`, (m,) bool.

    Moves are drawn at random and made with their probability: cheaper where many are made,
    as at high temperature, and no averages are kept.

    Parameters
    ----------
    taken, slope, curvature, neighbours, rng
        As for :func:`sample_sets`.
    sweeps : int
        How often a flip of each site is considered, and as many exchanges in all.
    """
    taken, g = taken.copy(), slope.astype(float).copy()
    half = 0.5 * curvature.diagonal()
    m, pairs = len(taken), len(neighbours)
    for _ in range(sweeps):
        # A flip that costs c is made with the probability 1 / (1 + exp(c)).
        luck = rng.logistic(size=m)
        for site, most in zip(rng.integers(0, m, m).tolist(), luck.tolist(), strict=True):
            if (-g[site] if taken[site] else g[site]) + half[site] < most:
                flip(site, taken, g, curvature)
        if pairs == 0:
            continue
        luck = rng.logistic(size=m)
        tried = neighbours[rng.integers(0, pairs, m)]
        between = np.asarray(curvature[tried[:, 0], tried[:, 1]]).ravel()
        for (i, j), both, most in zip(tried.tolist(), between.tolist(), luck.tolist(), strict=True):
            if taken[i] != taken[j]:
                a, b = (i, j) if taken[i] else (j, i)
                if half[a] - g[a] + g[b] + half[b] - both < most:
                    flip(a, taken, g, curvature)
                    flip(b, taken, g, curvature)
    return taken


def swept(
    sites: CandidateSites,
    taken: NDArray[np.bool_],
    near: Expansion,
    rng: np.random.Generator,
    considered: int,
    temperature: float = 1.0,  # derived: the probability exp(-E) itself
) -> NDArray[np.bool_]:
    """Return a set after sweeps of :func:`heat_bath` by an expansion near another, (n,) bool.

    Parameters
    ----------
    sites : CandidateSites
    taken : (n,) bool ndarray
        Where to start.
    near : Expansion
        Misfit, prior of bonds, or both, near `taken`.
    rng : Generator
        In the same state on all ranks.
    considered : int
        Number of sweeps.
    temperature : float
        What the expansion is divided by.
    """
    free, taken = near.free, taken.copy()
    if len(free):
        pairs = exchanges(sites.positions[free], sites.distance)
        slope, curvature = near.slope / temperature, (near.every / temperature).tocsr()
        taken[free] = heat_bath(taken[free], slope, curvature, pairs, rng, considered)
    return taken
