"""Files of mean scattering."""

from __future__ import annotations

from typing import Any

import numpy as np

from prammol.core.errors import InputError
from prammol.evaluation.mean_scattering import MeanScattering
from prammol.io.arrays import opened_npz
from prammol.io.atomic_write import PathLike, replacing

_NAMES = ("q", "directions", "centre", "values")


def write_mean_scattering(path: PathLike, scattering: MeanScattering, force: bool = False) -> None:
    """Write it as NPZ, in single precision; an existing file is replaced only with `force`."""
    arrays: dict[str, Any] = {name: getattr(scattering, name) for name in _NAMES}
    arrays["values"] = arrays["values"].astype(np.complex64)
    with replacing(path, force) as whole, open(whole, "wb") as file:
        np.savez(file, **arrays)


def read_mean_scattering(path: PathLike) -> MeanScattering:
    """Read what :func:`write_mean_scattering` wrote.

    Raises
    ------
    InputError
        If the file is missing or isn't one.
    """
    expected = "the mean scattering that prammol dynamics --scattering writes"
    with opened_npz(path, expected) as file:
        q, directions, centre, values = (np.asarray(file[name]) for name in _NAMES)
    shapes = (q.ndim, directions.shape[1:], centre.shape, values.shape)
    if shapes != (1, (3,), (3,), (len(q), len(directions))) or not len(q):
        msg = f"{path}: its arrays {', '.join(_NAMES)} don't fit together, expected {expected}"
        raise InputError(msg)
    if not all(np.isfinite(a).all() for a in (q, directions, centre, values)):
        msg = f"{path}: holds numbers that aren't finite, expected {expected}"
        raise InputError(msg)
    return MeanScattering(q, directions, centre, values)
