"""Checks of tabulated potentials before LAMMPS reads them.

LAMMPS trusts a table: it reserves what the header asks for, and a value that isn't a
number spoils the energies only where atoms come near it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from prammol.core.errors import PotentialError

STYLES = ("eam/alloy", "eam/fs", "adp", "eam")
# chosen: memory; not varied
LARGEST_FILE = 500_000_000  # bytes
# derived: physics, no potential of atoms reaches so far
LARGEST_CUTOFF = 100.0  # Å
_MOST_ELEMENTS = 100  # derived: physics, about as many as there are
# Atomic number, mass, lattice constant and structure of one element, in setfl files.
_ELEMENT = re.compile(r"\s*\d+(\s+[\d.eE+-]+){2}\s+(?!nan|inf)[A-Za-z]\S*\s*", re.IGNORECASE)


def check_table(path: Path, style: str) -> list[str]:
    """Check a file of the pair styles ``eam/alloy``, ``eam/fs``, ``adp`` or ``eam``.

    Parameters
    ----------
    path : Path
        The file, which must exist.
    style : str
        LAMMPS pair style.

    Returns
    -------
    list of str
        Elements the file names; empty for ``eam`` and for other styles, which aren't checked.

    Raises
    ------
    PotentialError
        If the header isn't one, the tables hold anything but finite numbers, or are shorter
        than the header says.
    """
    if style not in STYLES:
        return []
    if path.stat().st_size > LARGEST_FILE:
        msg = f"{path}: has {path.stat().st_size} bytes, expected a potential of a few million"
        raise PotentialError(msg)
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        msg = f"{path}: can't be read as a potential ({error.strerror})"
        raise PotentialError(msg) from error
    elements = [] if style == "eam" else _elements(path, style, lines)
    first = 2 if style == "eam" else 4
    n_rho, n_r = _sizes(path, lines, first)
    n = len(elements)
    pairs = n * (n + 1) // 2 * (3 if style == "adp" else 1)
    wanted = n * (n_rho + n_r * (n if style == "eam/fs" else 1)) + pairs * n_r
    if style == "eam":
        wanted = n_rho + 2 * n_r
    found = 0
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        if style != "eam" and _ELEMENT.fullmatch(line):
            continue
        words = line.partition("#")[0].split()
        if found < wanted and not all(map(_finite, words)):
            msg = f"{path}: line {number} is {line.strip()[:40]!r}, expected finite numbers"
            raise PotentialError(msg)
        found += len(words)
    if found < wanted:
        msg = (
            f"{path}: the potential ends too early, its tables have {found} numbers and line "
            f"{first + 1} promises {wanted}"
        )
        raise PotentialError(msg)
    return elements


def _elements(path: Path, style: str, lines: list[str]) -> list[str]:
    """Return the elements of line 4."""
    try:
        count, *names = lines[3].split()
        if not 0 < int(count) <= min(len(names), _MOST_ELEMENTS):
            raise ValueError
    except (IndexError, ValueError):
        msg = f"{path}: isn't a setfl ({style}) potential, expected its elements in line 4"
        raise PotentialError(msg) from None
    return names[: int(count)]


def _sizes(path: Path, lines: list[str], where: int) -> tuple[int, int]:
    """Return the lengths of the tables over density and distance."""
    try:
        n_rho, d_rho, n_r, d_r, cutoff = lines[where].split()[:5]
        steps = float(d_rho), float(d_r), float(cutoff)
        good = min(int(n_rho), int(n_r)) > 1 and all(0 < s < math.inf for s in steps)
        if not good or steps[2] > LARGEST_CUTOFF:
            raise ValueError
    except (IndexError, ValueError):
        text = lines[where].strip()[:60] if where < len(lines) else ""
        msg = (
            f"{path}: line {where + 1} is {text!r}, expected the length and step of the tables "
            f"and a cutoff of at most {LARGEST_CUTOFF:g} Å"
        )
        raise PotentialError(msg) from None
    return int(n_rho), int(n_r)


def _finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
