"""Atoms as text: extended XYZ (OVITO, ASE), and what other programs write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, naming, replacing
from prammol.io.crystal_files import kind_of_file, read_cluster
from prammol.io.lammps_data import is_lammps_data, read_lammps_data
from prammol.io.lammps_dump import read_lammps_dump
from prammol.io.unpacked import text_of
from prammol.structure.atoms import COLUMN_UNITS, ELEMENT, Atoms
from prammol.structure.periodic_box import in_one_piece

FloatArray = NDArray[np.float64]

# ASE takes the column as energies of the atoms; it expects the sum in the comment line.
_ENERGY, _ENERGIES = "energy", "energies"
_LIMIT = 200_000_000  # chosen: memory, 5 GB of positions; not varied
# Possessive, and only at the beginning of a word: else a long line without = takes for ever.
_PAIR = re.compile(r"""(?<![^\s="'])([^\s="']++)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S+)""")
_BEGIN = 1000  # chosen: characters, far more than tell what a file is; not varied
_TYPES = {"R": float, "I": int, "S": str, "L": str}
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_SYMBOL = re.compile(r"[A-Z][a-z]?", re.IGNORECASE | re.ASCII)


def write_atoms(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write an extended XYZ file with all columns and what is known of the whole.

    Positions are kept to 1e-10 Å. The comment line names the units. The column ``energy`` is
    called ``energies`` and its sum is written, as ASE expects it.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written or a column isn't (n,) or (n, k).
    """
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        write_frame(file, atoms)


def write_frame(file: IO[str], atoms: Atoms) -> None:
    """Write atoms at the end of an open extended XYZ file, as :func:`write_atoms` does."""
    properties = ["species:S:1", "pos:R:3"]
    blocks = [atoms.symbols.tolist()]
    blocks += [[f"{v:.10f}" for v in axis] for axis in atoms.positions.T]
    info: dict[str, Any] = {}
    units = ["pos angstrom"]
    for name, values in atoms.columns.items():
        if name == ELEMENT:
            continue
        kind, texts = _column_text(name, np.asarray(values))
        written = _ENERGIES if name == _ENERGY else name
        properties.append(f"{written}:{kind}:{len(texts)}")
        blocks += texts
        if COLUMN_UNITS.get(name):
            units.append(f"{written} {COLUMN_UNITS[name]}")
        if name == _ENERGY:
            info[_ENERGY] = float(np.sum(values))
    head = {"Properties": ":".join(properties), "pbc": [False] * 3, "units": ", ".join(units)}
    info = {**head, **info, **atoms.info}
    comment = " ".join(f"{key}={_value_text(value)}" for key, value in info.items())
    file.write(f"{len(atoms)}\n{comment}\n")
    file.writelines(" ".join(row) + "\n" for row in zip(*blocks, strict=True))


def read_atoms(
    path: PathLike, several: bool = False, elements: Sequence[str] = (), frame: int = 1
) -> Atoms:
    """Read a frame of an XYZ file, extended or plain, or of a file of another program.

    These are LAMMPS dump and data, known by what is in them, and CIF, POSCAR, XSF, GEN and CFG,
    by their names. They may be packed (gzip, bzip2, xz). A cluster that lies across the
    border of its periodic box is put together.

    Parameters
    ----------
    path : path
    several : bool
        Whether the atoms may be of several elements; the column ``element`` has them then.
    elements : sequence of str
        Chemical symbols of the types of LAMMPS files, from type 1.
    frame : int
        Number of the frame, from 1, of an XYZ file or a dump.

    Returns
    -------
    Atoms
        Per-atom values beyond species and positions of XYZ become columns, values of its
        comment line ``info``.

    Raises
    ------
    InputError
        If the file is missing or can't be read (the message names the line), holds more than one
        element where only one may be, or a crystal without a surface in a periodic box.
    """
    path = Path(path)
    odd = next((e for e in elements if e != gemmi.Element(e).name or e == "X"), None)
    if odd is not None:
        msg = f"elements: {odd[:20]!r} isn't a chemical symbol, expected such as Al,Ni"
        raise InputError(msg)
    with text_of(path, "atoms as XYZ") as file:
        begin = file.read(_BEGIN)
        file.seek(0)
        kind = kind_of_file(path, begin)
        if begin.startswith("ITEM:"):
            atoms = _frame(path, file, frame, partial(read_lammps_dump, elements=elements))
        elif kind and kind != "extxyz":
            atoms = read_cluster(path, file, kind)
        elif is_lammps_data(file):
            atoms = read_lammps_data(path, file, elements)
        else:
            atoms = _frame(path, file, frame, read_frame)
    if not several and len(atoms.elements) > 1:
        listed = ", ".join(sorted(atoms.elements)[:5]) + (
            ", ..." if len(atoms.elements) > 5 else ""
        )
        msg = f"{path}: holds {listed}, expected atoms of one element"
        raise InputError(msg)
    return atoms


def _frame(path: Path, file: IO[str], frame: int, read: Callable[[Path, IO[str]], Atoms]) -> Atoms:
    """Return a frame of a file with several."""
    for number in range(1, frame):
        read(path, file)
        here = file.tell()
        if not file.readline().strip():
            msg = f"{path}: has {number} frames, expected at least {frame}"
            raise InputError(msg)
        file.seek(here)
    return read(path, file)


def read_frame(path: Path, file: IO[str]) -> Atoms:
    """Read the next frame of an open XYZ file.

    Parameters
    ----------
    path : Path
        What messages call the file.
    file : text file
        Left behind the frame.

    Raises
    ------
    InputError
        See :func:`read_atoms`.
    """
    first, comment = file.readline(), file.readline()
    number = _number_of_atoms(path, first)
    lines = iter(file.readline, "")  # the file itself couldn't tell its position afterwards
    rows = [line.split() for _, line in zip(range(number), lines, strict=False)]
    if len(rows) != number:
        msg = f"{path}: ends after {len(rows)} atoms, its first line promises {number}"
        raise InputError(msg)
    info = {key: _value(text) for key, text in _PAIR.findall(comment)}
    pbc = info.pop("pbc", None)
    periodic, cell = _box(path, pbc, info.pop("Lattice", None))
    info.pop("units", None)
    properties = str(info.pop("Properties", "species:S:1:pos:R:3"))
    columns = _columns(path, rows, _layout(path, properties))
    if _ENERGY not in columns:
        columns = {_ENERGY if k == _ENERGIES else k: values for k, values in columns.items()}
    if "species" not in columns or "pos" not in columns:
        msg = f"{path}: Properties has no species or no pos, expected both"
        raise InputError(msg)
    species = columns.pop("species")
    places = columns["pos"]
    three = places.ndim == 2 and places.shape[1] == 3 and places.dtype.kind == "f"
    if species.ndim != 1 or species.dtype.kind != "U" or not three:
        msg = f"{path}: Properties={properties}, expected species:S:1 and pos:R:3"
        raise InputError(msg)
    symbols = _symbols(path, species)
    positions = columns.pop("pos")
    if cell is not None:
        with naming(path):
            positions = in_one_piece(positions, cell, periodic, sure=pbc is not None)
    with naming(path):
        if len(set(symbols)) == 1:
            return Atoms(positions, symbols[0], columns, info)
        return Atoms.of_elements(positions, np.array(symbols), columns, info)


def _symbols(path: Path, species: NDArray[Any]) -> list[str]:
    """Return the chemical symbols, their case put right."""
    odd = next(
        (name for name in sorted(set(species.tolist())) if not _SYMBOL.fullmatch(name)), None
    )
    if odd is not None:
        msg = (
            f"{path}: {odd[:40]!r} isn't a chemical symbol, expected one such as Al "
            "(LAMMPS writes it after dump_modify ID element Al)"
        )
        raise InputError(msg)
    return [name.capitalize() for name in species.tolist()]


def _column_text(name: str, values: NDArray[Any]) -> tuple[str, list[list[str]]]:
    """Return the type letter of a column and its texts, one list per component."""
    if values.ndim not in (1, 2) or re.search(r"[\s:=]", name):
        msg = f"column {name!r} of shape {values.shape} can't be written as extended XYZ"
        raise InputError(msg)
    parts = values.reshape(len(values), -1).T if len(values) else values.reshape(1, 0)
    if values.dtype.kind == "b":
        return "L", [["T" if v else "F" for v in part] for part in parts]
    if values.dtype.kind in "iu":
        return "I", [[str(v) for v in part] for part in parts]
    if values.dtype.kind == "f":
        return "R", [[f"{v:.10g}" for v in part] for part in parts]
    return "S", [["_".join(str(v).split()) or "_" for v in part] for part in parts]


def _value_text(value: Any) -> str:
    """Return a value of the comment line as ASE and OVITO read it."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return '"' + " ".join(_value_text(v).strip('"') for v in value) + '"'
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    if text and not re.search(r'[\s="\\,{}\[\]]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(text: str) -> Any:
    """Return a value of the comment line: bool, int, float, list of these, or text."""
    if text[0] in "\"'" and len(text) > 1 and text.endswith(text[0]):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
        words = text.split()
        values = [_word(w) for w in words]
        if len(words) > 1 and not any(isinstance(v, str) for v in values):
            return values
        return text
    return _word(text)


def _word(text: str) -> Any:
    if text in ("T", "True", "F", "False"):
        return text[0] == "T"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _box(path: Path, pbc: Any, lattice: Any) -> tuple[NDArray[np.bool_], FloatArray | None]:
    """Return along which edges of the box the crystal is repeated, and the edges as rows [Å]."""
    # ASE and OVITO take a box without pbc for periodic.
    flags = re.findall(r"[TF01]", "TTT" if pbc is None else str(pbc))
    periodic = np.array([flag in "T1" for flag in flags])
    if len(periodic) == 1:
        periodic = np.repeat(periodic, 3)
    if lattice is None or not periodic.any():
        return periodic, None
    cell = np.array(lattice if isinstance(lattice, list) else [], dtype=float)
    if cell.shape != (9,) or periodic.shape != (3,) or not np.isfinite(cell).all():
        msg = f"{path}: Lattice={str(lattice)[:60]} and pbc={str(pbc)[:20]} aren't a periodic box"
        raise InputError(msg)
    return periodic, cell.reshape(3, 3)


def _number_of_atoms(path: Path, line: str) -> int:
    try:
        number = int(line)
    except ValueError:
        msg = f"{path}: line 1 is {line.strip()[:40]!r}, expected the number of atoms of an XYZ"
        raise InputError(msg) from None
    if not 0 < number <= _LIMIT:
        msg = f"{path}: line 1 promises {line.strip()[:20]} atoms, expected 1 to {_LIMIT}"
        raise InputError(msg)
    return number


def _layout(path: Path, properties: str) -> list[tuple[str, str, int]]:
    """Return name, type letter and number of components of each column."""
    words = properties.split(":")
    triples = list(zip(words[::3], words[1::3], words[2::3], strict=False))
    good = all(kind in _TYPES and _COUNT.fullmatch(count) for _, kind, count in triples)
    if len(words) % 3 or not good:
        msg = f"{path}: Properties={properties[:100]} isn't name:type:count:..."
        raise InputError(msg)
    return [(name, kind, int(count)) for name, kind, count in triples]


def _columns(
    path: Path, rows: list[list[str]], layout: list[tuple[str, str, int]]
) -> dict[str, NDArray[Any]]:
    width = sum(count for _, _, count in layout)
    for i, row in enumerate(rows, start=3):
        if len(row) < width:
            msg = f"{path}: line {i} has {len(row)} values, expected {width}"
            raise InputError(msg)
    out: dict[str, NDArray[Any]] = {}
    table = list(zip(*rows, strict=False))
    start = 0
    for name, kind, count in layout:
        try:
            part: NDArray[Any] = np.array(table[start : start + count], dtype=_TYPES[kind]).T
        except (ValueError, OverflowError) as error:
            msg = f"{path}: column {name} isn't numbers ({str(error)[:100]})"
            raise InputError(msg) from None
        if kind == "L":
            part = np.isin(part, ("T", "True", "1"))
        out[name] = part[:, 0] if count == 1 else part
        start += count
    return out
