"""Files of the mean structure factor on Bragg patches, from which counts are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.io.arrays import opened_npz
from prammol.io.atomic_write import PathLike, replacing
from prammol.simulation.averages import MeanAmplitude

_EXPECTED = "the mean amplitude that prammol dynamics writes"


def write_mean_amplitude(
    path: PathLike,
    mean: MeanAmplitude,
    extras: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write it as NPZ.

    Parameters
    ----------
    path : path
    mean : MeanAmplitude
    extras : mapping of str to array, optional
        What else to keep in the file.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and `force` is False.
    InputError
        If it can't be written.
    """
    more: dict[str, Any] = dict(extras or {})
    if mean.intensity is not None:
        more["intensity"] = mean.intensity
    with replacing(path, force) as whole, open(whole, "wb") as file:
        np.savez(
            file,
            omega=mean.omega,
            element=mean.element,
            origin=np.array([p.origin for p in mean.patches]),
            step=np.array([p.step for p in mean.patches]),
            shape=np.array([p.shape for p in mean.patches]),
            meta=json.dumps(dict(mean.meta)),
            **more,
        )


def read_mean_amplitude(path: PathLike) -> MeanAmplitude:
    """Read what :func:`write_mean_amplitude` wrote.

    Raises
    ------
    InputError
        If the file is missing or isn't one.
    """
    with opened_npz(path, _EXPECTED) as file:
        omega, origin, step, shape = (
            np.asarray(file[name]) for name in ("omega", "origin", "step", "shape")
        )
        intensity = np.asarray(file["intensity"]) if "intensity" in file else None
        element, text = str(file["element"]), str(file["meta"])
    try:
        meta = json.loads(text)
        kinds = [a.dtype.kind for a in (omega, origin, step, shape)]
        if kinds != ["c", "f", "f", "i"] or not isinstance(meta, dict):
            raise TypeError
        patches = [
            BraggPatch(o, s, tuple(map(int, n)))
            for o, s, n in zip(origin, step, shape, strict=True)
        ]
        fits = omega.shape == (sum(p.size for p in patches),) and len(patches) > 0
    except (TypeError, ValueError) as error:
        msg = f"{path}: its arrays don't fit together, expected {_EXPECTED}"
        raise InputError(msg) from error
    if not fits or not np.isfinite(omega).all():
        msg = f"{path}: omega isn't one finite number for each point, expected {_EXPECTED}"
        raise InputError(msg)
    if intensity is not None:
        one_each = intensity.shape == omega.shape and intensity.dtype.kind == "f"
        if not one_each or not (np.isfinite(intensity) & (intensity >= 0)).all():
            msg = f"{path}: intensity isn't one number >= 0 for each point, expected {_EXPECTED}"
            raise InputError(msg)
    return MeanAmplitude(omega, patches, element, meta, intensity)
