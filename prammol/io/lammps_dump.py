"""Atoms as text dumps of LAMMPS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, naming, replacing
from prammol.io.lammps_data import element_of_mass
from prammol.structure.atoms import FARTHEST, Atoms
from prammol.structure.periodic_box import box_around, in_one_piece

FloatArray = NDArray[np.float64]
# Positions: columns, whether in fractions of the box, whether not wrapped into it.
_POSITIONS = {
    ("xu", "yu", "zu"): (False, True),
    ("x", "y", "z"): (False, False),
    ("xsu", "ysu", "zsu"): (True, True),
    ("xs", "ys", "zs"): (True, False),
}
_IMAGES = ("ix", "iy", "iz")
_COUNT = re.compile(r"\d{1,9}")
_UNITS = {"metal", "real"}  # with positions in Å and masses in g/mol


def write_lammps_dump(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write a text dump of one frame, with numbers of types and chemical symbols.

    Types count the elements by atomic number.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If there are no atoms or the file can't be written.
    """
    x = atoms.positions
    with naming(path):
        box = np.stack(box_around(x), axis=1)
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("ITEM: UNITS\nmetal\nITEM: TIMESTEP\n0\n")
        file.write(f"ITEM: NUMBER OF ATOMS\n{len(atoms)}\nITEM: BOX BOUNDS ff ff ff\n")
        file.writelines(f"{lo:.6f} {hi:.6f}\n" for lo, hi in box)
        file.write("ITEM: ATOMS id type element x y z\n")
        rows = zip(atoms.kinds.tolist(), atoms.symbols.tolist(), x, strict=True)
        file.writelines(
            f"{i} {kind + 1} {name} {r[0]:.10f} {r[1]:.10f} {r[2]:.10f}\n"
            for i, (kind, name, r) in enumerate(rows, start=1)
        )


def read_lammps_dump(path: Path, file: IO[str], elements: Sequence[str] = ()) -> Atoms:
    """Read the next frame of an open dump, its atoms by their numbers.

    Atoms that have crossed a border of the box are put back by their image flags, or, without
    these, so that they are in one piece.

    Parameters
    ----------
    path : Path
        What messages call the file.
    file : text file
        Left behind the frame.
    elements : sequence of str
        Chemical symbol of each type, for dumps that have numbers only.

    Raises
    ------
    InputError
        If it isn't a dump, or doesn't tell its elements.
    """
    items = _items(path, file)
    columns, rows = items["ATOMS"]
    box, (low, cell), periodic = items["BOX"], _box(path, *items["BOX"]), None
    flags = [w for w in box[0] if re.fullmatch(r"[pfsm]{2}", w)]
    periodic = np.array([f == "pp" for f in flags] if len(flags) == 3 else [True] * 3)
    table = {name: column for name, column in zip(columns, zip(*rows, strict=True), strict=False)}
    places = next((names for names in _POSITIONS if all(n in table for n in names)), None)
    if places is None:
        msg = (
            f"{path}: has columns {' '.join(columns)[:100]}, expected x y z, xs ys zs, xu yu zu "
            "or xsu ysu zsu"
        )
        raise InputError(msg)
    x = _numbers(path, table, places)
    order = np.arange(len(x))
    if "id" in table:
        ids = _numbers(path, table, ("id",))[:, 0]
        order = np.argsort(ids, kind="stable")
        twice = np.flatnonzero(np.diff(ids[order]) == 0)
        if len(twice):
            msg = f"{path}: has atom {ids[order][twice[0]]:.0f} twice in a frame, expected it once"
            raise InputError(msg)
    scaled, unwrapped = _POSITIONS[places]
    far = np.abs(x).max(initial=0.0)
    if not far <= FARTHEST:
        msg = f"{path}: positions go up to {far:.3g}, expected at most {FARTHEST:.0e}"
        raise InputError(msg)
    if scaled:
        x = low + x @ cell
    if not unwrapped and all(n in table for n in _IMAGES):
        turns = _numbers(path, table, _IMAGES)
        if not np.abs(turns).max(initial=0.0) <= FARTHEST:
            msg = f"{path}: its image flags aren't small whole numbers"
            raise InputError(msg)
        x, unwrapped = x + turns @ cell, True
    symbols = _symbols(path, table, elements)
    with naming(path):
        if not unwrapped and periodic.any():
            x = low + in_one_piece(x - low, cell, periodic)
        return Atoms.of_elements(x[order], symbols[order])


