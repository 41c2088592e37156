"""Atoms written in the format that the name of the file promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike
from prammol.io.atoms import write_atoms
from prammol.io.crystal_files import kind_of_file, write_cif, write_poscar
from prammol.io.lammps_data import write_lammps_data
from prammol.io.lammps_dump import write_lammps_dump
from prammol.structure.atoms import Atoms

_BY_END: dict[str, Callable[..., Any]] = {
    ".lammpstrj": write_lammps_dump, ".dump": write_lammps_dump, ".lammps": write_lammps_data,
    ".data": write_lammps_data, ".xyz": write_atoms, ".extxyz": write_atoms,
}  # fmt: skip
_BY_KIND: dict[str, Callable[..., Any]] = {"cif": write_cif, "vasp": write_poscar}
# What files that can be written end with.
ENDINGS = (*_BY_END, ".cif", ".vasp")


def writes(path: PathLike) -> bool:
    """Tell whether :func:`write_as` knows the format that a name promises."""
    return Path(path).suffix.lower() in _BY_END or kind_of_file(Path(path)) in _BY_KIND


def write_as(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write atoms as XYZ, LAMMPS data or dump, CIF or POSCAR; only XYZ keeps all columns.

    Parameters
    ----------
    path : path
        Its name ends with one of ENDINGS, or is POSCAR or CONTCAR.
    atoms : Atoms
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If its name promises another format, there are no atoms or it can't be written.
    """
    path = Path(path)
    if not writes(path):
        msg = f"{path}: can't write {path.suffix or 'no suffix'}, expected {', '.join(ENDINGS)}"
        raise InputError(msg)
    write = _BY_END.get(path.suffix.lower()) or _BY_KIND[kind_of_file(path)]
    if write is write_lammps_data:
        masses = {name: gemmi.Element(name).weight for name in atoms.elements}
        write_lammps_data(path, atoms, masses, force)
    else:
        write(path, atoms, force=force)
