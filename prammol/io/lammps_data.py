"""Atoms as LAMMPS data files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, naming, replacing
from prammol.structure.atoms import Atoms
from prammol.structure.periodic_box import box_around, in_one_piece

FloatArray = NDArray[np.float64]
# derived: format, where type and position are in a line of each atom style
_STYLES = {"atomic": (1, 2), "charge": (1, 3), "molecular": (2, 3), "full": (2, 4)}
_HEADER = 30  # chosen: lines, far more than a header has; not varied
_ATOMS = re.compile(r"\s*(\d{1,9})\s+atoms\s*")
_BOX = re.compile(r"\s*(\S+)\s+(\S+)\s+([xyz])lo\s+\3hi\s*")
_TILT = re.compile(r"\s*(\S+)\s+(\S+)\s+(\S+)\s+xy\s+xz\s+yz\s*")
_SECTION = re.compile(r"[A-Z][A-Za-z]*( [A-Z][A-Za-z]*)*")
_LIKE = 0.005  # chosen: relative, masses are rounded; not varied


def write_lammps_data(
    path: PathLike, atoms: Atoms, mass: float | Mapping[str, float], force: bool = False
) -> None:
    """Write a LAMMPS data file (units metal, atom style atomic, free boundaries).

    Types count the elements by their atomic numbers; a comment behind each mass names its element.

    Parameters
    ----------
    path : path
        File to write.
    atoms : Atoms
        The cluster.
    mass : float or mapping of str to float
        Atomic mass [g/mol], of each element if there are several.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If there are no atoms or the file can't be written.
    """
    x = atoms.positions
    with naming(path):
        low, high = box_around(x)
    masses = {atoms.element: mass} if isinstance(mass, float | int) else dict(mass)
    absent = [name for name in atoms.elements if name not in masses]
    if absent:
        msg = f"{path}: no mass of {absent[0]} is known, it can't be written"
        raise InputError(msg)
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        style = "units metal, atom_style atomic, boundary f f f"
        file.write(f"{' '.join(masses)} cluster by prammol, {style}\n\n")
        file.write(f"{len(atoms)} atoms\n{len(masses)} atom types\n\n")
        for axis, lo, hi in zip("xyz", low, high, strict=True):
            file.write(f"{lo:.6f} {hi:.6f} {axis}lo {axis}hi\n")
        file.write("\nMasses\n\n")
        file.writelines(
            f"{k} {value:.6f} # {name}\n" for k, (name, value) in enumerate(masses.items(), start=1)
        )
        file.write("\nAtoms # atomic\n\n")
        number = {name: k for k, name in enumerate(masses, start=1)}
        file.writelines(
            f"{i} {number[name]} {r[0]:.10f} {r[1]:.10f} {r[2]:.10f}\n"
            for i, (name, r) in enumerate(zip(atoms.symbols.tolist(), x, strict=True), start=1)
        )


def is_lammps_data(file: IO[str]) -> bool:
    """Tell whether an open text file is a LAMMPS data file, and return to its beginning."""
    lines = list(islice(file, _HEADER))
    file.seek(0)
    return any(_ATOMS.fullmatch(line.partition("#")[0]) for line in lines[1:])


def read_lammps_data(path: Path, file: IO[str], elements: Sequence[str] = ()) -> Atoms:
    """Read an open LAMMPS data file of atom style atomic, charge, molecular or full.

    The elements are what comments, labels or the masses of the atom types say. Atoms that have
    crossed a border are put back by their image flags, or, without these, so that they are in
    one piece.

    Parameters
    ----------
    path : Path
        What messages call the file.
    file : text file
    elements : sequence of str
        Chemical symbol of each type, instead of what the file says.

    Raises
    ------
    InputError
        If it isn't one, or doesn't tell its elements.
    """
    number, low, cell, sections = _parts(path, file)
    style, lines = sections.get("Atoms", ("", []))
    rows = [line[: line.index("#")] for line in lines]
    if len(rows) != number:
        msg = f"{path}: has {len(rows)} lines in section Atoms, its header promises {number} atoms"
        raise InputError(msg)
    at_type, at = _columns(path, style, min((len(row) for row in rows), default=0))
    try:
        x = np.array([row[at : at + 3] for row in rows], dtype=float)
        images = np.array([row[at + 3 : at + 6] for row in rows], dtype=int)
    except (ValueError, OverflowError) as error:
        msg = f"{path}: section Atoms doesn't hold numbers ({str(error)[:80]})"
        raise InputError(msg) from None
    element_of = _elements(path, sections, {row[at_type] for row in rows}, elements)
    symbols = np.array([element_of[row[at_type]] for row in rows], dtype=str)
    with naming(path):
        if images.shape == (number, 3):
            x = x + images @ cell
        else:
            x = low + in_one_piece(x - low, cell, np.ones(3, bool), sure=False)
        return Atoms.of_elements(x, symbols)


_Sections = dict[str, tuple[str, list[list[str]]]]


def _parts(path: Path, file: IO[str]) -> tuple[int, FloatArray, FloatArray, _Sections]:
    """Return the number of atoms, the box, and each section: its comment and lines of words."""
    number, low, cell = 0, np.zeros(3), np.eye(3)
    sections: _Sections = {}
    here: list[list[str]] | None = None
    next(file, None)
    for line in file:
        text, _, comment = line.partition("#")
        if found := _ATOMS.fullmatch(text):
            number = int(found[1])
        elif (found := _BOX.fullmatch(text)) or (found := _TILT.fullmatch(text)):
            try:
                if found.re is _TILT:
                    cell[1, 0], cell[2, 0], cell[2, 1] = map(float, found.groups())
                else:
                    k = "xyz".index(found[3])
                    low[k] = float(found[1])
                    cell[k, k] = float(found[2]) - low[k]
            except ValueError:
                msg = f"{path}: {line.strip()[:60]!r} isn't an edge of a box"
                raise InputError(msg) from None
        elif _SECTION.fullmatch(text.strip()):
            here = []
            sections[text.strip()] = (comment.strip(), here)
        elif here is not None and text.strip():
            # A comment behind a mass names the element.
            here.append([*text.split(), "#", *comment.split()])
    if not (np.isfinite(cell).all() and np.isfinite(low).all()):
        msg = f"{path}: its box isn't finite"
        raise InputError(msg)
    return number, low, cell, sections


def _columns(path: Path, style: str, width: int) -> tuple[int, int]:
    """Return which words of a line of atoms are the type and the first coordinate."""
    name = (style.split() or ["atomic" if width in {5, 8} else ""])[0]
    if name not in _STYLES:
        msg = (
            f"{path}: section Atoms has atom style {name[:40]!r}, expected a line such as "
            f"'Atoms # atomic' with one of {', '.join(_STYLES)}"
        )
        raise InputError(msg)
    at_type, at = _STYLES[name]
    if width < at + 3:
        msg = f"{path}: section Atoms has {width} values in a line, expected {at + 3} of {name}"
        raise InputError(msg)
    return at_type, at


def _elements(
    path: Path, sections: _Sections, types: set[str], elements: Sequence[str]
) -> dict[str, str]:
    """Return the element of each type of the atoms."""
    given = {str(number): name for number, name in enumerate(elements, start=1)}
    told = {line[0]: line[1:] for line in sections.get("Masses", ("", []))[1]}
    labels = {line[0]: line[1] for line in sections.get("Atom Type Labels", ("", []))[1]}
    found = {}
    for kind in sorted(types):
        mass, _, *note = told.get(kind, ["", "#"])
        words = [labels.get(kind, kind), *note[:1]]
        known = [w for w in map(str.capitalize, words) if w == gemmi.Element(w).name != "X"]
        symbol = given.get(kind, "") if given else known[0] if known else element_of_mass(mass)
        if not symbol:
            msg = (
                f"{path}: doesn't tell the element of atom type {kind[:20]}, expected a section "
                "Masses with g/mol, a comment such as '# Al' there, or --elements of prammol export"
            )
            raise InputError(msg)
        found[kind] = symbol
    return found


def element_of_mass(text: str) -> str:
    """Return the element of a mass [g/mol], an empty text if there is none."""
    try:
        mass = float(text)
    except ValueError:
        return ""
    known = [gemmi.Element(z) for z in range(1, 119)]
    best = min(known, key=lambda e: abs(e.weight - mass))
    return str(best.name) if abs(best.weight - mass) < _LIKE * mass else ""