def _items(path: Path, file: IO[str]) -> dict[str, tuple[list[str], list[Any]]]:
    """Return the parts of a frame: words of the headings, and lines as words."""
    found: dict[str, tuple[list[str], list[Any]]] = {}
    number, lines_of = -1, iter(file.readline, "")  # next(file) would forbid to ask where it is
    for line in lines_of:
        words = line.split()
        if words[:1] != ["ITEM:"] or len(words) < 2:
            msg = f"{path}: {line.strip()[:40]!r} where a dump has a line such as ITEM: TIMESTEP"
            raise InputError(msg)
        name = words[1]
        if name == "ATOMS":
            if number < 0 or "BOX" not in found:
                msg = f"{path}: has atoms before their number or box, expected a dump of LAMMPS"
                raise InputError(msg)
            rows = [part.split() for part in islice(lines_of, number)]
            width = len(words) - 2
            odd = next((k for k, row in enumerate(rows) if len(row) != width), None)
            if len(rows) < number or odd is not None:
                what = f"has {len(rows)} atoms" if odd is None else f"atom {odd + 1} isn't whole"
                msg = f"{path}: {what}, expected {number} with {width} values each"
                raise InputError(msg)
            if not number:
                msg = f"{path}: has no atoms in its frame"
                raise InputError(msg)
            return {**found, "ATOMS": (words[2:], rows)}
        lines = [part.split() for part in islice(lines_of, 3 if name == "BOX" else 1)]
        found[name] = (words[3:], lines)
        if name == "NUMBER":
            text = lines[0][0] if lines and lines[0] else ""
            if not _COUNT.fullmatch(text):
                msg = f"{path}: {text[:20]!r} isn't a number of atoms"
                raise InputError(msg)
            number = int(text)
        if name == "UNITS" and lines[:1] and lines[0][:1] and lines[0][0] not in _UNITS:
            msg = f"{path}: has units {lines[0][0][:20]}, expected metal or real (Å)"
            raise InputError(msg)
    msg = f"{path}: ends before the atoms of a frame"
    raise InputError(msg)


def _box(path: Path, words: list[str], lines: list[list[str]]) -> tuple[FloatArray, FloatArray]:
    """Return the corner of a box and its edges as rows [Å]."""
    try:
        rows = np.array(lines, dtype=float)
    except (ValueError, OverflowError):
        rows = np.empty((0, 0))
    if not np.isfinite(rows).all() or np.abs(rows).max(initial=0.0) > FARTHEST:
        rows = np.empty((0, 0))
    if words[:2] == ["abc", "origin"] and rows.shape == (3, 4):
        return rows[:, 3], rows[:, :3]
    if words[:3] == ["xy", "xz", "yz"] and rows.shape == (3, 3):
        xy, xz, yz = rows[:, 2]
        low, high = rows[:, 0].copy(), rows[:, 1].copy()
        low[0] -= min(0.0, xy, xz, xy + xz)
        high[0] -= max(0.0, xy, xz, xy + xz)
        low[1] -= min(0.0, yz)
        high[1] -= max(0.0, yz)
        size = high - low
        return low, np.array([[size[0], 0, 0], [xy, size[1], 0], [xz, yz, size[2]]])
    if rows.shape == (3, 2):
        return rows[:, 0], np.diag(rows[:, 1] - rows[:, 0])
    msg = f"{path}: BOX BOUNDS {' '.join(words)[:40]} isn't followed by the three edges of a box"
    raise InputError(msg)


def _numbers(path: Path, table: dict[str, Any], names: Sequence[str]) -> FloatArray:
    try:
        return np.array([table[name] for name in names], dtype=float).T
    except (ValueError, OverflowError) as error:
        msg = f"{path}: columns {' '.join(names)} aren't numbers ({str(error)[:80]})"
        raise InputError(msg) from None


def _symbols(path: Path, table: dict[str, Any], elements: Sequence[str]) -> NDArray[np.str_]:
    """Return the element of each atom: its own, else that of its type, else that of its mass."""
    own = [str(name).capitalize() for name in table.get("element", ())]
    known = {name for name in set(own) if name == gemmi.Element(name).name != "X"}
    if own and not elements and known == set(own):
        return np.array(own)
    types = table.get("type", ())
    if elements and types:
        numbers = dict(enumerate(elements, start=1))
        odd = next((t for t in types if not _COUNT.fullmatch(t) or int(t) not in numbers), None)
        if odd is not None:
            msg = f"{path}: has atom type {odd[:20]}, but {len(elements)} elements are given"
            raise InputError(msg)
        return np.array([numbers[int(t)] for t in types])
    masses = [element_of_mass(text) for text in table.get("mass", ())]
    if masses and all(masses):
        return np.array(masses)
    msg = (
        f"{path}: has numbers of types, not elements; name them by prammol export {path.name} "
        "--elements Al,Ni -o FILE.xyz, or write them by dump_modify ID element Al Ni"
    )
    raise InputError(msg)
