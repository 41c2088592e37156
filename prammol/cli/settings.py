"""Settings from the text a user types.

The dataclasses of the stages are the only place where settings, their types and
their values are written down; this module reads them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from prammol.core.errors import InputError
from prammol.reconstruction.presets import OWN_SETTINGS, Preset, get_preset, stage_name

_LARGEST = 1e15
_UNIT = re.compile(r"\[([^\]]+)\]")


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
        *((f"{stage_name(s)}.", s, None) for s in preset.stages),
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
        For example ``["fit_positions.iterations=5", "patience=20"]``.

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
            msg = f"--set {assignment[:60]}: expected key=value, for example --set patience=20"
            raise InputError(msg)
        if name not in known:
            hint = _nearest(name, known) or "; 'prammol presets' lists them"
            msg = f"--set {name[:60]}: preset {preset!r} has no such setting{hint}"
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
    if not all(abs(v) <= _LARGEST for v in _numbers(value)):
        raise _wrong(setting, text, "should be finite and at most 1e15")
    # No single number of any stage is meaningful below zero unless its own value is.
    if _numbers(value) == [value] and value < 0 <= (setting.value or 0):
        raise _wrong(setting, text, "should not be negative")
    if setting.name.endswith(".fraction") and not 0 < value <= 1:
        raise _wrong(setting, text, "should be above 0 and at most 1")
    return value


def _wrong(setting: Setting, text: str, why: str) -> InputError:
    why = why.removeprefix("Input ")
    unit = f" {setting.unit}" if setting.unit else ""
    default = f"its default is {setting.value}{unit}"
    return InputError(f"--set {setting.name}={text[:60]}: {why[:200]} ({default})")


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
