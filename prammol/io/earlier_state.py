"""The earlier state of a crystal: a result, or atoms in any file that is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, naming
from prammol.io.atoms import read_atoms
from prammol.io.result import read_reconstruction
from prammol.potentials.potential import Potential
from prammol.reconstruction.earlier_state import EarlierState
from prammol.structure.atoms import Atoms


@dataclass(frozen=True, eq=False)
class Before:
    """What a file tells of an earlier state.

    Attributes
    ----------
    atoms : Atoms
    vacant : Atoms or None
        See :class:`prammol.reconstruction.result.Reconstruction`.
    origin : dict
        Its ``file``, ``sha256`` and number of ``atoms``; of a result, whether it ``converged``.
    """

    atoms: Atoms
    vacant: Atoms | None
    origin: dict[str, Any]


def read_earlier_state(path: PathLike, potential: Potential) -> Before:
    """Read a result in HDF5, or atoms as XYZ, LAMMPS data or CIF.

    Parameters
    ----------
    path : path
    potential : Potential
        Whose crystal it has to be.

    Raises
    ------
    InputError
        If it can't be read, or isn't of the potential's crystal.
    """
    path = Path(path)
    origin: dict[str, Any] = {}
    vacant = None
    if path.suffix.lower() == ".cif":
        atoms = read_cif(path)
    elif path.is_file() and h5py.is_hdf5(path):
        result = read_reconstruction(path)
        atoms, vacant, origin["converged"] = result.atoms, result.vacant, result.converged
    else:
        atoms = read_atoms(path, several=True)
    with naming(path):
        EarlierState.of(atoms).require_like(potential)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"file": path.name, "sha256": digest, "atoms": len(atoms)}
    return Before(atoms, vacant, known | origin)


def read_cif(path: PathLike) -> Atoms:
    """Read the atoms that a CIF lists, without copies by its symmetry.

    Raises
    ------
    InputError
        If it can't be read, or lists none.
    """
    path = Path(path)
    try:
        crystal = gemmi.read_small_structure(str(path))
        places = [crystal.cell.orthogonalize(site.fract).tolist() for site in crystal.sites]
        symbols = np.array([site.element.name for site in crystal.sites])
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"{path}: can't be read as CIF ({error})"
        raise InputError(msg) from error
    if not places:
        msg = f"{path}: lists no atoms, expected _atom_site_fract_x, y and z"
        raise InputError(msg)
    with naming(path):
        return Atoms.of_elements(np.array(places), symbols)
