"""A crystal of a few hundred atoms and its simulated counts, for tests of whole stages."""

from __future__ import annotations

from functools import cache, lru_cache
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.diffraction.support import Support, support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.problem import Problem
from prammol.structure.atoms import Atoms
from prammol.structure.vacant_sites import vacant_sites


class Rank(Communicator):
    """Rank ``rank`` of ``size``, for functions that only ask who they are."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def fcc_ball(radius: float, a: float = 4.05) -> NDArray[np.float64]:
    """An fcc crystal cut to a ball, centred between atoms, unrelaxed."""
    n = int(np.ceil(radius / a)) + 1
    cells = np.array(np.meshgrid(*[np.arange(-n, n + 1)] * 3)).reshape(3, -1).T
    basis = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    x = a * (cells[:, None] + basis).reshape(-1, 3) - np.array([0.9, 0.4, 0.2])
    return x[np.linalg.norm(x, axis=1) < radius]


@cache
def relaxed_ball(radius: float = 8.5) -> NDArray[np.float64]:
    """The ball at rest in the aluminium potential."""
    cluster = Cluster(aluminium())
    x, _, _ = cluster.relax(fcc_ball(radius))
    cluster.close()
    x.flags.writeable = False
    return x


def simulate(
    x: NDArray[np.float64],
    points: int = 24,
    scale: float = 1.9,
    seed: int = 1,
    displacements: NDArray[np.float64] | None = None,
    occupancies: NDArray[np.float64] | None = None,
) -> Diffraction:
    """Poisson counts on small versions of the paper's patches, by direct summation.

    Atoms may move: their mean square displacements along one axis, (n,) [Å^2]. They may be away
    part of the time: their occupancies, (n,).
    """
    u = np.zeros(len(x)) if displacements is None else displacements
    w = np.ones(len(x)) if occupancies is None else occupancies
    patches = paper_patches(points)
    rng = np.random.default_rng(seed)
    counts = [
        rng.poisson(np.abs(scale * amplitude) ** 2).reshape(p.shape).astype(float)
        for p, amplitude in zip(patches, _amplitudes(points, *map(_frozen, (x, u, w))), strict=True)
    ]
    return Diffraction(
        patches,
        counts,
        meta={"element": "Al", "scale": scale, "form_factor": "constant"},
        geometry=GeometryUncertainty.none(),
    )


def _frozen(values: NDArray[np.float64]) -> tuple[bytes, tuple[int, ...]]:
    return np.ascontiguousarray(values, dtype=float).tobytes(), values.shape


@lru_cache(maxsize=8)  # seconds each, and one crystal is measured with many seeds and fluxes
def _amplitudes(
    points: int, *arrays: tuple[bytes, tuple[int, ...]]
) -> list[NDArray[np.complex128]]:
    x, u, w = (np.frombuffer(raw).reshape(shape) for raw, shape in arrays)

    def amplitude(q: NDArray[np.float64]) -> NDArray[np.complex128]:
        square = np.sum(q**2, axis=1)
        parts = [
            np.exp(-0.5 * square * v) * direct_structure_factor(q, x[u == v], w[u == v])
            for v in np.unique(u)
        ]
        return np.sum(parts, axis=0)

    return [amplitude(p.q()) for p in paper_patches(points)]


def box(edge: float) -> Support:
    """A cubic support around 0, of voxels of 1 Å."""
    n = round(edge)
    return Support(np.full(3, -(n - 1) / 2), np.eye(3), np.ones((n, n, n), dtype=bool))


def make_problem(
    data: Diffraction,
    support: Support | None = None,
    seed: int = 0,
    comm: Communicator | None = None,
    x: NDArray[np.float64] | None = None,
    cluster: bool = False,
) -> Problem:
    """A problem as reconstruct() makes it; without LAMMPS if it isn't asked for."""
    potential = aluminium()
    comm = comm or Communicator()
    shard = local_shard(data, comm)
    if support is None:
        support = support_from_truth(Atoms(np.zeros((1, 3)) if x is None else x, "Al"))
    return Problem(
        data=data,
        shard=shard,
        factor=StructureFactor(shard.patches, amplitude=shard.amplitude),
        support=support,
        cluster=Cluster(potential, comm) if cluster else SimpleNamespace(potential=potential),  # type: ignore[arg-type]
        seed=seed,
        comm=comm,
    )


@cache
def ball_and_misfit() -> tuple[NDArray[np.float64], PoissonMisfit]:
    """The relaxed ball and the misfit of its counts, with exact transforms."""
    x = relaxed_ball(8.5)
    shard = local_shard(simulate(x, points=20), Communicator())
    return x, PoissonMisfit(shard, StructureFactor(shard.patches, 1e-9))


def hopping_crystal(part: float = 0.4, number: int = 12) -> tuple[NDArray[np.float64], ...]:
    """Atoms, vacant sites and the occupancies of both: some atoms are beside their place."""
    x = fcc_ball(10.0)
    vacant = vacant_sites(x, aluminium().bond_reach, aluminium().neighbour_distance)
    gap, partner = cKDTree(x).query(vacant)
    order = np.argsort(gap, kind="stable")
    _, first = np.unique(partner[order], return_index=True)
    chosen = order[np.sort(first)][:: max(1, len(first) // number)][:number]
    occupied = np.concatenate([np.ones(len(x)), np.zeros(len(vacant))])
    occupied[partner[chosen]] -= part
    occupied[len(x) + chosen] += part
    return x, vacant, occupied
