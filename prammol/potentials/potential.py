"""Interatomic potentials: which LAMMPS commands describe a crystal.

The paper's aluminium potential (Mishin et al., Phys. Rev. B 59, 3393 (1999), file
of the NIST Interatomic Potentials Repository) comes with the package. What a user
types is read by :mod:`prammol.potentials.choose`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import PotentialError
from prammol.potentials.tables import read_tables
from prammol.structure.lattices import LATTICES, Lattice
from prammol.structure.vacant_sites import vacant_sites

# Pair styles whose energies of three bodies or of bonds are shared among the atoms.
_SHARED = {"sw", "tersoff", "vashishta", "edip", "meam", "airebo", "rebo", "bop", "comb", "comb3"}
# No spaces, quotes, $, & or #: a word can't become another LAMMPS command.
_WORD = re.compile(r"[\w./+*=:,-]+|\{file\}", re.ASCII)
_FILE = re.compile(r"[\w./+-]*\.[\w./+-]*")  # names of files may have any letters
_SYMBOL = re.compile(r"[A-Z][a-z]?(?![a-z])")
# Pair styles that run code from files: Python modules, pickled models, libraries.
_CODE = re.compile(r"(python|mliap|kim|plugin)(/\w+)*", re.IGNORECASE)
_CALCULATOR = re.compile(r"ase [A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Potential:
    """A LAMMPS pair potential for one element, or for a crystal of several.

    Parameters
    ----------
    element : str
        Chemical symbol; of several elements the lightest.
    pair_style : str
        Arguments of the LAMMPS ``pair_style`` command, or ``ase MODULE:NAME``, a calculator of ASE.
    pair_coeff : str or tuple of str
        Arguments of the ``pair_coeff`` command, or of several. ``{file}`` stands for
        `file`, the name of one of `more_files` for that one.
    mass : float
        Atomic mass [g/mol].
    structure : str
        Crystal structure at rest, one of LATTICES.
    lattice_constant : float
        First edge of the cell at rest [Å].
    file : Path, optional
        Potential file; must exist.
    more_files : tuple of Path
        Further files, no two of the same name.
    crystal : Lattice, optional
        The structure itself, if its cell hasn't the shape or the elements that LATTICES has.
    others : tuple of (str, float)
        Further elements with their masses [g/mol], by atomic number. Each ``pair_coeff * *``
        names all elements in one order, that of LAMMPS's types.

    Raises
    ------
    PotentialError
        If a file is missing, damaged or doesn't name the element, a command contains
        anything but words, or a number makes no sense.
    """

    element: str
    pair_style: str
    pair_coeff: str | tuple[str, ...]
    mass: float
    structure: str
    lattice_constant: float
    file: Path | None = None
    more_files: tuple[Path, ...] = ()
    crystal: Lattice | None = None
    others: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for command in (self.pair_style, *self.pair_coeffs):
            require_words(command)
        if self.pair_style.split()[0] == "ase" and not _CALCULATOR.fullmatch(self.pair_style):
            msg = f"pair_style {self.pair_style[:60]!r}: expected 'ase MODULE:NAME'"
            raise PotentialError(msg)
        for path in self.files:
            _require_file(path)
        names = [path.name for path in self.more_files]
        if len(set(names)) < len(names):
            msg = f"potential: two files are called {max(names, key=names.count)}, rename one"
            raise PotentialError(msg)
        known = self.structure in LATTICES or self.crystal is not None
        if not known or not min(self.masses) > 0 or not self.lattice_constant > 0:
            msg = (
                f"{self.name}: mass {self.mass} g/mol, structure {self.structure!r} and lattice "
                f"constant {self.lattice_constant} Å, expected positive numbers and "
                f"{' or '.join(LATTICES)}"
            )
            raise PotentialError(msg)
        if self.file is not None:
            tables = read_tables(self.file, self.pair_style.split()[0])
            for element in self.elements:
                if tables is not None and element not in tables.elements:
                    msg = (
                        f"{self.file}: potential has no {element}, "
                        f"it describes {', '.join(tables.elements)[:100]}"
                    )
                    raise PotentialError(msg)
        self._require_elements()

    def _require_elements(self) -> None:
        """Check that LAMMPS and the structure count several elements as they are counted here."""
        if not self.others:
            return
        wanted = list(self.elements)
        numbers = [gemmi.Element(name).atomic_number for name in wanted]
        orders = self._orders()
        for text, order in orders.items():
            if sorted(order) != sorted(wanted) or [*orders.values()] != [order] * len(orders):
                msg = (
                    f"{self.name}: pair_coeff {text[:60]!r} must end with the elements, "
                    f"{' '.join(wanted)}, in the same order as others"
                )
                raise PotentialError(msg)
            self._require_order_of_file(text, order)
        if numbers != sorted(set(numbers)) or len(self.lattice.counts) > len(wanted):
            msg = (
                f"{self.name}: elements {' '.join(wanted)} with structure {self.structure}, "
                f"expected {len(self.lattice.counts)} by atomic number"
            )
            raise PotentialError(msg)

    def _orders(self) -> dict[str, list[str]]:
        """Return the last words of each ``pair_coeff * *``, as many as there are elements."""
        known = {text: text.split() for text in self.pair_coeffs if text.split()[:2] == ["*", "*"]}
        last = {text: words[-len(self.elements) :] for text, words in known.items()}
        # MEAM's libraries name elements such as AlS.
        return {t: [m[0] if (m := _SYMBOL.match(w)) else w for w in ws] for t, ws in last.items()}

    def _require_order_of_file(self, text: str, order: list[str]) -> None:
        """Check that SNAP with chemical coefficients has its elements in the order of its file.

        LAMMPS mixes up the coefficients otherwise: it counts the elements as the command does.
        """
        named = {path.suffix: path for path in self.more_files if path.name in text.split()}
        if {".snapcoeff", ".snapparam"} <= named.keys():
            chemical = re.search(r"^ *chemflag +1", named[".snapparam"].read_text(), re.MULTILINE)
            heads = re.findall(r"^([A-Z][a-z]?) ", named[".snapcoeff"].read_text(), re.MULTILINE)
            if chemical and heads != order:
                msg = (
                    f"{named['.snapcoeff']}: with chemflag 1, pair_coeff {text[:60]!r} must end "
                    f"with the elements in the order of the file, {' '.join(heads)}"
                )
                raise PotentialError(msg)

    @property
    def types(self) -> tuple[int, ...]:
        """LAMMPS's type of each element: its place in ``pair_coeff * *``, else as in `elements`."""
        if not self.others:
            return (1,)
        order = next(iter(self._orders().values()), list(self.elements))
        return tuple(order.index(element) + 1 for element in self.elements)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        return (self.element, *(name for name, _ in self.others))

    @property
    def masses(self) -> tuple[float, ...]:
        """Their masses [g/mol]."""
        return (self.mass, *(mass for _, mass in self.others))

    @property
    def compound(self) -> bool:
        """Whether sites of the perfect crystal have different elements."""
        return len(set(self.lattice.kinds)) > 1

    @property
    def pair_coeffs(self) -> tuple[str, ...]:
        """Arguments of each ``pair_coeff`` command."""
        return (self.pair_coeff,) if isinstance(self.pair_coeff, str) else tuple(self.pair_coeff)

    @property
    def files(self) -> tuple[Path, ...]:
        """All potential files."""
        return ((self.file,) if self.file is not None else ()) + tuple(self.more_files)

    @property
    def name(self) -> str:
        """Names of the files, or the pair style."""
        return " ".join(path.name for path in self.files) or self.pair_style

    @property
    def lattice(self) -> Lattice:
        """What is known of its crystal structure."""
        return self.crystal or LATTICES[self.structure]

    @property
    def neighbour_distance(self) -> float:
        """Nearest-neighbour distance of the perfect crystal [Å]."""
        return self.lattice_constant * self.lattice.neighbour

    @property
    def bond_reach(self) -> float:
        """Distance that takes in what binds an atom in the perfect crystal [Å]."""
        return self.lattice.shells * self.neighbour_distance

    @property
    def has_basis(self) -> bool:
        """Whether a primitive cell of the perfect crystal has several atoms."""
        return len(self.lattice.motif) > 1

    @property
    def shares_bonds(self) -> bool:
        """Whether LAMMPS gives the energy of an atom's bonds to atoms two cutoffs away, too."""
        return self.pair_style.split()[0].split("/")[0] in _SHARED or self.calculator is not None

    @property
    def calculator(self) -> str | None:
        """MODULE:NAME of the calculator of ASE that gives energies and forces, if one does."""
        return self.pair_style[4:] if self.pair_style.startswith("ase ") else None

    @property
    def atomic_volume(self) -> float:
        """Volume per atom of the perfect crystal [Å^3]."""
        return self.lattice_constant**3 * self.lattice.volume / len(self.lattice.sites)

    def vacant_sites(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the vacant sites of the lattice beside atoms, (n, 3) [Å], as (m, 3)."""
        bonds = () if self.lattice.centred else self.lattice.bonds
        return vacant_sites(x, self.bond_reach, self.neighbour_distance, bonds=bonds)

    @property
    def checksum(self) -> str:
        """SHA-1 of the potential's files one after the other, or an empty string."""
        if not self.files:
            return ""
        return hashlib.sha1(b"".join(path.read_bytes() for path in self.files)).hexdigest()

    def commands(self, called: Mapping[Path, str] | None = None) -> list[str]:
        """Return the LAMMPS commands that select the potential.

        Parameters
        ----------
        called : mapping of Path to str, optional
            Other names of the files for the commands.
        """
        if self.calculator is not None:
            return ["pair_style zero 3.0", "pair_coeff * *"]  # any distance does
        known = called or {path: str(path) for path in self.files}
        places = {path.name: known[path] for path in self.more_files}
        if self.file is not None:
            places["{file}"] = known[self.file]

        def placed(text: str) -> str:
            return " ".join(f'"{places[w]}"' if w in places else w for w in text.split(" ") if w)

        return [
            f"pair_style {placed(self.pair_style)}",
            *(f"pair_coeff {placed(text)}" for text in self.pair_coeffs),
        ]


def require_words(command: str) -> None:
    """Check that the arguments of a command are words and nothing else."""
    words = command.split(" ")
    for word in words:
        if word and not (_WORD.fullmatch(word) or _FILE.fullmatch(word)):
            msg = (
                f"potential: {word[:60]!r} isn't allowed in pair_style or pair_coeff, "
                "expected plain words and numbers"
            )
            raise PotentialError(msg)
        if _CODE.fullmatch(word):
            msg = f"potential: {word[:60]!r} isn't allowed, such potentials run code from files"
            raise PotentialError(msg)
    if not any(words):
        msg = "potential: pair_style and pair_coeff can't be empty"
        raise PotentialError(msg)


def _require_file(path: Path) -> None:
    if not path.is_file():
        msg = f"{path}: no such potential file"
        raise PotentialError(msg)


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
