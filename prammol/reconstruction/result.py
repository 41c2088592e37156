"""What a reconstruction gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prammol.diffraction.calibration import Calibration
from prammol.structure.atoms import Atoms


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The atoms found, how they were found and by what.

    Attributes
    ----------
    atoms : Atoms
        Positions [Å] with a column ``energy`` [eV].
    scale : float
        C, the amplitude one atom scatters into one point [sqrt(photons)].
    history : list of dict
        One record per iteration: ``iteration, log_likelihood, atoms, added,
        removed, scale, energy`` [eV], ``energy_per_atom`` [eV], ``seconds``, ...
    converged : bool
        Whether it ended because the atoms explain the data or, where the preset doesn't
        judge that, because no new model was selected any more.
    reason : str
        Why it ended: ``converged``, ``patience``, ``max_iterations``, or that a single change would explain
        more.
    wall_s, core_s : float
        Wall time, and processor time of all ranks together [s].
    ranks : int
        MPI ranks.
    seed : int
        Seed of all random choices.
    preset : str
        Name of the preset.
    settings : mapping
        Every setting of every stage.
    provenance : mapping
        See :func:`prammol.io.provenance.provenance`.
    density : Atoms or None
        Sites of a warm crystal and the part of the time each is occupied, see
        :func:`prammol.reconstruction.uncertainty.mean_density.mean_density`.
    calibration : Calibration or None
        Scales and geometry of the patches where they differ from those of the file.
    """

    atoms: Atoms
    scale: float
    history: Sequence[Mapping[str, Any]] = ()
    converged: bool = False
    reason: str = ""
    wall_s: float = 0.0
    core_s: float = 0.0
    ranks: int = 1
    seed: int = 0
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    density: Atoms | None = None
    calibration: Calibration | None = None

    @property
    def iterations(self) -> int:
        """Iterations done, 0 if no history was kept."""
        return int(self.history[-1]["iteration"]) if self.history else 0

    def summary(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says about the run itself."""
        return {
            "iterations": self.iterations,
            "converged": self.converged,
            "wall_s": self.wall_s,
            "core_s": self.core_s,
            "ranks": self.ranks,
            "seed": self.seed,
            "preset": self.preset,
        }
