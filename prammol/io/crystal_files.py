"""Crystals as crystallographers keep them: CIF (by gemmi), POSCAR and others (by ASE)."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import IO, Any

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, first_line, naming, replacing
from prammol.io.unpacked import text_of
from prammol.structure.atoms import FARTHEST, Atoms
from prammol.structure.periodic_box import box_around, in_one_piece
from prammol.structure.unit_cell import UnitCell

FloatArray = NDArray[np.float64]

# What ASE calls the formats of which it is trusted to keep cell and elements.
_FORMATS = {
    ".vasp": "vasp", ".poscar": "vasp", ".contcar": "vasp", ".xsf": "xsf",
    ".gen": "gen", ".cfg": "cfg", ".xyz": "extxyz", ".extxyz": "extxyz",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".xz")
# What a reader raises about a file that isn't as it expects.
_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError,
    NotImplementedError, OSError, RuntimeError, StopIteration, SyntaxError, TypeError, ValueError,
)  # fmt: skip
_FULL = 1e-3  # chosen: below any occupancy that is refined; not varied
_TOUCHING = 0.5  # derived: physics, no two atoms are so near [Å]
_LARGEST = 1 << 27  # chosen: memory, such files are of some atoms; not varied [bytes]
_CIF = re.compile(r"\s*(#[^\n]*\n\s*)*data_", re.IGNORECASE)


def kind_of_file(path: Path, begin: str = "") -> str:
    """Return what ASE calls the format of a file by its name, ``cif``, or an empty text.

    Parameters
    ----------
    path : Path
    begin : str
        The text it begins with.
    """
    name = Path(path.stem) if path.suffix.lower() in _PACKED else path
    if name.suffix.lower() in (".cif", ".mcif") or _CIF.match(begin):
        return "cif"
    called = "vasp" if re.match(r"(POSCAR|CONTCAR)([._-]|$)", name.name) else ""
    return _FORMATS.get(name.suffix.lower(), called)


def read_unit_cell(path: PathLike) -> UnitCell:
    """Read the unit cell of a crystal: CIF, POSCAR, XSF, GEN, CFG or extended XYZ.

    Raises
    ------
    InputError
        If the file can't be read, has no cell, a site that is taken only in part, two atoms in
        one place or more atoms than a unit cell has.
    """
    path = Path(path)
    with text_of(path, "a file with a unit cell") as file:
        kind = kind_of_file(path, _begin(file))
        if not kind:
            endings = ", ".join([".cif", *_FORMATS])
            msg = f"{path}: expected a file with a unit cell: {endings} or POSCAR"
            raise InputError(msg)
        cell, sites, symbols = _read(path, file, kind)
    with naming(path):
        return UnitCell(cell, sites, symbols)


def read_cluster(path: Path, file: IO[str], kind: str) -> Atoms:
    """Read the atoms of a crystal with surfaces in a periodic box, in one piece.

    Parameters
    ----------
    path : Path
        What messages call the file.
    file : text file
    kind : str
        See :func:`kind_of_file`.

    Raises
    ------
    InputError
        If it can't be read, has a site that is taken only in part or twice, or fills its box.
    """
    cell, sites, symbols = _read(path, file, kind)
    with naming(path):
        x = in_one_piece((sites % 1.0) @ cell, cell, np.ones(3, bool))
        pairs = cKDTree(x).query_pairs(_TOUCHING, output_type="ndarray")
        if len(pairs):
            i, j = pairs[0] + 1
            msg = f"atoms {i} and {j} are less than {_TOUCHING} Å apart, expected each site once"
            raise InputError(msg)
        return Atoms.of_elements(x, symbols)


def _begin(file: IO[str]) -> str:
    begin = file.read(1000)
    file.seek(0)
    return begin


def _read(path: Path, file: IO[str], kind: str) -> tuple[FloatArray, FloatArray, NDArray[np.str_]]:
    """Return the vectors of a cell as rows [Å], fractional positions and symbols."""
    text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        msg = f"{path}: has more than {_LARGEST >> 20} MiB, expected XYZ or LAMMPS data for as many"
        raise InputError(msg)
    cell, sites, symbols = _by_gemmi(path, text) if kind == "cif" else _by_ase(path, text, kind)
    largest = max(np.abs(cell).max(initial=0.0), np.abs(sites).max(initial=0.0))
    if not largest <= FARTHEST or not len(sites):
        msg = f"{path}: its cell or positions aren't finite numbers, or it has no atoms"
        raise InputError(msg)
    size = np.linalg.norm(cell, axis=1)
    if not abs(np.linalg.det(cell)) > 1e-6 * np.prod(size):
        msg = f"{path}: has no cell, expected three independent vectors"
        raise InputError(msg)
    return cell, sites, symbols


def _by_gemmi(path: Path, text: str) -> tuple[FloatArray, FloatArray, NDArray[np.str_]]:
    """Return what a CIF says, all equivalent positions of its sites."""
    try:
        blocks = list(gemmi.cif.read_string(text))
        found = [(b, gemmi.make_small_structure_from_block(b)) for b in blocks]
    except _ERRORS as error:
        msg = f"{path}: can't be read as CIF ({first_line(error)})"
        raise InputError(msg) from None
    found = [(block, crystal) for block, crystal in found if len(crystal.sites)]
    if len(found) != 1:
        msg = f"{path}: has {len(found)} blocks with atoms, expected one"
        raise InputError(msg)
    block: Any = found[0][0]
    crystal: Any = found[0][1]
    absent = [name for name in _NEEDED if not block.find_values(name)]
    if absent or "dum" in block.find_values("_atom_site_calc_flag"):
        msg = f"{path}: {absent[0] if absent else '_atom_site_calc_flag'} isn't that of a crystal"
        msg += ", expected edges and angles of the cell, and fractional positions of atoms"
        raise InputError(msg)
    for site in crystal.sites:
        if not abs(site.occ - 1.0) < _FULL:
            msg = (
                f"{path}: site {site.label[:20]} has an occupancy of {site.occ:g}, expected 1: "
                "sites that are taken only in part, or by several elements, aren't known"
            )
            raise InputError(msg)
        if site.element.atomic_number == 0 or not np.isfinite(site.fract.tolist()).all():
            msg = f"{path}: site {site.label[:20]} has no element or no position in the cell"
            raise InputError(msg)
    told = [name for name in _SYMMETRY if block.find_values(name)]
    if crystal.spacegroup is None and told:
        msg = f"{path}: its space group ({told[0]}) isn't known, expected its symmetry operations"
        raise InputError(msg)
    every = crystal.get_all_unit_cell_sites()
    cell = np.array(crystal.cell.orth.mat.tolist()).T
    sites = np.array([site.fract.tolist() for site in every]).reshape(-1, 3)
    return cell, sites, np.array([site.element.name for site in every])


_NEEDED = (
    *(f"_cell_length_{name}" for name in "abc"),
    *(f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma")),
    *(f"_atom_site_fract_{name}" for name in "xyz"),
)
_SYMMETRY = (
    "_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz",
    "_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_Hall",
    "_symmetry_space_group_name_Hall", "_space_group_IT_number", "_symmetry_Int_Tables_number",
)  # fmt: skip


def _by_ase(path: Path, text: str, kind: str) -> tuple[FloatArray, FloatArray, NDArray[np.str_]]:
    import ase.io
    from ase.io.extxyz import XYZError
    from ase.io.formats import UnknownFileTypeError

    if kind == "vasp":
        _require_poscar(path, text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms: Any = ase.io.read(io.StringIO(text), format=kind, index=0)
            cell = np.asarray(atoms.cell.array, dtype=np.float64)
            sites = np.asarray(atoms.cell.scaled_positions(atoms.positions), dtype=np.float64)
            occupied = np.asarray(atoms.arrays.get("occupancy", 1.0), dtype=float)
            symbols = np.array(atoms.get_chemical_symbols(), dtype=np.str_)
    except (*_ERRORS, UnknownFileTypeError, XYZError) as error:
        msg = f"{path}: can't be read as {kind} ({first_line(error)})"
        raise InputError(msg) from None
    if not np.all(np.abs(occupied - 1.0) < _FULL) or (symbols == "X").any():
        msg = f"{path}: has sites that are taken only in part or by nothing, expected an atom each"
        raise InputError(msg)
    return cell, sites, symbols


def _require_poscar(path: Path, text: str) -> None:
    """Check that a POSCAR names its elements and promises no more atoms than it has lines."""
    lines = text.splitlines()
    names = lines[5].split() if len(lines) > 5 else []
    counts = lines[6].split() if len(lines) > 6 else []
    known = [name.split("_")[0].split("/")[0] for name in names]
    if not names or any(gemmi.Element(name).name != name or name == "X" for name in known):
        msg = f"{path}: line 6 isn't the elements, expected a POSCAR that names them (VASP 5)"
        raise InputError(msg)
    whole = all(re.fullmatch(r"\d{1,9}", text) for text in counts)
    if len(counts) != len(names) or not whole or sum(map(int, counts)) > len(lines):
        msg = f"{path}: line 7 isn't the number of atoms of each element, with so many lines below"
        raise InputError(msg)


def write_cif(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write a CIF, space group P1, with empty space around the atoms.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If there are no atoms or the file can't be written.
    """
    size, sites = _boxed(path, atoms)
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("data_prammol\n_space_group_name_H-M_alt 'P 1'\n")
        file.writelines(f"_cell_length_{a} {v:.6f}\n" for a, v in zip("abc", size, strict=True))
        file.writelines(f"_cell_angle_{name} 90\n" for name in ("alpha", "beta", "gamma"))
        file.write("loop_\n_space_group_symop_operation_xyz\n'x,y,z'\nloop_\n")
        for name in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"):
            file.write(f"_atom_site_{name}\n")
        file.writelines(
            f"{name}{i} {name} {s[0]:.12f} {s[1]:.12f} {s[2]:.12f} 1\n"
            for i, (name, s) in enumerate(zip(atoms.symbols, sites / size, strict=True), start=1)
        )


def write_poscar(path: PathLike, atoms: Atoms, force: bool = False) -> None:
    """Write a POSCAR (VASP 5), atoms by element, with empty space around them.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If there are no atoms or the file can't be written.
    """
    size, x = _boxed(path, atoms)
    order = np.argsort(atoms.kinds, kind="stable")
    counts = np.bincount(atoms.kinds)
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("cluster by prammol\n1.0\n")
        file.writelines(f"{row[0]:.6f} {row[1]:.6f} {row[2]:.6f}\n" for row in np.diag(size))
        file.write(f"{' '.join(atoms.elements)}\n{' '.join(map(str, counts))}\nCartesian\n")
        file.writelines(f"{r[0]:.10f} {r[1]:.10f} {r[2]:.10f}\n" for r in x[order])


def _boxed(path: PathLike, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
    """Return the edges of a box around atoms, and the atoms in it [Å]."""
    with naming(path):
        low, high = box_around(atoms.positions)
    return np.round(high - low, 6), atoms.positions - low
