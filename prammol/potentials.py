"""Interatomic potentials: which LAMMPS commands describe a metal.

The paper's aluminium potential (Mishin et al., Phys. Rev. B 59, 3393 (1999), file
of the NIST Interatomic Potentials Repository) comes with the package.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from prammol.errors import PotentialError

_WORD = re.compile(r"^[\w./+*=-]+$")


@dataclass(frozen=True)
class Potential:
    """A LAMMPS pair potential for one element.

    Parameters
    ----------
    element : str
        Chemical symbol.
    pair_style : str
        Argument of the LAMMPS ``pair_style`` command.
    pair_coeff : str
        Argument of the ``pair_coeff`` command; ``{file}`` stands for `file`.
    mass : float
        Atomic mass [g/mol].
    structure : str
        Crystal structure at rest, ``"fcc"`` or ``"bcc"``.
    lattice_constant : float
        Edge of the cubic cell at rest [Å].
    file : Path, optional
        Potential file; must exist.

    Raises
    ------
    PotentialError
        If the file is missing or doesn't name the element, or a command
        contains anything but words.
    """

    element: str
    pair_style: str
    pair_coeff: str
    mass: float
    structure: str
    lattice_constant: float
    file: Path | None = None

    def __post_init__(self) -> None:
        text = self.pair_style.split() + self.pair_coeff.replace("{file}", "file").split()
        for word in text:
            if not _WORD.match(word):
                msg = (
                    f"potential: {word!r} isn't allowed in pair_style or pair_coeff, "
                    "expected plain words and numbers"
                )
                raise PotentialError(msg)
        if self.file is None:
            return
        if not self.file.is_file():
            msg = f"{self.file}: no such potential file"
            raise PotentialError(msg)
        if self.pair_style.split()[0].startswith("eam/alloy"):
            elements = _setfl_elements(self.file)
            if self.element not in elements:
                msg = (
                    f"{self.file}: potential has no {self.element}, "
                    f"it describes {', '.join(elements)}"
                )
                raise PotentialError(msg)

    @property
    def neighbour_distance(self) -> float:
        """Nearest-neighbour distance of the perfect crystal [Å]."""
        factor = {"fcc": 0.5**0.5, "bcc": 0.75**0.5}[self.structure]
        return self.lattice_constant * factor

    @property
    def checksum(self) -> str:
        """SHA-1 of the potential file, or an empty string."""
        if self.file is None:
            return ""
        return hashlib.sha1(self.file.read_bytes()).hexdigest()

    def commands(self) -> list[str]:
        """Return the LAMMPS commands that select the potential."""
        coeff = self.pair_coeff.replace("{file}", f'"{self.file}"')
        return [f"pair_style {self.pair_style}", f"pair_coeff {coeff}"]


def _setfl_elements(path: Path) -> list[str]:
    """Elements named in line 4 of a DYNAMO setfl file."""
    try:
        with path.open() as handle:
            fields = [handle.readline() for _ in range(4)][3].split()
        count = int(fields[0])
    except (IndexError, ValueError, UnicodeDecodeError) as err:
        msg = f"{path}: isn't a setfl (eam/alloy) potential, expected the elements in line 4"
        raise PotentialError(msg) from err
    return fields[1 : 1 + count]


def aluminium() -> Potential:
    """Return the paper's potential, Mishin et al. 1999, fcc with a = 4.05 Å."""
    return Potential(
        element="Al",
        pair_style="eam/alloy",
        pair_coeff="* * {file} Al",
        mass=26.982,
        structure="fcc",
        lattice_constant=4.05,
        file=Path(str(files("prammol").joinpath("data/Al99.eam.alloy"))),
    )
