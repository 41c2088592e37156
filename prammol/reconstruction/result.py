"""What a reconstruction gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prammol.diffraction.calibration import Calibration
from prammol.structure.atoms import Atoms

_EFFECTS = {
    "scale": "another scale of {}",
    "offset": "an offset of {}",
    "rotation": "a rotation of {}",
    "background": "a background in {}",
    "even strain": "an even strain of the crystal",
    "blur": "partial coherence or the size of the pixels",
    "thermal motion": "thermal motion",
    "diffuse scattering": "diffuse scattering",
    "form factor": "the form factor within the patches",
    "saturation": "saturation of {}",
    "hot points": "wrong counts in {}",
    "addition": "one atom more at {}",
    "removal": "one atom less at {}",
    "exchange": "an atom moved to {}",
    "strain taken": "the crystal is strained evenly by {}",
    "matter": "matter that isn't the crystal beside it",
    "held atoms": "atoms are held from outside, {}",
    "unseen grain": "some patches see a grain that others don't, {}",
    "inverted mask": "the mask seems to be inverted: most photons are in masked points",
    "inverted support": "the support seems to be inverted: most atoms are outside of it",
}
_MOST = 0.5  # derived: more than a half


@dataclass(frozen=True)
class Cause:
    """An effect that would explain a part of the misfit.

    Attributes
    ----------
    effect : str
        ``scale``, ``offset``, ``rotation``, ``background``, ``even strain``, ``blur``,
        ``thermal motion``, ``diffuse scattering``, ``form factor``, ``saturation``,
        ``hot points``, ``addition``, ``removal``, ``exchange``, ``strain taken``,
        ``held atoms``, ``matter``, ``unseen grain``, ``inverted mask`` or ``inverted support``.
    where : str
        In which patches, points or place; empty if everywhere.
    explains : float
        Which part of the misfit beyond noise; NaN if that isn't known.
    gain : float
        By how much it lowers the misfit, a log-likelihood; NaN if that isn't known.
    """

    effect: str
    where: str
    explains: float
    gain: float

    @property
    def name(self) -> str:
        """The effect in words, such as "an offset of patch 2"."""
        return _EFFECTS.get(self.effect, self.effect).format(self.where)

    def text(self) -> str:
        """Return a sentence."""
        if math.isnan(self.gain):
            return self.name
        if math.isnan(self.explains):
            return f"{self.name} would raise the log-likelihood by {self.gain:.5g}"
        percent = 100 * min(self.explains, 1.0)
        if self.explains < _MOST:
            return f"no single effect explains most of it, {self.name} {percent:.0f} %"
        return f"{self.name} would explain {percent:.0f} % of it"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The atoms found, how they were found and by what.

    Attributes
    ----------
    atoms : Atoms
        Positions [Å] with columns: ``energy`` [eV], error bars, and what
        :func:`prammol.structure.crystal_fields.crystal_fields` tells of the lattice.
    scale : float
        C, the amplitude one atom scatters into one point [sqrt(photons)].
    history : list of dict
        One record per iteration: ``iteration, log_likelihood, atoms, added,
        removed, scale, energy`` [eV], ``energy_per_atom`` [eV], ``seconds``, ...
    converged : bool
        Whether it ended because the atoms explain the data or, where the preset doesn't
        judge that, because no new model was selected any more.
    reason : str
        Why it ended: ``converged``, ``patience``, ``max_iterations``, that a single change would
        explain more, or ``strain or geometry``: wrong positions of the patches, said to be
        known, would explain the counts as well.
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
    vacant : Atoms or None
        Sites without an atom: those that may hold one after all, and those of an earlier state
        whose atoms left. ``occupancy_confidence`` is the probability that one is there, and
        ``earlier_confidence`` that one was.
    calibration : Calibration or None
        Scales and geometry of the patches where they differ from those of the file.
    diagnosis : tuple of Cause
        What would explain the misfit, the largest part first; if the atoms explain it, an even
        strain that the counts put on them.
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
    vacant: Atoms | None = None
    calibration: Calibration | None = None
    diagnosis: Sequence[Cause] = ()

    @property
    def misfit_sigma(self) -> float | None:
        """By how many standard deviations the misfit exceeds noise, None if that isn't known."""
        excess = self.history[-1].get("excess") if self.history else None
        return None if excess is None else float(excess)

    def misfit_text(self) -> str:
        """Return the misfit in standard deviations, and what would explain it, in words."""
        sigma = self.misfit_sigma
        known = "unknown" if sigma is None else f"{abs(sigma):.3g} sigma "
        if sigma is not None:
            known += "beyond noise" if sigma >= 0 else "below the mean of noise"
        return "; ".join([known, *(cause.text() for cause in self.diagnosis[:1])])

    @property
    def iterations(self) -> int:
        """Iterations done, 0 if no history was kept."""
        return int(self.history[-1]["iteration"]) if self.history else 0

    def summary(self) -> dict[str, Any]:
        """Return what ``metrics.json`` says about the run itself."""
        return {
            "iterations": self.iterations,
            "converged": self.converged,
            "misfit_sigma": self.misfit_sigma,
            "cause": self.diagnosis[0].name if self.diagnosis else None,
            "wall_s": self.wall_s,
            "core_s": self.core_s,
            "ranks": self.ranks,
            "seed": self.seed,
            "preset": self.preset,
        }
