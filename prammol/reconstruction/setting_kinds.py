"""Kinds and ranges of settings, and their one validator.

A stage names the kind of each field, and the field is checked whenever a stage is made: by a
preset, by a Python user, or from the text of ``--set``.
"""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from prammol.core.errors import InputError

# Beyond it numbers no longer mean what they say: 1e15 + 0.1 has no tenths.
_LARGEST = 1e15  # derived: double precision

Positive = Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
AtLeastOne = Annotated[float, Field(ge=1, le=_LARGEST, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1)]
PartOrNone = Annotated[float, Field(ge=0, le=1)]
SmallerPart = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
Whole = Annotated[int, Field(ge=0, le=_LARGEST)]
# Of a NUFFT; below it needs more than double precision.
# derived: double precision, and a tenth is none
Accuracy = Annotated[float, Field(ge=1e-13, le=0.1)]
Positives = Annotated[tuple[Positive, ...], Strict(False)]
Parts = Annotated[tuple[Part, ...], Field(min_length=1), Strict(False)]
Counts = Annotated[tuple[Annotated[tuple[Count, Count], Strict(False)], ...], Strict(False)]
Axis = Annotated[tuple[Number, Number, Number], Strict(False)]
Axes = Annotated[tuple[Axis, Axis, Axis], Strict(False)]


class Checked:
    """Base of the dataclasses that hold settings: their fields are checked when they are made."""

    def __post_init__(self) -> None:
        owner: Any = type(self)
        kinds = kinds_of(owner)
        for field in fields(self):  # type: ignore[arg-type]
            name = f"{name_of(type(self))}.{field.name}"
            value = checked(name, kinds[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)


def name_of(kind: type) -> str:
    """Return the name of a stage in settings and records: ``FillLattice`` is ``fill_lattice``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


@cache
def kinds_of(owner: Any) -> dict[str, Any]:
    """Return the kind of each field of a dataclass."""
    return get_type_hints(owner, include_extras=True)


def checked(name: str, kind: Any, value: Any) -> Any:
    """Return a value if it is of its kind and in its range.

    Strictly: 5.5 isn't an integer and 1 isn't a bool; a list is a tuple.

    Raises
    ------
    InputError
        If it isn't.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        msg = f"setting {name} is {value!r}, it {_reason(error)}"
        raise InputError(msg) from None


def parsed(kind: Any, text: str) -> Any:
    """Return the value of a text: JSON (``5``, ``0.01``, ``true``, ``[1, 2]``), else the text.

    Raises
    ------
    ValueError
        If it isn't of its kind or out of its range; says how.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        if error.errors()[0]["type"] != "json_invalid":
            raise ValueError(_reason(error)) from None
    try:
        return _adapter(kind).validate_python(text)
    except ValidationError as error:
        raise ValueError(_reason(error)) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _reason(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Input ")[:200]
