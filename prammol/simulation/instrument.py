"""The instrument of a simulated experiment: beam, scans, sample and detector.

``data/instrument.yaml`` of the package has all keys with an example. Numbers that the
reader of an experiment knows go into the file of scans; what a reader can't know goes into the
truth beside it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from prammol.core.defaults import GEOMETRY, MEASUREMENT
from prammol.core.errors import InputError

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
# Far beyond any instrument, and squares stay finite.
_LARGEST = 1e30  # derived: double precision

Positive = Annotated[float, Field(gt=0, le=_LARGEST, strict=True)]
NotNegative = Annotated[float, Field(ge=0, le=_LARGEST, strict=True)]
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, strict=True)]
Part = Annotated[float, Field(ge=0, le=1, strict=True)]
# chosen: memory, far beyond any scan; not varied
Images = Annotated[int, Field(ge=2, le=100_000, strict=True)]
Index = Annotated[int, Field(ge=0, strict=True)]
Peak = tuple[Number, Number, Number]
Span = tuple[Index, Index]


@dataclass(frozen=True)
class Beam:
    """The X-rays.

    Attributes
    ----------
    flux : float
        Photons that meet the crystal during one image of exposure 1 [photons/um^2].
    wavelength : float
        [Å].
    polarisation : {"horizontal", "vertical", "unpolarised"}
        Of the beam; z of the laboratory is up.
    coherence : (3,) tuple of float
        Standard deviations of the Gaussian by which partial coherence blurs the intensity,
        along images, rows and columns [steps]; 0 is a coherent beam.
    """

    flux: Positive
    wavelength: Positive = MEASUREMENT["wavelength"]
    polarisation: Literal["horizontal", "vertical", "unpolarised"] = "horizontal"
    coherence: tuple[NotNegative, NotNegative, NotNegative] = (0.0, 0.0, 0.0)

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Scans:
    """The rocking scans.

    Attributes
    ----------
    step : float
        Between two images [degrees].
    images : int
        Images of each scan.
    peaks : tuple, optional
        Indices of the peak of each scan; three of the innermost if not given.
    exposure : tuple of float, optional
        Part of the beam that the attenuators let through in each scan, or any other factor of
        crystal and background that the reader knows. 1 if not given.
    scale : tuple of float, optional
        Another factor of each scan that the reader isn't told. 1 if not given.
    offset : float
        Length of the offset of the scattering vectors of each scan, in a random direction
        [r.l.u.]; not told.
    rotation : float
        Angle by which those of each scan are turned, about a random axis [degrees]; not told.
    offset_uncertainty, rotation_uncertainty : float
        What the file says of both: standard deviations along and about each axis [1/Å, rad].
    turning : float
        Part of a step during which an image is exposed: 0 in a step scan, 1 in a fly scan.
    """

    step: Positive
    images: Images = MEASUREMENT["points"]
    peaks: Annotated[tuple[Peak, ...], Field(min_length=1)] | None = None
    exposure: tuple[Positive, ...] | None = None
    scale: tuple[Positive, ...] | None = None
    offset: NotNegative = 0.0
    rotation: NotNegative = 0.0
    offset_uncertainty: Part = GEOMETRY["offset"]
    rotation_uncertainty: Part = GEOMETRY["rotation"]
    turning: Part = 1.0  # derived: a fly scan loses no photons

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Sample:
    """What the crystal does.

    Attributes
    ----------
    temperature : float, optional
        [K]; the atoms are at rest if not given.
    scattering : {"total", "coherent"}
        With a temperature: <abs(F)^2>, which a detector sees, or abs(<F>)^2, the paper's.
    """

    temperature: Positive | None = None
    scattering: Literal["total", "coherent"] = "total"

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Detector:
    """A flat detector across the diffracted beam.

    Attributes
    ----------
    pixel_size, distance : float
        Edge of a pixel and distance from the crystal [m].
    shape : (2,) tuple of int
        Rows and columns.
    fill : float
        Part of a pixel's edge that counts.
    spread : float
        Standard deviation of the point-spread function [pixels].
    background : float
        Photons in each pixel of each image that the crystal didn't scatter.
    hump, hump_width : float
        Photons at the top of a smooth hump beside the middle of the detector, and its standard
        deviation [pixels].
    gap_rows, gap_columns : tuple of (int, int)
        First and last row or column of gaps between modules, from 0.
    dead_pixels, hot_pixels : float
        Parts of all pixels; they are in the mask.
    zingers : float
        Part of all points, in all images, with more photons; they are in no mask.
    zinger_height : float
        Mean of these photons, which are exponentially distributed.
    count_time, dead_time : float
        Of an image at exposure 1, and after a photon [s]: of n photons n / (1 + n dead_time /
        count_time) are counted.
    saturation : float, optional
        Highest number of photons.
    """

    pixel_size: Positive
    distance: Positive
    shape: tuple[Images, Images] = (MEASUREMENT["points"],) * 2
    fill: Part = 1.0  # derived: a hybrid pixel has no blind border
    spread: NotNegative = 0.0
    background: NotNegative = 0.0
    hump: NotNegative = 0.0
    hump_width: Positive = 10.0  # chosen: a fifth of the detector; not varied
    gap_rows: tuple[Span, ...] = ()
    gap_columns: tuple[Span, ...] = ()
    dead_pixels: Part = 0.0
    hot_pixels: Part = 0.0
    zingers: Part = 0.0
    zinger_height: Positive = 1000.0  # chosen: above all but the peak at 1e18; not varied
    count_time: Positive = 1.0  # derived: the unit
    dead_time: NotNegative = 0.0
    saturation: Positive | None = None

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Instrument:
    """All of a simulated experiment but the crystal; see :func:`instrument_of`."""

    beam: Beam
    scans: Scans
    detector: Detector
    sample: Sample = field(default_factory=Sample)

    __pydantic_config__ = _STRICT


def instrument_of(values: Mapping[str, Any], source: str = "the instrument") -> Instrument:
    """Return the instrument that nested values describe.

    Parameters
    ----------
    values : mapping
        ``beam``, ``scans``, ``detector`` and ``sample``, each a mapping with the attributes of
        :class:`Beam`, :class:`Scans`, :class:`Detector` and :class:`Sample`.
    source : str
        Name for messages, the file's usually.

    Raises
    ------
    InputError
        If a key is missing or unknown, or a value isn't of its kind or out of its range; the
        message names it.
    """
    try:
        made = TypeAdapter(Instrument).validate_python(values)
    except ValidationError as error:
        msg = f"{source}: {_sentence(error)}"
        raise InputError(msg) from None
    scans = made.scans
    lengths = {n: len(v) for n in ("peaks", "exposure", "scale") if (v := getattr(scans, n))}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} of {name}" for name, n in lengths.items())
        msg = f"{source}: scans has {listed}, expected one for each scan"
        raise InputError(msg)
    return made


def keys_of(owner: Any = Instrument) -> dict[str, Any]:
    """Return the keys of an instrument as nested dicts, with None at their ends."""
    kinds = get_type_hints(owner)
    return {
        f.name: keys_of(kinds[f.name]) if is_dataclass(kinds[f.name]) else None
        for f in fields(owner)
    }


def _sentence(error: ValidationError) -> str:
    """Say the first thing that is wrong."""
    # A key that isn't known rather than one that is missing: often it is the same.
    first = sorted(error.errors(), key=lambda e: e["type"] not in _UNKNOWN)[0]
    path = [str(p) for p in first["loc"] if p != "none"]
    name = ".".join(path) or "the whole"
    if first["type"] in _UNKNOWN:
        here: Any = keys_of()
        for part in path[:-1]:
            here = here[part]
        near = difflib.get_close_matches(path[-1], here, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(here)}"
        return f"there is no key {name}, {hint}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    if first["type"] in ("dataclass_type", "dataclass_exact_type"):
        return f"{name} is {first['input']!r:.60}, expected keys with values"
    reason = first["msg"].removeprefix("Input ")
    return f"{name} is {first['input']!r:.60}, it {reason[:200]}"
