"""Files: everything read and written, each reader with one sentence for what is wrong.

A reader takes a path and returns the object, or raises
:class:`prammol.core.errors.InputError` naming the file, the field and what was expected. The
writers are atomic and refuse to replace a file unless ``force`` is given. No section of the
paper: it publishes no files.
"""

from __future__ import annotations

from prammol.io.arrays import read_background
from prammol.io.atomic_write import naming, replacing, require_absent, unwritable
from prammol.io.atoms import read_atoms, write_atoms
from prammol.io.beamline import read_beamline
from prammol.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from prammol.io.cxi import read_diffraction, read_support, write_diffraction, write_support
from prammol.io.instrument import read_instrument
from prammol.io.lammps_data import write_lammps_data
from prammol.io.mapping_files import read_mapping
from prammol.io.mean_amplitude import read_mean_amplitude, write_mean_amplitude
from prammol.io.mean_scattering import read_mean_scattering, write_mean_scattering
from prammol.io.provenance import provenance
from prammol.io.result import read_reconstruction, write_reconstruction
from prammol.io.scans import write_scans, write_truth
from prammol.io.support_from_object import support_from_file
from prammol.io.trajectory import append_frame, read_trajectory

__all__ = [
    "Checkpoint",
    "append_frame",
    "naming",
    "provenance",
    "read_atoms",
    "read_background",
    "read_beamline",
    "read_checkpoint",
    "read_diffraction",
    "read_instrument",
    "read_mapping",
    "read_mean_amplitude",
    "read_mean_scattering",
    "read_reconstruction",
    "read_support",
    "read_trajectory",
    "replacing",
    "require_absent",
    "support_from_file",
    "unwritable",
    "write_atoms",
    "write_checkpoint",
    "write_diffraction",
    "write_lammps_data",
    "write_mean_amplitude",
    "write_mean_scattering",
    "write_reconstruction",
    "write_scans",
    "write_support",
    "write_truth",
]
