"""Communicators: one interface with and without MPI.

Numerical code never imports mpi4py; it is handed a :class:`Communicator`.
Results of collective sums are reduced on rank 0 and broadcast, so that all
ranks hold the same bits and take the same decisions.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from prammol.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Communicator:
    """A single process: rank 0 of 1. Base class of the MPI communicator."""

    rank: int = 0
    size: int = 1

    @property
    def mpi(self) -> Any:
        """The mpi4py communicator to hand to other libraries, or None."""
        return None

    @property
    def is_root(self) -> bool:
        """True on the one rank that writes files and prints."""
        return self.rank == 0

    def allreduce(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum an array over the ranks; every rank gets the same bits."""
        return values

    def sum(self, value: float) -> float:
        """Sum a number over the ranks."""
        return value

    def max(self, value: float) -> float:
        """Return the largest value over the ranks."""
        return value

    def bcast(self, value: Any) -> Any:
        """Return rank 0's object on every rank."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Collect one object per rank, in rank order, on every rank."""
        return [value]

    def barrier(self) -> None:
        """Wait for all ranks."""

    def abort(self, code: int = 1) -> None:
        """End all ranks."""
        os._exit(code)


class MPICommunicator(Communicator):
    """All ranks of an mpi4py communicator.

    Parameters
    ----------
    mpi_comm : mpi4py.MPI.Comm
        The communicator to use.
    """

    def __init__(self, mpi_comm: Any) -> None:
        self._comm = mpi_comm
        self.rank = mpi_comm.Get_rank()
        self.size = mpi_comm.Get_size()

    @property
    def mpi(self) -> Any:
        return self._comm

    def allreduce(self, values: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        values = np.ascontiguousarray(values)
        if self.size == 1:
            return values
        total = np.empty_like(values)
        # Reduce and broadcast instead of Allreduce: MPI allows an Allreduce to
        # give different last bits on different ranks.
        self._comm.Reduce(values, total, root=0)
        self._comm.Bcast(total, root=0)
        return total

    def sum(self, value: float) -> float:
        import numpy as np

        return float(self.allreduce(np.array([value], dtype=float))[0])

    def max(self, value: float) -> float:
        return float(max(self._comm.allgather(float(value))))

    def bcast(self, value: Any) -> Any:
        return self._comm.bcast(value, root=0)

    def gather(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def barrier(self) -> None:
        self._comm.Barrier()

    def abort(self, code: int = 1) -> None:
        self._comm.Abort(code)


def world() -> Communicator:
    """Return the communicator of this job: MPI's world, or a single process.

    Returns
    -------
    Communicator
        An :class:`MPICommunicator` if mpi4py can be imported, else a plain
        :class:`Communicator`.

    Raises
    ------
    InputError
        If the environment variable ``PRAMMOL_RANKS`` expects another number of ranks. A
        launcher that doesn't fit the MPI library starts N jobs of one rank, not one of N.
    """
    try:
        from mpi4py import MPI
    except ImportError:
        comm = Communicator()
    else:
        comm = MPICommunicator(MPI.COMM_WORLD)
    expected = os.environ.get("PRAMMOL_RANKS") or str(comm.size)
    if expected != str(comm.size):
        msg = (
            f"PRAMMOL_RANKS expects {expected} ranks, MPI has {comm.size}: the launcher doesn't "
            "fit the MPI library (MPICH under SLURM: srun --mpi=pmi2)"
        )
        raise InputError(msg)
    return comm


def abort_on_exception(comm: Communicator) -> None:
    """End the whole job when one rank raises, instead of leaving it to hang.

    Installs a ``sys.excepthook`` that prints the traceback with the rank that
    raised it and aborts all ranks. Does nothing in a single process.
    """
    if comm.size == 1:
        return

    def hook(kind: Any, value: Any, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, value, trace))
        sys.stderr.write(f"rank {comm.rank} of {comm.size}:\n{text}")
        sys.stderr.flush()
        time.sleep(0.5)  # mpiexec may otherwise end the job before it has passed the text on
        comm.abort(1)

    sys.excepthook = hook


def share(total: int, rank: int, size: int) -> tuple[int, int]:
    """Return the contiguous range ``[start, stop)`` of ``total`` items of a rank.

    The ranges of all ranks are disjoint, cover everything and differ in length
    by at most one.
    """
    base, extra = divmod(total, size)
    start = rank * base + min(rank, extra)
    return start, start + base + (rank < extra)
