"""VTK's XML files, for ParaView and others: fields as ImageData, atoms as PolyData.

Arrays are base64 of little-endian bytes with a length of 64 bits before them. Names are those of
the columns; their units are VTK's UNITS_LABEL, which its readers keep.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, replacing
from prammol.structure.atoms import COLUMN_UNITS, Atoms
from prammol.structure.crystal_fields import STRAIN
from prammol.structure.gridded_fields import GriddedFields

_UNITS = {**COLUMN_UNITS, "density": "1/angstrom^3"}
# derived: format, the order of symmetric tensors
_TENSOR = ("xx", "yy", "zz", "xy", "yz", "xz")
# derived: as above
_COMPONENTS = {3: ("x", "y", "z"), 6: _TENSOR}
_TYPES = {"<f8": "Float64", "<i8": "Int64"}


def write_vti(path: PathLike, grid: GriddedFields, force: bool = False) -> None:
    """Write fields as VTK ImageData (.vti), values at the points of the grid.

    Parameters
    ----------
    path : path
        File to write.
    grid : GriddedFields
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    shape = grid.fields["density"].shape
    extent = " ".join(f"0 {n - 1}" for n in shape)
    image = {
        "WholeExtent": extent,
        "Origin": " ".join(map(repr, grid.origin.tolist())),
        "Spacing": " ".join([repr(float(grid.spacing))] * 3),
    }
    root = _root("ImageData")
    piece = ET.SubElement(ET.SubElement(root, "ImageData", image), "Piece", {"Extent": extent})
    # The first index is the fastest.
    flat = {
        name: np.moveaxis(values, (0, 1, 2), (2, 1, 0)).reshape(int(np.prod(shape)), -1)
        for name, values in grid.fields.items()
    }
    _add_values(piece, flat)
    _write(path, root, force)


def write_vtp(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write atoms with all columns of numbers as VTK PolyData (.vtp), one vertex each.

    Parameters
    ----------
    path : path
        File to write.
    atoms : Atoms
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If there are no atoms.
    OutputExistsError
        If the file exists and ``force`` is False.
    """
    if not len(atoms):
        msg = f"{path}: no atoms to write"
        raise InputError(msg)
    n = len(atoms)
    root = _root("PolyData")
    piece = ET.SubElement(
        ET.SubElement(root, "PolyData"),
        "Piece",
        {"NumberOfPoints": f"{n}", "NumberOfVerts": f"{n}"},
    )
    arrays = {name: np.asarray(values) for name, values in atoms.columns.items()}
    numbers = {k: v.reshape(n, -1) for k, v in arrays.items() if v.dtype.kind in "biuf"}
    _add_values(piece, numbers)
    points = ET.SubElement(piece, "Points")
    _add_array(points, "positions", atoms.positions, "angstrom")
    verts = ET.SubElement(piece, "Verts")
    _add_array(verts, "connectivity", np.arange(n)[:, None])
    _add_array(verts, "offsets", np.arange(1, n + 1)[:, None])
    _write(path, root, force)


def _root(kind: str) -> ET.Element:
    form = {"type": kind, "version": "1.0", "byte_order": "LittleEndian", "header_type": "UInt64"}
    return ET.Element("VTKFile", form)


def _add_values(piece: ET.Element, values: Mapping[str, NDArray[Any]]) -> None:
    data = ET.SubElement(piece, "PointData")
    for name, array in values.items():
        order = [STRAIN.index(part) for part in _TENSOR] if name == "strain" else slice(None)
        _add_array(data, name, array[:, order], _UNITS.get(name, ""))


def _add_array(parent: ET.Element, name: str, values: NDArray[Any], unit: str = "") -> None:
    kind = "<f8" if values.dtype.kind == "f" else "<i8"
    k = values.shape[1]
    attributes = {"type": _TYPES[kind], "Name": name, "NumberOfComponents": f"{k}"}
    for i, part in enumerate(_COMPONENTS.get(k, ())):
        attributes[f"ComponentName{i}"] = part
    made = ET.SubElement(parent, "DataArray", {**attributes, "format": "binary"})
    raw = np.ascontiguousarray(values, dtype=kind).tobytes()
    made.text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode()
    if unit:
        key = {"name": "UNITS_LABEL", "location": "vtkDataArray"}
        ET.SubElement(made, "InformationKey", key).text = unit


def _write(path: PathLike, root: ET.Element, force: bool) -> None:
    with replacing(path, force) as temporary:
        ET.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
