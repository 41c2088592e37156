"""Flaws of a detector that the counts show without a model: zingers, hot pixels, saturation.

Zingers outshine the points around them as no crystal does (:mod:`prammol.diffraction.outshining`).
A limit of the counter is a largest count that several points share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.outshining import outshining

Points = NDArray[np.bool_]

_SAME_VALUE = 4  # chosen: points with the largest count that make a limit; display
_BRIGHT = 100.0  # derived: photons; fewer share their largest count by chance


@dataclass(frozen=True)
class Saturation:
    """Points of a patch that share its largest count.

    Attributes
    ----------
    points : bool ndarray
        With the patch's shape.
    value : float
        That count [photons]; NaN where there is no limit.
    """

    points: Points
    value: float


def zingers(data: Diffraction) -> list[Points]:
    """Return which valid points outshine those around them as no crystal does.

    Zingers and hot pixels that are brighter than the fringes beside them; no model is needed.

    Parameters
    ----------
    data : Diffraction

    Returns
    -------
    list of bool ndarray
        One array with the patch's shape per patch.
    """
    return [outshining(c, v) for c, v in zip(data.counts, data.valid, strict=True)]


def saturated(data: Diffraction) -> list[Saturation]:
    """Return which valid points have reached the limit of the detector, one entry per patch.

    Parameters
    ----------
    data : Diffraction
    """
    tops = [float(c[v].max(initial=0.0)) for c, v in zip(data.counts, data.valid, strict=True)]
    points = [v & (c >= top) for c, v, top in zip(data.counts, data.valid, tops, strict=True)]
    limits = {
        top
        for p, top in zip(points, tops, strict=True)
        if top >= _BRIGHT and p.sum() >= _SAME_VALUE
    }
    return [
        Saturation(p, top) if top in limits else Saturation(np.zeros_like(p), float("nan"))
        for p, top in zip(points, tops, strict=True)
    ]


def masked_flaws(data: Diffraction) -> Diffraction:
    """Return data with zingers, hot pixels and saturated points masked.

    Parameters
    ----------
    data : Diffraction
    """
    single, full = zingers(data), saturated(data)
    if not any(z.any() or s.points.any() for z, s in zip(single, full, strict=True)):
        return data
    valid = [v & ~z & ~s.points for v, z, s in zip(data.valid, single, full, strict=True)]
    return replace(data, valid=valid)


def flaws_text(data: Diffraction) -> str:
    """Return a clause that names the flaws with patches, numbers and counts, "" for none."""
    limits = saturated(data)
    single = [z & ~s.points for z, s in zip(zingers(data), limits, strict=True)]
    bright = [
        f"{_number_of(z)} of patch {k} (up to {c[z].max():.10g} counts)"
        for k, (z, c) in enumerate(zip(single, data.counts, strict=True), start=1)
        if z.any()
    ]
    full = [
        f"{_number_of(s.points)} of patch {k} ({s.value:.10g} counts)"
        for k, s in enumerate(limits, start=1)
        if s.points.any()
    ]
    said = [f"far brighter than all around: {', '.join(bright)}"] if bright else []
    said += [f"at one largest count: {', '.join(full)}"] if full else []
    return "; ".join(said)


def _number_of(points: Points) -> str:
    number = int(points.sum())
    return f"{number} point{'' if number == 1 else 's'}"
