"""A page that shows atoms in three dimensions in any browser, complete in one file."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.evaluation.metrics import Metrics
from prammol.evaluation.registration import neighbour_distance
from prammol.io.atomic_write import PathLike, replacing
from prammol.structure.atoms import COLUMN_UNITS, Atoms
from prammol.structure.crystal_fields import STRAIN, STRUCTURES
from prammol.structure.lattice_planes import LatticePlanes

# chosen: display
_RADIUS = 0.45  # of a drawn atom [neighbour distances]
_RANGE = (1, 99)  # chosen: display, percentiles at the ends of the colour bar
_PARTS = {
    "strain": STRAIN,
    "displacement": ("x", "y", "z"),
    "position_sigma": ("x", "y", "z"),
}
_LENGTHS = ("displacement", "position_sigma")  # of which the length is shown, too
_LABELS = {"structure_type": STRUCTURES}
_UNITS = {"angstrom": "Å", "angstrom^2": "Å²"}
_EVEN, _SIGNED = "viridis", "RdBu_r"  # safe for the colour-blind


def write_view(
    path: PathLike,
    atoms: Atoms,
    truth: Atoms | None = None,
    metrics: Metrics | None = None,
    trajectory: Sequence[Atoms] = (),
    force: bool = False,
) -> None:
    """Write a page that shows atoms in three dimensions; it loads nothing from elsewhere.

    Parameters
    ----------
    path : path
        HTML file to write.
    atoms : Atoms
        What to show, coloured by any of its columns.
    truth, metrics : Atoms, Metrics, optional
        The true crystal and the comparison with it: atoms are shown in its frame, missing and
        extra ones marked, errors are a column.
    trajectory : sequence of Atoms
        Frames to play, shown after the atoms.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If there are fewer than two atoms.
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    if len(atoms) < 2:
        msg = f"{path}: there are {len(atoms)} atoms to show, expected at least 2"
        raise InputError(msg)
    first = _frame("result", atoms)
    marked = None
    if truth is not None and metrics is not None:
        _mark(first, truth, metrics)
        marked = {
            "missing": metrics.n_missing,
            "extra": metrics.n_extra,
            "positions": _bytes(truth.positions),
        }
    frames = [first]
    for moment in trajectory:
        x = moment.positions if metrics is None else metrics.registration.apply(moment.positions)
        title = " ".join(str(moment.info[k]) for k in ("stage", "iteration") if k in moment.info)
        frames.append(_frame(title, Atoms(x, moment.element, moment.columns)))
    values = {
        "title": f"{len(atoms)} {atoms.element} atoms",
        "radius": _RADIUS * neighbour_distance(atoms.positions),
        "colours": {"even": _colours(_EVEN), "signed": _colours(_SIGNED)},
        "truth": marked,
        "axes": _axes(first["positions"][: len(atoms)]),
        "frames": [_encoded(frame) for frame in frames],
    }
    text = json.dumps(values, allow_nan=False).replace("<", "\\u003c")
    held = {n: files("prammol").joinpath("data", n) for n in ("view.html", "three.min.js")}
    page, library = (file.read_text(encoding="utf-8") for file in held.values())
    with replacing(path, force) as temporary:
        whole = page.replace("@THREE@", library).replace("@DATA@", text)
        temporary.write_text(whole, encoding="utf-8")


def _axes(x: NDArray[np.float64]) -> list[float] | None:
    """Return the cubic axes of the atoms' lattice, one after the other; None if there is none."""
    planes = LatticePlanes.of(x)
    return None if planes is None else [float(v) for v in planes.fitted.axes.ravel()]


def _frame(title: str, atoms: Atoms) -> dict[str, Any]:
    columns: dict[str, NDArray[np.float64]] = {}
    for name, values in atoms.columns.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            continue
        if array.ndim == 1:
            columns[name] = array.astype(float)
        elif array.ndim == 2:
            if name in _LENGTHS:
                columns[name] = np.linalg.norm(array, axis=1)
            parts = _PARTS.get(name, tuple(map(str, range(1, array.shape[1] + 1))))
            for part, component in zip(parts, array.T, strict=False):
                columns[f"{name}_{part}"] = component.astype(float)
    return {"title": title, "atoms": len(atoms), "positions": atoms.positions, "columns": columns}


def _mark(frame: dict[str, Any], truth: Atoms, metrics: Metrics) -> None:
    """Put a frame into the truth's, with errors, extra atoms marked and missing ones added."""
    gone = metrics.n_missing
    error = np.full(metrics.n_atoms, np.nan)
    error[metrics.found_index] = metrics.errors_pm
    columns = {"error_pm": error, **frame["columns"]}
    if metrics.registration.inverted:
        for axis in "xyz":
            name = f"displacement_{axis}"
            if name in columns:
                columns[name] = -columns[name]
    frame["columns"] = {k: np.append(v, np.full(gone, np.nan)) for k, v in columns.items()}
    frame["positions"] = np.concatenate([metrics.positions, truth.positions[metrics.missing]])
    kind = np.zeros(len(frame["positions"]))
    kind[metrics.extra] = 1
    kind[metrics.n_atoms :] = 2
    frame["kind"] = kind


def _encoded(frame: dict[str, Any]) -> dict[str, Any]:
    made = {"title": frame["title"], "atoms": frame["atoms"]}
    made["positions"] = _bytes(frame["positions"])
    if "kind" in frame:
        made["kind"] = _bytes(frame["kind"])
    made["columns"] = {name: _column(name, values) for name, values in frame["columns"].items()}
    return made


def _column(name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Return a column with its unit and the range of its colours."""
    known = values[np.isfinite(values)]
    base = next((k for k in COLUMN_UNITS if name == k or name.startswith(k + "_")), name)
    base = name if name in COLUMN_UNITS else base
    whole = bool(len(known)) and bool((known == np.rint(known)).all())
    low, high = (0.0, 1.0) if not len(known) else (float(known.min()), float(known.max()))
    if len(known) and not whole:
        low, high = (float(v) for v in np.percentile(known, _RANGE))
    signed = low < 0 < high and not whole
    if signed:
        high = max(-low, high)
        low = -high
    labels = _LABELS.get(name)
    if labels:
        low, high = 0.0, float(len(labels) - 1)
    unit = COLUMN_UNITS.get(base, "")
    return {
        "values": _bytes(values),
        "unit": _UNITS.get(unit, unit),
        "low": low,
        "high": high,
        "map": "signed" if signed else "even",
        "labels": labels,
    }


def _bytes(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _colours(name: str) -> str:
    """Return 256 colours as bytes."""
    table = mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return base64.b64encode(np.rint(255 * table).astype(np.uint8).tobytes()).decode()
