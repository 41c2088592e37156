"""Energies and forces of a calculator of ASE, handed to LAMMPS.

LAMMPS minimises and moves the atoms as with its own potentials, and asks the calculator through
its ``fix external``. The first rank computes all atoms, the others wait: a calculator knows no
ranks.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import PotentialError
from prammol.potentials.potential import Potential

_FIX = "calculator"


def attach(lmp: Any, potential: Potential) -> None:
    """Let a calculator give the energies and forces of a LAMMPS that has a box.

    What goes wrong in the calculator is kept as ``lmp.failure``: LAMMPS drops exceptions.

    Parameters
    ----------
    lmp : lammps
        Its attribute ``ranks`` is the communicator of mpi4py, or None.
    potential : Potential
        With a calculator.

    Raises
    ------
    PotentialError
        If there is no such calculator.
    """
    calculator = make_calculator(str(potential.calculator))
    calculator.reset()  # its lists of neighbours depend on what was computed before
    elements = dict(zip(potential.types, potential.elements, strict=True))
    atoms = ase.Atoms()
    lmp.failure = None
    comm = lmp.ranks

    def compute(number: int, x: NDArray[np.float64], kinds: NDArray[np.int_]) -> tuple[Any, ...]:
        low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
        nonlocal atoms
        edges = np.subtract(high, low)
        if len(atoms) != number:
            names = [elements[kind] for kind in kinds.tolist()]
            atoms = ase.Atoms(names, x, pbc=periodic, calculator=calculator)
        atoms.set_cell([[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]])
        atoms.set_positions(x)
        forces = atoms.get_forces()
        return atoms.get_potential_energies(), forces

    def answer(_caller: Any, _step: int, n: int, tag: Any, x: Any, f: Any) -> None:
        kinds = np.array(lmp.numpy.extract_atom("type")[:n])
        own = (np.array(tag).ravel(), np.array(x).reshape(-1, 3), kinds)
        parts = [own] if comm is None else comm.allgather(own)
        tags, places, types = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(tags)
        found: Any = None
        if lmp.failure is None and (comm is None or comm.rank == 0):
            try:
                found = compute(len(tags), places[order], types[order])
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
        found = found if comm is None else comm.bcast(found)
        if found is None or isinstance(found, str):
            lmp.failure = lmp.failure or found
            f[:] = 0.0
            return
        energies, forces = found
        mine = own[0] - 1
        f[:] = forces[mine]
        lmp.fix_external_set_energy_global(_FIX, float(energies.sum()))
        lmp.fix_external_set_energy_peratom(_FIX, energies[mine].tolist())

    lmp.command(f"fix {_FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {_FIX} energy yes")
    lmp.set_fix_external_callback(_FIX, answer, lmp)


@cache
def make_calculator(name: str) -> Any:
    """Return the calculator that MODULE:NAME makes when it is called without arguments.

    Raises
    ------
    PotentialError
        If it can't, or if the calculator doesn't give the energy of each atom.
    """
    module, _, function = name.partition(":")
    try:
        calculator = getattr(importlib.import_module(module), function)()
        properties = calculator.implemented_properties
    except Exception as error:
        msg = (
            f"pair_style ase {name}: {type(error).__name__}: {error}; expected MODULE:NAME of an "
            "ASE calculator that needs no arguments"
        )
        raise PotentialError(msg) from error
    missing = [each for each in ("energies", "forces") if each not in properties]
    if missing:
        msg = (
            f"pair_style ase {name}: the calculator doesn't give {' and '.join(missing)}, expected "
            "the energy of each atom and the forces"
        )
        raise PotentialError(msg)
    return calculator
