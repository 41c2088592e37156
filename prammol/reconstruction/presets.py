"""Presets: named lists of stages with their settings.

``paper`` is Algorithm 1 of Meziere et al. 2024, ``paper-random`` the same from a random
number of atoms at random places; ``default`` is the best we know:
phase the patches, synthesise the sites, fit their occupancies, then complete the
object by difference synthesis, and at the end let the data move the atoms. Every
setting is a field of a stage and is changed by name, ``{"fit_positions.fraction": 0.01,
"patience": 20}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from prammol.core.errors import InputError
from prammol.reconstruction.stages.default.anneal import Anneal
from prammol.reconstruction.stages.default.choose_sites import ChooseSites
from prammol.reconstruction.stages.default.complete_atoms import CompleteAtoms
from prammol.reconstruction.stages.default.phase_patches import PhasePatches
from prammol.reconstruction.stages.default.reconsider_atoms import ReconsiderAtoms
from prammol.reconstruction.stages.default.relax_and_align import RelaxAndAlign
from prammol.reconstruction.stages.default.restrained_refinement import RestrainedRefinement
from prammol.reconstruction.stages.paper.cross_validate import CrossValidate
from prammol.reconstruction.stages.paper.fit_positions import FitPositions
from prammol.reconstruction.stages.paper.generate_candidates import GenerateCandidates
from prammol.reconstruction.stages.paper.initial_lattice import FillAtRandom, FillLattice
from prammol.reconstruction.stages.paper.relax_subset import RelaxSubset
from prammol.reconstruction.state import Stage

OWN_SETTINGS = (
    "patience",
    "max_iterations",
    "starts",
    "good_start",
    "same_start",
    "least_progress",
    "error_bars",
)


@dataclass(frozen=True)
class Preset:
    """A way to reconstruct: what is done once, what is repeated, and until when.

    Attributes
    ----------
    name : str
        Name of the preset.
    start : tuple of Stage
        Stages run once, before the first iteration.
    loop : tuple of Stage
        Stages of one iteration, in order.
    finish : tuple of Stage
        Stages run once, after the last iteration.
    patience : int
        Stop after so many iterations in a row in which no new model was selected.
    max_iterations : int
        Stop after so many iterations in all.
    judges : bool
        Whether a stage tells when the atoms explain the data. Then running out of patience
        isn't convergence: something is left that the model doesn't explain.
    starts : int
        Starts tried at most, each with random numbers of its own; the best is used.
    good_start : float
        Look no further when the best start's misfit is worth fewer missing atoms than this part
        of all, times the number of starts tried: crystals for which all are poor are content.
    same_start : float
        Nor when the two best starts differ by less than this part of their misfit.
    least_progress : float
        End when the last two iterations together lowered the misfit, in missing atoms, by less
        than this part and it is worth less than a twentieth of all atoms: what is left then
        isn't a matter of which atoms exist. After one such iteration stages try what is cheap
        only. 0 for never.
    error_bars : bool
        Whether :func:`prammol.reconstruction.uncertainty.per_atom.error_bars` are written beside
        the atoms.
    """

    name: str
    start: tuple[Stage, ...]
    loop: tuple[Stage, ...]
    finish: tuple[Stage, ...] = ()
    patience: int = 100
    max_iterations: int = 1000
    judges: bool = False
    starts: int = 1
    good_start: float = 0.025
    same_start: float = 0.02
    least_progress: float = 0.0
    error_bars: bool = False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in the order they run."""
        return (*self.start, *self.loop, *self.finish)

    def settings(self) -> dict[str, Any]:
        """Return every setting by its name, ``stage.field``."""
        out: dict[str, Any] = {name: getattr(self, name) for name in OWN_SETTINGS}
        for stage in self.stages:
            for field in _settings_of(stage):
                out[f"{stage_name(stage)}.{field}"] = getattr(stage, field)
        return out

    def with_settings(self, changes: Mapping[str, Any]) -> Preset:
        """Return the preset with some settings changed.

        Parameters
        ----------
        changes : mapping
            New values by name: ``"patience"``, ``"max_iterations"`` or ``"stage.field"``. A
            stage that occurs twice is changed in both places.

        Raises
        ------
        InputError
            If there is no such setting, or the value has another type or is out of range.
        """
        known = self.settings()
        for name, value in changes.items():
            if name not in known:
                msg = f"preset {self.name!r} has no setting {name!r}{_nearest(name, known)}"
                raise InputError(msg)
            _require_like(name, value, known[name])
        own = {k: v for k, v in changes.items() if "." not in k}
        return replace(
            self,
            start=tuple(_changed(s, changes) for s in self.start),
            loop=tuple(_changed(s, changes) for s in self.loop),
            finish=tuple(_changed(s, changes) for s in self.finish),
            **own,
        )


def stage_name(stage: Stage) -> str:
    """Return the name of a stage in settings and records: ``FillLattice`` is ``fill_lattice``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(stage).__name__).lower()


def get_preset(name: str) -> Preset:
    """Return a preset by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in PRESETS:
        msg = f"there is no preset {name!r}{_nearest(name, PRESETS)}"
        raise InputError(msg)
    return PRESETS[name]


def _settings_of(stage: Stage) -> list[str]:
    return [f.name for f in fields(stage)] if is_dataclass(stage) else []


def _changed(stage: Stage, changes: Mapping[str, Any]) -> Stage:
    prefix = stage_name(stage) + "."
    own = {k.removeprefix(prefix): v for k, v in changes.items() if k.startswith(prefix)}
    return replace(stage, **own) if own else stage  # type: ignore[type-var]


def _require_like(name: str, value: Any, old: Any) -> None:
    """Check that a new value is of the kind of the old one: number, text, sequence, ..."""
    number = (int, float)
    if old is None or isinstance(value, type(old)):
        if not isinstance(value, bool) or isinstance(old, bool) or old is None:
            return
    elif isinstance(old, float) and isinstance(value, number) and not isinstance(value, bool):
        return
    elif isinstance(old, tuple) and isinstance(value, list):
        return
    msg = f"setting {name!r} is {value!r}, expected {type(old).__name__} such as {old!r}"
    raise InputError(msg)


def _nearest(name: str, known: Iterable[str]) -> str:
    match = get_close_matches(name, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else f", known are {', '.join(known)}"


PAPER = Preset(
    name="paper",
    start=(FillLattice(),),
    loop=(FitPositions(), GenerateCandidates(), CrossValidate(), RelaxSubset()),
)

# From random atoms the energy has more to mend than the edge of a lattice.
PAPER_RANDOM = replace(
    PAPER,
    name="paper-random",
    start=(FillAtRandom(),),
    loop=(
        FitPositions(),
        GenerateCandidates(),
        CrossValidate(),
        RelaxSubset(coarse_iterations=200),
    ),
)

DEFAULT = Preset(
    name="default",
    start=(PhasePatches(), ChooseSites(), RelaxAndAlign()),
    loop=(Anneal(), CompleteAtoms(), ReconsiderAtoms(), RelaxAndAlign()),
    finish=(RestrainedRefinement(),),
    patience=1,
    max_iterations=50,
    judges=True,
    starts=8,
    least_progress=0.02,
    error_bars=True,
)

PRESETS: dict[str, Preset] = {p.name: p for p in (DEFAULT, PAPER, PAPER_RANDOM)}
