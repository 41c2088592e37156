"""Tabulated potentials, read as LAMMPS reads them, before it does.

LAMMPS trusts a table: it reserves what the header asks for, and a value that isn't a
number spoils the energies only where atoms come near it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import PotentialError

STYLES = ("eam/alloy", "eam/fs", "adp", "eam")
# chosen: memory; not varied
LARGEST_FILE = 500_000_000  # bytes
# derived: physics, no potential of atoms reaches so far
LARGEST_CUTOFF = 100.0  # Å
_MOST_ELEMENTS = 100  # derived: physics, about as many as there are
# derived: physics, no potential describes atoms so close
_CORE = 0.5  # Å
_STENCIL = 3  # derived: LAMMPS takes slopes from two points on each side

_WORD = re.compile(r"[^ \t\r\n\f]+")  # derived: what LAMMPS takes for blanks

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tables:
    """What LAMMPS takes from a file.

    Attributes
    ----------
    elements : list of str
        Chemical symbols.
    masses : list of float
        Their masses [g/mol].
    d_rho, d_r : float
        Steps of the tables over density, and over distance [Å].
    cutoff : float
        Where the functions end [Å].
    embedding : list of (n_rho,) ndarray
        F of each element [eV].
    density : list of (n_r,) ndarray
        What an atom adds to the density at its neighbours, the elements one after the other;
        for ``eam/fs`` one for each pair.
    pair : list of (n_r,) ndarray
        r phi of each pair [eV Å], the lower triangle row by row; what follows it in ``adp``.
        The effective charge for ``eam``.
    """

    elements: list[str]
    masses: list[float]
    d_rho: float
    d_r: float
    cutoff: float
    embedding: list[FloatArray]
    density: list[FloatArray]
    pair: list[FloatArray]


def read_tables(path: Path, style: str) -> Tables | None:
    """Read a file of the pair styles ``eam/alloy``, ``eam/fs``, ``adp`` or ``eam``.

    Comments after ``#``, blank lines and words beyond those it needs don't disturb LAMMPS.
    Infinity or NaN at distances that no two atoms have doesn't either.

    Parameters
    ----------
    path : Path
        The file, which must exist.
    style : str
        LAMMPS pair style.

    Returns
    -------
    Tables or None
        None for other styles, whose files aren't read.

    Raises
    ------
    PotentialError
        If LAMMPS would refuse the file, or its tables aren't finite where atoms are.
    """
    if style not in STYLES:
        return None
    try:
        found = path.stat()
        if found.st_size > LARGEST_FILE:
            msg = f"{path}: has {found.st_size} bytes, expected a potential of a few million"
            raise PotentialError(msg)
        return _read(path, style, found.st_mtime_ns, found.st_size)
    except OSError as error:
        msg = f"{path}: can't be read as a potential ({error.strerror})"
        raise PotentialError(msg) from error


@lru_cache(maxsize=8)
def _read(path: Path, style: str, changed: int, size: int) -> Tables:
    del changed, size  # another file under the same name is read again
    lines = path.read_text(encoding="latin-1").split("\n")
    text = _Words(lines)
    try:
        names, mass = _elements(path, style, text)
        n_rho, n_r, steps = _sizes(path, text)
    except PotentialError:
        for other, kind in (("eam", "funcfl"), ("eam/alloy", "setfl")):
            if (style == "eam") != (other == "eam") and _has_header(path, other, lines):
                msg = f"{path}: is a {kind} potential, give --pair-style {other}"
                raise PotentialError(msg) from None
        raise
    n = len(names)
    pairs = 0 if style == "eam" else n * (n + 1) // 2 * (3 if style == "adp" else 1)
    each = n if style == "eam/fs" else 1
    charges = 1 if style == "eam" else 0
    functions = _Functions(path, text, n * (n_rho + (each + charges) * n_r) + pairs * n_r)
    masses, embedding, density, pair = [], [], [], []
    for _ in names:
        masses.append(mass if style == "eam" else _mass(path, text))
        embedding.append(functions.read(n_rho))
        pair += [functions.read(n_r, steps[1]) for _ in range(charges)]
        density += [functions.read(n_r, steps[1]) for _ in range(each)]
    pair += [functions.read(n_r, steps[1]) for _ in range(pairs)]
    return Tables(names, masses, *steps, embedding, density, pair)


class _EndError(Exception):
    """The file ends."""


class _Words:
    """The words of a file as LAMMPS's reader hands them out."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines, self.at = lines, 0

    def line(self) -> list[str]:
        """Return the words of the next line that has any."""
        while self.at < len(self.lines):
            self.at += 1
            words = _WORD.findall(self.lines[self.at - 1].partition("#")[0])
            if words:
                return words
        raise _EndError

    def words(self, least: int) -> list[str]:
        """Return the words of as many lines as are needed for so many words."""
        found = self.line()
        while len(found) < least:
            found += self.line()
        return found

    def last(self) -> str:
        """Return the line that was read last, for messages."""
        return self.lines[self.at - 1].strip() if self.at else ""


