"""prammol: every atom of a nanocrystal from coherent diffraction.

>>> import prammol
>>> truth = prammol.make_crystal("vacancy")
>>> data = prammol.simulate(truth, flux=1e20, seed=1)
>>> support = prammol.support_from_truth(truth, resolution=5.0)
>>> result = prammol.reconstruct(data, support, seed=1)
>>> prammol.evaluate(result.atoms, truth).n_missing
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Looked up on first use: `import prammol` is instant.
_HOME = {
    "Atoms": "atoms",
    "BraggPatch": "patches",
    "Diffraction": "diffraction",
    "Diffractometer": "geometry",
    "Metrics": "evaluate",
    "Potential": "potentials",
    "PrammolError": "errors",
    "Reconstruction": "result",
    "Support": "support",
    "aluminium": "potentials",
    "choose_potential": "potential_options",
    "evaluate": "evaluate",
    "make_crystal": "crystals",
    "orientation_from_peaks": "geometry",
    "paper_patches": "patches",
    "plot_reconstruction": "plot",
    "read_atoms": "io",
    "read_diffraction": "io",
    "read_reconstruction": "io",
    "read_support": "io",
    "reconstruct": "reconstruct",
    "simulate": "simulate",
    "support_from_file": "support_files",
    "support_from_truth": "support",
    "world": "comm",
    "write_atoms": "io",
    "write_diffraction": "io",
    "write_lammps_data": "io",
    "write_reconstruction": "io",
    "write_support": "io",
}
__all__ = ["__version__", *_HOME]  # noqa: PLE0604  (all keys are text)

if TYPE_CHECKING:
    from prammol.atoms import Atoms as Atoms
    from prammol.comm import world as world
    from prammol.crystals import make_crystal as make_crystal
    from prammol.diffraction import Diffraction as Diffraction
    from prammol.errors import PrammolError as PrammolError
    from prammol.evaluate import Metrics as Metrics
    from prammol.evaluate import evaluate as evaluate
    from prammol.geometry import Diffractometer as Diffractometer
    from prammol.geometry import orientation_from_peaks as orientation_from_peaks
    from prammol.io import read_atoms as read_atoms
    from prammol.io import read_diffraction as read_diffraction
    from prammol.io import read_reconstruction as read_reconstruction
    from prammol.io import read_support as read_support
    from prammol.io import write_atoms as write_atoms
    from prammol.io import write_diffraction as write_diffraction
    from prammol.io import write_lammps_data as write_lammps_data
    from prammol.io import write_reconstruction as write_reconstruction
    from prammol.io import write_support as write_support
    from prammol.patches import BraggPatch as BraggPatch
    from prammol.patches import paper_patches as paper_patches
    from prammol.plot import plot_reconstruction as plot_reconstruction
    from prammol.potential_options import choose_potential as choose_potential
    from prammol.potentials import Potential as Potential
    from prammol.potentials import aluminium as aluminium
    from prammol.reconstruct import reconstruct as reconstruct
    from prammol.result import Reconstruction as Reconstruction
    from prammol.simulate import simulate as simulate
    from prammol.support import Support as Support
    from prammol.support import support_from_truth as support_from_truth
    from prammol.support_files import support_from_file as support_from_file


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'prammol' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"prammol.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps a function such as ``prammol.evaluate`` from being hidden by its own module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
