"""The earlier state that ``prammol reconstruct`` starts from, and what has changed since."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from prammol.cli import messages
from prammol.core.defaults import RECONSTRUCTION

if TYPE_CHECKING:
    from prammol.diffraction.support import Support
    from prammol.potentials.potential import Potential
    from prammol.reconstruction.earlier_state import EarlierState
    from prammol.reconstruction.result import Reconstruction
    from prammol.structure.atoms import Atoms

# derived: a support is up to twice as large as its crystal, or half if shrink-wrapped too far
_LEAST_FILLED, _MOST_FILLED = 0.25, 2.0  # atoms of an earlier state by the room in the support


def add_initial(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--initial",
        metavar="FILE",
        help="another state of the same crystal to start from: a result, or atoms as XYZ, LAMMPS "
        "data or CIF; where the counts contradict it the usual start is made, with --support",
    )


def require_one_given(options: argparse.Namespace) -> None:
    """Raise InputError if nothing says where atoms may be."""
    from prammol.core.errors import InputError

    if options.support is None and options.initial is None:
        msg = "--support is missing, expected the file that says where atoms may be, or --initial"
        raise InputError(msg)


def initial_of(
    options: argparse.Namespace, support: Support | None, potential: Potential
) -> EarlierState | None:
    """Return the earlier state, if one is given.

    Raises
    ------
    InputError
        If it can't be read, isn't of the potential's crystal or the support's, or the preset
        can't start from it.
    """
    from prammol.core.errors import InputError
    from prammol.io.earlier_state import read_earlier_state
    from prammol.reconstruction.earlier_state import EarlierState

    if options.initial is None:
        return None
    if options.preset != RECONSTRUCTION["preset"]:
        msg = f"preset {options.preset} can't start from --initial, expected preset default"
        raise InputError(msg)
    before = read_earlier_state(options.initial, potential)
    if before.origin.get("converged") is False:
        messages.note(f"{options.initial}: has not converged; its confidences are used")
    if support is not None:
        atoms, room = len(before.atoms), support.volume / potential.atomic_volume
        if not _LEAST_FILLED < atoms / room < _MOST_FILLED:
            msg = (
                f"{options.initial}: has {atoms} atoms, but {options.support} has room for "
                f"{room:.0f}; expected states of one crystal"
            )
            raise InputError(msg)
    return EarlierState.of(before.atoms, before.vacant)


def changes_since(
    options: argparse.Namespace, result: Reconstruction, potential: Potential
) -> tuple[Atoms, dict[str, Any]] | None:
    """Say what left, came and moved; return the atoms with it, and the record for the file.

    None without an earlier state.
    """
    from prammol.evaluation.changes import changes_between
    from prammol.io.earlier_state import read_earlier_state

    if options.initial is None or not len(result.atoms):
        return None
    before = read_earlier_state(options.initial, potential)
    distance = potential.neighbour_distance
    found = changes_between(before.atoms, result.atoms, result.vacant, distance)
    numbers = found.summary()
    moved = "" if numbers["n_moved"] is None else f", {numbers['n_moved']} moved beyond error bars"
    chance = numbers["n_moved_by_chance"]
    expected = "" if chance is None else f" ({chance:.0f} expected by chance)"
    messages.say(
        f"since {options.initial}: {numbers['n_left']} atoms left ({numbers['n_left_sure']} surely)"
        f", {numbers['n_came']} came ({numbers['n_came_sure']} surely){moved}{expected}"
    )
    used = bool(result.history and result.history[0].get("earlier", False))
    return found.atoms(), {**before.origin, "used": used, "changes": numbers}
