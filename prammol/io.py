"""Reading and writing: everything a user needs, in one place.

``read_atoms``, ``read_diffraction``, ``read_support`` and ``read_reconstruction`` take a path and
return the object, or raise :class:`prammol.errors.InputError` with one sentence that
names the file and what is wrong. The writers are atomic and refuse to replace a file
unless ``force`` is given.
"""

from __future__ import annotations

from prammol.io_atoms import read_atoms, write_atoms, write_lammps_data
from prammol.io_diffraction import read_diffraction, read_support, write_diffraction, write_support
from prammol.io_files import replacing, require_absent
from prammol.io_result import read_reconstruction, write_reconstruction
from prammol.provenance import provenance

__all__ = [
    "provenance",
    "read_atoms",
    "read_diffraction",
    "read_reconstruction",
    "read_support",
    "replacing",
    "require_absent",
    "write_atoms",
    "write_diffraction",
    "write_lammps_data",
    "write_reconstruction",
    "write_support",
]