class _Functions:
    """Reads the functions of a file one after the other, and counts their numbers."""

    def __init__(self, path: Path, text: _Words, wanted: int) -> None:
        self._path, self._text, self._wanted = path, text, wanted
        self._sizes, self._found = text.at, 0

    def read(self, length: int, step: float = 0.0) -> FloatArray:
        """Return the next function; with a step [Å] it is one of the distance."""
        # What isn't finite here is never asked for.
        core = math.ceil(_CORE / step) - _STENCIL if step else 0
        values: list[float] = []
        while len(values) < length:
            try:
                words = self._text.line()[: length - len(values)]
            except _EndError:
                msg = (
                    f"{self._path}: the potential ends too early, its tables have "
                    f"{self._found + len(values)} numbers and line {self._sizes} promises "
                    f"{self._wanted}"
                )
                raise PotentialError(msg) from None
            for word in words:
                value = _number(word)
                if value is None or not (math.isfinite(value) or len(values) < core):
                    msg = (
                        f"{self._path}: line {self._text.at} is {self._text.last()[:40]!r}, "
                        "expected finite numbers"
                    )
                    raise PotentialError(msg)
                values.append(value)
        self._found += length
        return np.array(values)


def _elements(path: Path, style: str, text: _Words) -> tuple[list[str], float]:
    """Return the elements; of ``eam`` the one with its mass, which comes first there."""
    try:
        if style == "eam":  # one element, by its atomic number
            text.at = 1
            number, mass = text.words(2)[:2]
            return [gemmi.Element(_whole(number)).name], _positive(mass)
        text.at = 3
        count, *names = text.line()
        if not 0 < _whole(count) == len(names) <= _MOST_ELEMENTS:
            raise ValueError
    except (_EndError, ValueError, TypeError):  # gemmi's of a huge atomic number
        line, kind = (2, "funcfl (eam)") if style == "eam" else (4, f"setfl ({style})")
        msg = f"{path}: isn't a {kind} potential, expected its elements in line {line}"
        raise PotentialError(msg) from None
    return names, math.nan


def _mass(path: Path, text: _Words) -> float:
    """Return the mass of one element; what follows, lattice constant and structure, is free."""
    try:
        number, mass = text.words(2)[:2]
        _whole(number)
        return _positive(mass)
    except (_EndError, ValueError):
        msg = (
            f"{path}: line {text.at} is {text.last()[:40]!r}, expected the atomic number and "
            "mass of an element"
        )
        raise PotentialError(msg) from None


def _sizes(path: Path, text: _Words) -> tuple[int, int, tuple[float, float, float]]:
    """Return the lengths of the tables over density and distance, their steps and the cutoff."""
    try:
        n_rho, d_rho, n_r, d_r, cutoff = text.words(5)[:5]
        lengths = _whole(n_rho), _whole(n_r)
        steps = _positive(d_rho), _positive(d_r), _positive(cutoff)
        if min(lengths) < 2 or steps[2] > LARGEST_CUTOFF:
            raise ValueError
    except (_EndError, ValueError):
        msg = (
            f"{path}: line {text.at} is {text.last()[:60]!r}, expected the length and step of the "
            f"tables and a cutoff of at most {LARGEST_CUTOFF:g} Å"
        )
        raise PotentialError(msg) from None
    return *lengths, steps


def _has_header(path: Path, style: str, lines: Sequence[str]) -> bool:
    """Tell whether a file begins like one of a style."""
    text = _Words(lines)
    try:
        _elements(path, style, text)
        _sizes(path, text)
    except PotentialError:
        return False
    return True


def _number(word: str) -> float | None:
    """Return a number as LAMMPS reads it; None if it refuses the word."""
    try:
        value = float(word)
    except ValueError:
        return None
    too_large = math.isinf(value) and any(c.isdigit() for c in word)
    return None if too_large or "_" in word else value


def _positive(word: str) -> float:
    value = _number(word)
    if value is None or not 0 < value < math.inf:
        raise ValueError
    return value


def _whole(word: str) -> int:
    if "_" in word:
        raise ValueError
    return int(word)
