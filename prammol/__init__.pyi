__version__: str
__all__ = [
    "Atoms",
    "Beamline",
    "BraggPatch",
    "Diffraction",
    "Diffractometer",
    "EarlierState",
    "Metrics",
    "Potential",
    "PrammolError",
    "Reconstruction",
    "Support",
    "__version__",
    "aluminium",
    "change_surface",
    "choose_potential",
    "evaluate",
    "make_crystal",
    "masked_flaws",
    "orientation_from_peaks",
    "paper_patches",
    "plan",
    "plot_fit",
    "plot_plan",
    "plot_reconstruction",
    "read_atoms",
    "read_beamline",
    "read_diffraction",
    "read_reconstruction",
    "read_support",
    "reconstruct",
    "simulate",
    "support_from_file",
    "support_from_truth",
    "world",
    "write_atoms",
    "write_diffraction",
    "write_lammps_data",
    "write_reconstruction",
    "write_support",
]

from .core.errors import PrammolError as PrammolError
from .core.parallel import world as world
from .diffraction.beamline import Beamline as Beamline
from .diffraction.bragg_patch import BraggPatch as BraggPatch
from .diffraction.bragg_patch import paper_patches as paper_patches
from .diffraction.dataset import Diffraction as Diffraction
from .diffraction.detector_flaws import masked_flaws as masked_flaws
from .diffraction.diffractometer import Diffractometer as Diffractometer
from .diffraction.diffractometer import orientation_from_peaks as orientation_from_peaks
from .diffraction.support import Support as Support
from .diffraction.support import support_from_truth as support_from_truth
from .evaluation.metrics import Metrics as Metrics
from .evaluation.metrics import evaluate as evaluate
from .evaluation.plan import plan as plan
from .io.atoms import read_atoms as read_atoms
from .io.atoms import write_atoms as write_atoms
from .io.beamline import read_beamline as read_beamline
from .io.cxi import read_diffraction as read_diffraction
from .io.cxi import read_support as read_support
from .io.cxi import write_diffraction as write_diffraction
from .io.cxi import write_support as write_support
from .io.lammps_data import write_lammps_data as write_lammps_data
from .io.result import read_reconstruction as read_reconstruction
from .io.result import write_reconstruction as write_reconstruction
from .io.support_from_object import support_from_file as support_from_file
from .plotting.fit import plot_fit as plot_fit
from .plotting.plan import plot_plan as plot_plan
from .plotting.reconstruction import plot_reconstruction as plot_reconstruction
from .potentials.choose import choose_potential as choose_potential
from .potentials.potential import Potential as Potential
from .potentials.potential import aluminium as aluminium
from .reconstruction.earlier_state import EarlierState as EarlierState
from .reconstruction.loop import reconstruct as reconstruct
from .reconstruction.result import Reconstruction as Reconstruction
from .simulation.counts import simulate as simulate
from .simulation.samples import make_crystal as make_crystal
from .simulation.surface_changes import change_surface as change_surface
from .structure.atoms import Atoms as Atoms
