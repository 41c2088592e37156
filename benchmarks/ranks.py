"""What more ranks would give: a model from measured shares of the work and counted communication.

    OMP_NUM_THREADS=1 python benchmarks/ranks.py --atoms 4679 30000 100000 -o ranks.csv

This makes docs/results/ranks.csv; no picture. Nothing here runs on a network. For each number of
ranks the share of the slowest rank is measured in one process: one likelihood with its gradient on
its slabs alone, all atoms included. The sums it needs are counted, and cost `2 log2(ranks)`
messages each (a reduction and a broadcast along a tree) at the latency and bandwidth given. LAMMPS
isn't in it. --count adds how often and how much a reconstruction of the vacancy crystal
communicates, by iteration.
"""

from __future__ import annotations

import argparse
import time
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
from growth import EPSILON, FLUX, patches_for, shaken_ball
from numpy.typing import NDArray
from provenance import provenance, write_rows

from prammol.core.memory import keep_freed_memory
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import support_from_truth
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.history import Record
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.state import State
from prammol.simulation.averages import MeanAmplitude
from prammol.simulation.counts import draw_counts, simulate
from prammol.simulation.samples import make_crystal

RANKS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class OneOf(Communicator):
    """A rank of many that is alone: its own share, and sums that are counted, not made."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.sums = self.bytes = 0

    def allreduce(self, values: NDArray[Any]) -> NDArray[Any]:
        self.sums += 1
        self.bytes += np.asarray(values).nbytes
        return values

    def sum(self, value: float) -> float:
        return float(self.allreduce(np.array([value]))[0])


def share(data: Diffraction, x: NDArray[np.float64], rank: int, size: int) -> dict[str, float]:
    """Return the seconds of one rank's part of a gradient, and what it communicates."""
    comm = OneOf(rank, size)
    shard = local_shard(data, comm)
    misfit = PoissonMisfit(shard, StructureFactor(shard.patches, EPSILON))
    scale = misfit(x).scale
    best = np.inf
    for _ in range(5):  # the shortest is the one other programs disturbed least
        comm.sums = comm.bytes = 0
        begin = time.process_time()
        misfit(x, positions=True, scale=scale)
        best = min(best, time.process_time() - begin)
    return {"seconds": best, "sums": comm.sums, "bytes": comm.bytes}


def model(atoms: int, latency: float, bandwidth: float) -> list[dict[str, Any]]:
    """Return one row for each number of ranks."""
    x = shaken_ball(atoms, np.random.default_rng(1))
    patches = patches_for(atoms)
    omega = StructureFactor(patches, EPSILON).forward(x)
    data = draw_counts(MeanAmplitude(omega, patches, "Al"), FLUX, 1)
    planes = sum(p.shape[0] for p in patches)
    rows: list[dict[str, Any]] = []
    for size in (r for r in RANKS if r <= planes):
        # The first rank has the most planes; one in the middle may own parts of two patches.
        parts = [share(data, x, rank, size) for rank in {0, size // 3, size // 2}]
        slowest = max(parts, key=lambda part: part["seconds"])
        messages = 2 * ceil(log2(size))
        network = messages * (slowest["sums"] * latency + slowest["bytes"] / bandwidth)
        total = slowest["seconds"] + network
        rows.append({
            "atoms": atoms, "planes": planes, "ranks": size,
            "share_s": slowest["seconds"], "sums": slowest["sums"], "bytes": slowest["bytes"],
            "network_s": network, "speedup": (rows[0]["share_s"] if rows else total) / total,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def count() -> None:
    """Print what each iteration of the reconstruction of the vacancy crystal communicates."""
    truth = make_crystal("vacancy")
    comm = OneOf()
    data = simulate(truth, FLUX, 1)

    class Report(Observer):
        def iterated(self, state: State, history: list[Record]) -> None:
            record = history[-1]
            print(
                f"iteration {record['iteration']} ({', '.join(record['stages'])}): "
                f"{comm.sums} sums of {comm.bytes / 1e6:.1f} MB in all"
            )
            comm.sums = comm.bytes = 0

    reconstruct(data, support_from_truth(truth), seed=1, comm=comm, observer=Report())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[4679])
    parser.add_argument("--latency", type=float, default=2e-6, help="of a message [s]")
    parser.add_argument("--bandwidth", type=float, default=1e10, help="[bytes/s]")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table, CSV")
    options = parser.parse_args()
    keep_freed_memory()  # as a reconstruction does
    rows = [row for n in options.atoms for row in model(n, options.latency, options.bandwidth)]
    write_rows(options.output, rows, provenance())
    if options.count:
        count()


if __name__ == "__main__":
    main()
