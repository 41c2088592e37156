"""The options of verbs that describe a potential and the structure of its crystal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prammol.cli.commands.common import positive
from prammol.cli.messages import warn
from prammol.core.errors import InputError

if TYPE_CHECKING:
    from prammol.potentials.potential import Potential
    from prammol.structure.lattices import Lattice
    from prammol.structure.unit_cell import Structure, UnitCell

# chosen: potentials agree with experiments to 1 %; not varied
_DIFFER = 0.02  # lattice constants of a file further than this from the potential's are said


def add_potential(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a potential."""
    group = parser.add_argument_group(
        "interatomic potential",
        "Without any option: aluminium, Mishin et al., Phys. Rev. B 59, 3393 (1999). Any\n"
        "potential of LAMMPS can be used; what isn't given is found out by LAMMPS\n"
        "(docs/how-to/potentials.md).",
    )
    group.add_argument(
        "--element",
        metavar="EL",
        help="chemical symbol, for example Cu, or the formula of a compound, for example Ni3Al",
    )
    group.add_argument(
        "--potential",
        metavar="FILE",
        help="potential file, or the name of one that comes with LAMMPS (Cu_mishin1.eam.alloy)",
    )
    group.add_argument(
        "--pair-style",
        metavar="TEXT",
        help="LAMMPS pair_style, or 'ase MODULE:NAME', a calculator of ASE [follows from the "
        "file's name]",
    )
    group.add_argument(
        "--pair-coeff",
        action="append",
        metavar="TEXT",
        help="LAMMPS pair_coeff, once for each; {file} stands for FILE ['* * {file} EL']",
    )
    group.add_argument("--mass", type=positive, help="atomic mass [g/mol]")
    group.add_argument(
        "--structure",
        type=_structure,
        metavar="FILE|NAME",
        help="structure at rest: fcc, bcc, hcp, diamond, B2, L12, zincblende, rocksalt, wurtzite, "
        "or a file with a unit cell (CIF, POSCAR, ...)",
    )
    group.add_argument(
        "--lattice-constant", type=positive, metavar="A", help="first edge of the cell at rest [Å]"
    )


def potential_of(
    options: argparse.Namespace, element: str | None = None, solutes: Sequence[str] = ()
) -> Potential:
    """Return the potential of the options of :func:`add_potential`.

    Parameters
    ----------
    options : Namespace
    element : str, optional
        What the data say they are made of, used if the options don't name an element. What else
        they are made of are solutes.
    solutes : sequence of str
        Elements that may take the place of others.

    Raises
    ------
    InputError
        If the data are of several elements and the options don't say the formula, or the
        structure isn't known.
    PotentialError
        See :func:`prammol.potentials.choose.choose_potential`.
    """
    structure = structure_option(options.structure)
    cell = None if isinstance(structure, str) else structure
    if cell is not None:
        _found(options.structure, cell)  # its sentence names the file
        if options.element is None and ",".join(cell.formula) == element:
            element = None
    if options.element is None and element is not None and "," in element:
        names = element.split(",")
        msg = (
            f"--element: the crystal is of {element}, give its formula, such as {''.join(names)}, "
            f"or of a solution the element of the perfect crystal, such as {names[0]}"
        )
        raise InputError(msg)
    from prammol.potentials.choose import choose_potential, formula_of

    if not solutes and options.element is not None and element is not None and "," in element:
        solutes = [name for name in element.split(",") if name not in formula_of(options.element)]

    potential = choose_potential(
        element=options.element or element,
        file=options.potential,
        pair_style=options.pair_style,
        pair_coeff=options.pair_coeff,
        mass=options.mass,
        structure=structure,
        lattice_constant=options.lattice_constant,
        solutes=solutes,
    )
    if cell is not None:
        _warn_of_constants(options.structure, _found(options.structure, cell), potential)
    return potential


def structure_option(text: str | None) -> str | UnitCell | None:
    """Return the structure that ``--structure`` means: the name of one, or what a file holds.

    Raises
    ------
    InputError
        If the file can't be used.
    """
    if text is None:
        return None
    from prammol.io.crystal_files import read_unit_cell
    from prammol.structure.lattices import known_name

    return known_name(text) or read_unit_cell(text)


def _structure(text: str) -> str:
    """Check that a text is the name of a structure or of a file."""
    from prammol.structure.lattices import LATTICES, known_name

    try:
        known = known_name(text) is not None or Path(text).is_file()
    except OSError:  # no file can have such a name
        known = False
    if not known:
        msg = f"{text[:60]!r} is neither a file nor one of {', '.join(LATTICES)}"
        raise argparse.ArgumentTypeError(msg)
    return text


def cell_of(
    options: argparse.Namespace, potential: Potential | None
) -> tuple[float | None, str | Lattice | None]:
    """Return the first edge of the cell [Å] and the structure: the potential's, else the options'.

    Raises
    ------
    InputError
        See :func:`structure_option`.
    """
    if potential is not None:
        return potential.lattice_constant, potential.lattice
    structure = structure_option(options.structure)
    if structure is None or isinstance(structure, str):
        return options.lattice_constant, structure
    found = _found(options.structure, structure)
    return options.lattice_constant or found.edge, found.lattice


def _found(name: str, cell: UnitCell) -> Structure:
    """Return what the unit cell of a file is."""
    from prammol.io.atomic_write import naming
    from prammol.structure.unit_cell import structure_of

    with naming(name):
        return structure_of(cell)


def _warn_of_constants(name: str, found: Structure, potential: Potential) -> None:
    """Say so if a file has other lattice constants than the potential."""
    import numpy as np

    theirs = found.edge * np.linalg.norm(found.lattice.vectors, axis=1)
    ours = potential.lattice_constant * np.linalg.norm(potential.lattice.vectors, axis=1)
    if np.abs(theirs / ours - 1).max() > _DIFFER:
        texts = [" ".join(f"{v:.4g}" for v in edges) for edges in (theirs, ours)]
        warn(
            f"{name}: its cell is {texts[0]} Å, at rest the potential's is {texts[1]} Å, more than "
            f"{100 * _DIFFER:.0f} % apart; the potential's is taken"
        )
