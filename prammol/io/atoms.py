"""Atoms as text: extended XYZ (OVITO, ASE) and LAMMPS data files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, naming, replacing
from prammol.structure.atoms import COLUMN_UNITS, Atoms

# ASE takes the column as energies of the atoms; it expects the sum in the comment line.
_ENERGY, _ENERGIES = "energy", "energies"
_LIMIT = 200_000_000  # chosen: memory, 5 GB of positions; not varied
# Possessive, and only at the beginning of a word: else a long line without = takes for ever.
_PAIR = re.compile(r'(?<![^\s="])([^\s="]++)\s*=\s*("(?:[^"\\]|\\.)*"|\S+)')
_TYPES = {"R": float, "I": int, "S": str, "L": str}
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_SYMBOL = re.compile(r"^[A-Z][a-z]?$")


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
    blocks = [[atoms.element] * len(atoms)]
    blocks += [[f"{v:.10f}" for v in axis] for axis in atoms.positions.T]
    info: dict[str, Any] = {}
    units = ["pos angstrom"]
    for name, values in atoms.columns.items():
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


def read_atoms(path: PathLike) -> Atoms:
    """Read the first frame of an XYZ file, extended or plain.

    Returns
    -------
    Atoms
        Per-atom values beyond species and positions become columns, values of the
        comment line ``info``.

    Raises
    ------
    InputError
        If the file is missing or isn't XYZ (the message names the line), or holds more
        than one element.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            return read_frame(path, file)
    except FileNotFoundError:
        msg = f"{path}: no such file, expected atoms as XYZ"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: can't be read as an XYZ text file ({error})"
        raise InputError(msg) from error


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
    for key in ("pbc", "Lattice", "units"):
        info.pop(key, None)
    properties = str(info.pop("Properties", "species:S:1:pos:R:3"))
    columns = _columns(path, rows, _layout(path, properties))
    if _ENERGY not in columns:
        columns = {_ENERGY if k == _ENERGIES else k: values for k, values in columns.items()}
    if "species" not in columns or "pos" not in columns:
        msg = f"{path}: Properties has no species or no pos, expected both"
        raise InputError(msg)
    species = columns.pop("species")
    if species.ndim != 1 or species.dtype.kind != "U" or columns["pos"].dtype.kind != "f":
        msg = f"{path}: Properties={properties}, expected species:S:1 and pos:R:3"
        raise InputError(msg)
    elements = sorted(set(species.tolist()))
    if len(elements) != 1 or not _SYMBOL.match(elements[0]):
        found = ", ".join(elements[:5]) + (", ..." if len(elements) > 5 else "")
        msg = f"{path}: holds {found[:100]}, expected atoms of one element"
        raise InputError(msg)
    with naming(path):
        return Atoms(columns.pop("pos"), elements[0], columns, info)


def write_lammps_data(path: PathLike, atoms: Atoms, mass: float, force: bool = False) -> None:
    """Write a LAMMPS data file (units metal, atom style atomic, free boundaries).

    Parameters
    ----------
    path : path
        File to write.
    atoms : Atoms
        The cluster.
    mass : float
        Atomic mass [g/mol].
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If there are no atoms or the file can't be written.
    """
    if not len(atoms):
        msg = f"{path}: no atoms to write"
        raise InputError(msg)
    x = atoms.positions
    low, high = x.min(axis=0) - 10, x.max(axis=0) + 10
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"{atoms.element} cluster by prammol, units metal, atom_style atomic\n\n")
        file.write(f"{len(atoms)} atoms\n1 atom types\n\n")
        for axis, lo, hi in zip("xyz", low, high, strict=True):
            file.write(f"{lo:.6f} {hi:.6f} {axis}lo {axis}hi\n")
        file.write(f"\nMasses\n\n1 {mass:.6f} # {atoms.element}\n\nAtoms # atomic\n\n")
        file.writelines(
            f"{i} 1 {r[0]:.10f} {r[1]:.10f} {r[2]:.10f}\n" for i, r in enumerate(x, start=1)
        )


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
    if text.startswith('"'):
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
