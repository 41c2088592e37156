"""Settings from the text a user types: ``--set KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prammol.core.errors import InputError
from prammol.reconstruction.presets import get_preset
from prammol.reconstruction.setting_kinds import parsed


def parse_settings(preset: str, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the settings that ``key=value`` texts change.

    Values are written as JSON (``5``, ``0.01``, ``true``, ``[1, 2]``); anything else is text.

    Parameters
    ----------
    preset : str
        Name of the preset whose settings are changed.
    assignments : iterable of str
        For example ``["significance=4", "patience=20"]``.

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
    plan = get_preset(preset)
    known = {setting.name: setting for setting in plan.list_settings()}
    out: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            msg = f"--set {assignment[:60]}: expected key=value, for example --set patience=20"
            raise InputError(msg)
        setting = known.get(name)
        if setting is None:
            plan.with_settings({name[:60]: text})  # says what it should be
            continue
        try:
            out[name] = parsed(setting.kind, text)
        except ValueError as error:
            unit = f" {setting.unit}" if setting.unit else ""
            default = f"its default is {setting.value}{unit}"
            msg = f"--set {name}={text[:60]}: {error} ({default})"
            raise InputError(msg) from None
    plan.with_settings(out)  # the stages' own rules
    return out
