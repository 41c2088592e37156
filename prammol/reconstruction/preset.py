"""What a preset is, and how its settings are named, listed and changed.

The twelve settings of :data:`USER_SETTINGS` are those a user may want to change. All others are
expert settings, the constants of one stage each, named ``stage.field``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from prammol.core.errors import InputError
from prammol.potentials.potential import Potential
from prammol.reconstruction.setting_kinds import (
    Checked,
    Count,
    NonNegative,
    Whole,
    checked,
    kinds_of,
    name_of,
)
from prammol.reconstruction.state import Stage

# Name -> the fields it stands for, of the loop or of stages.
USER_SETTINGS: dict[str, tuple[str, ...]] = {
    "max_iterations": ("loop.max_iterations",),
    "patience": ("loop.patience",),
    "starts": ("loop.starts",),
    "significance": (
        "relax_and_align.significance",
        "choose_sites.significance",
        "restrained_refinement.significance",
        "fit_diffuse.significance",
        "fit_matter.significance",
        "refine_held.significance",
    ),
    "diffuse": ("fit_diffuse.diffuse",),
    "debye_waller": ("restrained_refinement.debye_waller",),
    "occupancies": ("restrained_refinement.occupancies",),
    "sublattice": ("phase_patches.sublattice",),
    "mask_flaws": ("loop.mask_flaws",),
    "matter": ("fit_matter.enabled",),
    "error_bars": ("loop.error_bars",),
    "lattice_constant": ("fill_lattice.lattice_constant",),
    "orientation": ("fill_lattice.orientation",),
}
_UNIT = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True)
class Loop(Checked):
    """How often the stages run.

    Attributes
    ----------
    patience : int
        Stop after so many iterations in a row in which no new model was selected.
    max_iterations : int
        Stop after so many iterations in all.
    starts : int
        Starts tried at most, each with random numbers of its own; the best is used.
    good_start : float
        Look no further when the best start's misfit is worth fewer missing atoms than this part
        of all, times the number of starts tried: the threshold grows with each start, so that
        difficult crystals still terminate.
    same_start : float
        Nor when the two best starts differ by less than this part of their misfit.
    least_progress : float
        End when the last two iterations together lowered the misfit, in missing atoms, by less
        than this part and it is worth less than a twentieth of all atoms: what is left then
        isn't a matter of which atoms exist. After one such iteration, costly proposals are
        skipped. 0 for never.
    mask_flaws : bool
        Whether zingers, hot pixels and saturated points are masked
        (:mod:`prammol.diffraction.detector_flaws`), and before each stage single points that
        contradict the model while those beside them don't.
    error_bars : bool
        Whether error bars are written beside the atoms, see
        :func:`prammol.reconstruction.uncertainty.per_atom.error_bars`.
    shapes : int
        Sampled shapes, which tell error bars instead, see
        :func:`prammol.reconstruction.uncertainty.shape_posterior.shape_posterior`. 0 for none.
    """

    patience: Count = 100  # derived: the paper's
    max_iterations: Whole = 1000  # chosen: a limit that hardly binds; not varied
    starts: Count = 1
    # chosen: 114 runs of the vacancy crystal; exact from 0.4 to 2.2 %, wrong at 3.3 %; 16, 16, 19
    # wrong atoms at 0.0125, 0.025, 0.05, 15 to 18 by seeds (600 atoms at 300 K)
    good_start: NonNegative = 0.025
    # chosen: 600 atoms at 300 K; as many wrong atoms from 0.01 to 0.04
    same_start: NonNegative = 0.02
    # derived: never, as many wrong atoms from 0.01 to 0.04 (600 atoms at 300 K)
    least_progress: NonNegative = 0.0
    mask_flaws: bool = False
    error_bars: bool = False
    shapes: Whole = 0


@dataclass(frozen=True)
class Setting:
    """A setting of a preset.

    Attributes
    ----------
    name : str
        One of :data:`USER_SETTINGS`, or ``stage.field``.
    value : object
        Its value in the preset.
    kind : object
        Its type, with the range.
    unit : str
        Its unit, or an empty string.
    text : str
        What it does, from the docstring of its stage.
    expert : bool
        Whether it is a constant of one stage rather than a setting for users.
    """

    name: str
    value: Any
    kind: Any
    unit: str
    text: str
    expert: bool


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
    again : tuple of Stage
        Stages run on the atoms the finish left, at rest. If less than half of what was wrong
        before the finish is left then, the loop goes on from them.
    judges : bool
        Whether a stage tells when the atoms explain the data. Then running out of patience
        isn't convergence: something is left that the model doesn't explain.
    control : Loop
        How often the stages run.
    continued : tuple of Stage
        Stages run once instead of those of the start, from an earlier state of the crystal.
    """

    name: str
    start: tuple[Stage, ...]
    loop: tuple[Stage, ...]
    finish: tuple[Stage, ...] = ()
    again: tuple[Stage, ...] = ()
    judges: bool = False
    control: Loop = Loop()
    continued: tuple[Stage, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in the order they run."""
        return (*self.start, *self.continued, *self.loop, *self.finish, *self.again)

    def list_settings(self) -> list[Setting]:
        """Return all settings: those for users first, then stage by stage in running order."""
        owned = self._fields()
        users = {
            name: next(owned[full] for full in targets if full in owned)
            for name, targets in USER_SETTINGS.items()
            if any(full in owned for full in targets)
        }
        taken = {full for targets in USER_SETTINGS.values() for full in targets}
        experts = {full: one for full, one in owned.items() if full not in taken}
        return [
            *(replace(one, name=name, expert=False) for name, one in users.items()),
            *experts.values(),
        ]

    def settings(self) -> dict[str, Any]:
        """Return the value of every setting by its name."""
        return {setting.name: setting.value for setting in self.list_settings()}

    def require_known(self, potential: Potential) -> None:
        """Check that the stages know crystals as that of a potential.

        Raises
        ------
        InputError
            If a crystal has several atoms per primitive cell or several elements, and they don't.
        """
        unknown = ""
        if potential.structure not in ("fcc", "bcc"):
            unknown = f"fcc and bcc crystals only, not {potential.structure}"
        elif potential.others:
            unknown = f"crystals of one element only, not of {', '.join(potential.elements)}"
        if unknown and not self.judges:
            msg = f"preset {self.name} knows {unknown}, expected preset default"
            raise InputError(msg)
        if potential.others and self.settings().get("matter", False):
            msg = (
                f"setting matter is for one element, the crystal has "
                f"{', '.join(potential.elements)}; leave it out"
            )
            raise InputError(msg)

    def with_settings(self, changes: Mapping[str, Any]) -> Preset:
        """Return the preset with some settings changed.

        Parameters
        ----------
        changes : mapping
            New values by name: ``"significance"``, ``"patience"``, or ``"stage.field"`` for an
            expert setting.

        Raises
        ------
        InputError
            If there is no such setting (the nearest name is suggested), or the value has
            another type or is out of range.
        """
        known = {setting.name: setting for setting in self.list_settings()}
        owned = self._fields()
        values: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                msg = f"preset {self.name!r} has no setting {name!r}{self._nearest(name, known)}"
                raise InputError(msg)
            good = checked(name, known[name].kind, value)
            values |= {full: good for full in USER_SETTINGS.get(name, (name,)) if full in owned}
        return replace(
            self,
            start=tuple(_changed(stage, values) for stage in self.start),
            continued=tuple(_changed(stage, values) for stage in self.continued),
            loop=tuple(_changed(stage, values) for stage in self.loop),
            finish=tuple(_changed(stage, values) for stage in self.finish),
            again=tuple(_changed(stage, values) for stage in self.again),
            control=_changed(self.control, values),
        )

    def _fields(self) -> dict[str, Setting]:
        """Return every field of loop and stages by its full name."""
        out: dict[str, Setting] = {}
        for owner in (self.control, *self.stages):
            kind: Any = type(owner)
            texts, kinds = _attribute_texts(kind), kinds_of(kind)
            for field in fields(owner):  # type: ignore[arg-type]
                text, full = texts.get(field.name, ""), f"{name_of(kind)}.{field.name}"
                unit = _UNIT.search(text)
                value = getattr(owner, field.name)
                out[full] = Setting(
                    full, value, kinds[field.name], unit[1] if unit else "", text, expert=True
                )
        return out

    @staticmethod
    def _nearest(name: str, known: Mapping[str, Any]) -> str:
        near = get_close_matches(name, list(known), n=1)
        return f", did you mean {near[0]!r}?" if near else "; 'prammol presets --expert' lists them"


def _changed(owner: Any, values: Mapping[str, Any]) -> Any:
    prefix = name_of(type(owner)) + "."
    own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    return replace(owner, **own) if own else owner


def _attribute_texts(kind: type) -> dict[str, str]:
    """Read the descriptions in the Attributes section of a numpydoc docstring."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    _, _, section = doc.partition("Attributes\n----------\n")
    out: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            names = [n.strip() for n in line.partition(" : ")[0].split(",")]
        else:
            for name in names:
                out[name] = f"{out.get(name, '')} {line.strip()}".strip()
    return out
