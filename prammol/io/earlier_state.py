"""The earlier state of a crystal: a result, or atoms in any file that is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

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
    """Read a result in HDF5, or atoms in any file of :func:`prammol.io.atoms.read_atoms`.

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
    if path.is_file() and h5py.is_hdf5(path):
        result = read_reconstruction(path)
        atoms, vacant, origin["converged"] = result.atoms, result.vacant, result.converged
    else:
        atoms = read_atoms(path, several=True)
    with naming(path):
        EarlierState.of(atoms).require_like(potential)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"file": path.name, "sha256": digest, "atoms": len(atoms)}
    return Before(atoms, vacant, known | origin)
