"""How much memory and time a reconstruction will take, before it starts."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prammol.cli import messages
from prammol.core.errors import DataError
from prammol.core.memory import free_bytes
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, shard
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.potentials.potential import Potential
from prammol.reconstruction.presets import get_preset

# Fitted to the peaks of whole runs, docs/results/memory.csv; docs/explanation/parallel.md has them.
# chosen: those of 2000 atoms; not varied
BASE_BYTES = 215e6  # Python, numpy, LAMMPS and MPI before any data
# chosen: 2000 atoms with 165 000 and 1.3 million points; not varied
BYTES_PER_POINT = 90  # counts, masks, numbers, and the fields that a stage holds at a time
# chosen: ducc0 0.42, 10^6 points; 32 to 45
BYTES_PER_GRID_POINT = 40  # of the one patch that is transformed at a time
# Candidates around the surface and their pairs, of which there are as many as atoms^(2/3).
# chosen: peaks of 2000 to 30 000 atoms; 0.2 to 0.6 MB (default)
BYTES_OF_SURFACE = {"paper": 30_000, "default": 250_000}
# Positions, forces, neighbours in LAMMPS.
# chosen: 1000 and 5000 atoms, preset paper; not varied
BYTES_PER_ATOM = 1000
# What a start and an iteration cost in gradients, at least and at most. Of paper the start is a
# lattice, and one crystal of 4679 atoms is all that was timed.
# chosen: seven crystals of 300 to 4679 atoms, 1e16 to 1e20; no other runs were looked at
GRADIENTS = {"paper": ((1, 20), (20, 20)), "default": ((50, 150), (30, 180))}


@dataclass(frozen=True)
class Estimate:
    """What a reconstruction needs.

    Attributes
    ----------
    atoms : float
        Atoms that fill the support.
    points : int
        Points of the data.
    bytes_per_rank : float
        Memory of the largest rank.
    gradient_s : float
        Measured time of the likelihood with its gradient, on all ranks together [s].
    start_s, iteration_s : (2,) tuple of float
        What one start and one iteration take, at least and at most [s].
    starts : int
        Starts that are tried at most.
    """

    atoms: float
    points: int
    bytes_per_rank: float
    gradient_s: float
    start_s: tuple[float, float]
    iteration_s: tuple[float, float]
    starts: int

    def text(self) -> str:
        """Return one sentence for a person."""
        return (
            f"{self.points} points, about {self.atoms:.0f} atoms in the support, "
            f"{self.bytes_per_rank / 1e9:.2f} GB per rank, "
            f"{_span(*self.start_s)} for each of at most {self.starts} starts, "
            f"{_span(*self.iteration_s)} for an iteration"
        )


def estimate(
    data: Diffraction,
    support: Support,
    potential: Potential,
    comm: Communicator,
    preset: str = "default",
    threads: int = 1,
    epsilon: float = 1e-9,
) -> Estimate:
    """Measure one gradient on this rank's points, and compute the rest.

    Called together by all ranks.

    Parameters
    ----------
    data : Diffraction
    support : Support
    potential : Potential
    comm : Communicator
    preset : str
        Name of the preset.
    threads : int
        Threads per rank.
    epsilon : float
        Accuracy of the transforms.
    """
    start, iteration = GRADIENTS.get(preset, GRADIENTS["paper"])
    atoms = support.volume / potential.atomic_volume
    patches = _slabs(data, comm)
    gradient = comm.max(_one_gradient(patches, support, int(atoms), threads, epsilon))
    return Estimate(
        atoms=atoms,
        points=sum(p.size for p in data.patches),
        bytes_per_rank=comm.max(memory(patches, data, atoms, preset)),
        gradient_s=gradient,
        start_s=_times(gradient, start),
        iteration_s=_times(gradient, iteration),
        starts=get_preset(preset).control.starts,
    )


def _times(seconds: float, numbers: tuple[int, int]) -> tuple[float, float]:
    return seconds * numbers[0], seconds * numbers[1]


def _span(least: float, most: float) -> str:
    """Return two times in words [s]."""
    low, high = (f"{t:.0f}" if t >= 10 else f"{t:.1g}" for t in (least, most))
    return f"about {low} s" if low == high else f"{low} to {high} s"


def memory(
    patches: Sequence[BraggPatch], data: Diffraction, atoms: float, preset: str = "paper"
) -> float:
    """Return the bytes a rank needs that owns some slabs of the data."""
    # Every rank keeps the counts and masks as they were read, and a copy arrives by MPI.
    read = sum(c.nbytes + v.nbytes for c, v in zip(data.counts, data.valid, strict=True))
    own = sum(p.size for p in patches)
    grid = max((p.size for p in patches), default=0)
    return (
        BASE_BYTES
        + 2 * read
        + own * BYTES_PER_POINT
        + grid * BYTES_PER_GRID_POINT
        + atoms * BYTES_PER_ATOM
        + atoms ** (2 / 3) * BYTES_OF_SURFACE.get(preset, BYTES_OF_SURFACE["paper"])
    )


def require_memory(
    needs: Estimate, data: Diffraction, comm: Communicator, preset: str, forced: bool = False
) -> None:
    """Refuse what doesn't fit into the memory that is free; called together by all ranks.

    Parameters
    ----------
    needs : Estimate
    data : Diffraction
    comm : Communicator
    preset : str
    forced : bool
        Warn instead of refusing.

    Raises
    ------
    DataError
        With the number of ranks that are enough, one to a node of so much memory.
    """
    nodes: dict[str, list[float]] = {}
    for name, free in comm.gather((platform.node(), free_bytes())):
        nodes.setdefault(name, []).append(free)
    free, ranks = min(((min(f), len(f)) for f in nodes.values()), key=lambda n: n[0] / n[1])
    if needs.bytes_per_rank * ranks <= free:
        return
    sizes = range(1, sum(p.shape[0] for p in data.patches) + 1)
    enough = (n for n in sizes if _of_first_rank(data, needs.atoms, preset, n) <= free)
    number = next(enough, None)
    advice = "no number of ranks makes it fit"
    if number is not None:
        advice = f"expected at least {number} rank{'s' if number > 1 else ''}, one on each node"
    msg = (
        f"{data.source}: needs about {needs.bytes_per_rank / 1e9:.1f} GB on each of {ranks} "
        f"rank{'s' if ranks > 1 else ''} of a node, where {free / 1e9:.1f} GB are free; {advice}"
    )
    if not forced:
        raise DataError(msg)
    if comm.is_root:
        messages.warn(msg)


class _First(Communicator):
    """The first of some ranks, which has as many planes as any."""

    def __init__(self, size: int) -> None:
        self.size = size


def _of_first_rank(data: Diffraction, atoms: float, preset: str, ranks: int) -> float:
    """Return the bytes that one of so many ranks needs."""
    return memory(_slabs(data, _First(ranks)), data, atoms, preset)


def _slabs(data: Diffraction, comm: Communicator) -> list[BraggPatch]:
    return [data.patches[s.patch_index].planes(s.start, s.stop) for s in shard(data.patches, comm)]


def _one_gradient(
    patches: Sequence[BraggPatch], support: Support, atoms: int, threads: int, epsilon: float
) -> float:
    rng = np.random.default_rng(0)
    centres = support.centres()
    x = centres[rng.integers(len(centres), size=max(atoms, 1))]
    x = x + rng.uniform(-0.5, 0.5, x.shape) @ support.voxel
    factor = StructureFactor(patches, epsilon, threads)
    times = []
    for _ in range(3):  # the shortest is the one other programs disturbed least
        begin = time.perf_counter()
        factor.adjoint_moments(factor.forward(x), x)
        times.append(time.perf_counter() - begin)
    return min(times)


def cores_of_this_job(comm: Communicator) -> tuple[int, int]:
    """Return the processor cores of the fullest node and the ranks that run on it."""
    mine = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    nodes: dict[str, tuple[set[int], int]] = {}
    for name, cores in comm.gather((platform.node(), set(mine))):
        known, ranks = nodes.get(name, (set(), 0))
        nodes[name] = (known | cores, ranks + 1)
    return min(((len(cores), ranks) for cores, ranks in nodes.values()), key=lambda n: n[0] / n[1])


def warn_of_oversubscription(comm: Communicator, threads: int) -> None:
    """Say so if there are more threads than cores."""
    cores, ranks = cores_of_this_job(comm)
    if comm.is_root and ranks * threads > cores:
        messages.warn(
            f"{ranks} ranks x {threads} threads on {cores} cores, "
            "this is slower than one thread per core"
        )
