"""Trajectories of a reconstruction: extended XYZ with one frame after another.

OVITO, ASE and MDAnalysis open them. The number of atoms may change from frame to frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, unwritable
from prammol.io.atoms import read_frame, write_frame
from prammol.structure.atoms import Atoms

_OURS = re.compile(rb"(?:^| )stage=(\S+) .*?iteration=(\d{1,18})(?: |$)")
# chosen: far above our own lines; not varied
_LONGEST = 10_000  # characters of a comment line of ours
_NUMBER = re.compile(rb"(\d{0,18})\d*\s*")


@dataclass(frozen=True)
class Mark:
    """A whole frame in a trajectory file.

    Attributes
    ----------
    stage : str
        ``iteration``, or the stage of the start that it shows.
    iteration : int
        Iterations finished.
    atoms : int
        Its atoms.
    end : int
        Where it ends [bytes].
    """

    stage: str
    iteration: int
    atoms: int
    end: int


def append_frame(path: PathLike, atoms: Atoms) -> None:
    """Write a frame at the end of a trajectory; the file is made if it isn't there.

    Raises
    ------
    InputError
        If it can't be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            write_frame(file, atoms)
    except OSError as error:
        raise unwritable(path, error) from error


def read_trajectory(path: PathLike) -> list[Atoms]:
    """Read all frames.

    Returns
    -------
    list of Atoms
        Each with what its comment line says as ``info``: ``stage``, ``start``, ``iteration``
        and, for iterations, the numbers of their record.

    Raises
    ------
    InputError
        If the file is missing or isn't XYZ.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            return list(_frames(path, file))
    except FileNotFoundError:
        msg = f"{path}: no such file, expected a trajectory as XYZ"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: can't be read as an XYZ text file ({error})"
        raise InputError(msg) from error


def whole_frames(path: PathLike) -> list[Mark]:
    """Find the whole frames of a trajectory that a killed run may have left.

    Raises
    ------
    InputError
        If it can't be read or wasn't written by ``prammol reconstruct --trajectory``.
    """
    marks = []
    try:
        with open(path, "rb") as file:
            while True:
                number, comment = file.readline(_LONGEST), file.readline(_LONGEST)
                whole = comment.endswith(b"\n")
                found = _OURS.search(comment.rstrip())
                foreign = len(comment) >= _LONGEST or (whole and found is None)
                digits = _NUMBER.fullmatch(number)
                if foreign or digits is None:
                    msg = f"{path}: isn't a trajectory by prammol"
                    raise InputError(msg)
                if found is None or not whole:
                    break
                atoms = int(digits[1] or 0)
                last = b"\n"
                for _ in range(atoms):
                    last = file.readline()
                    if not last:  # or a number like 10^12 would be counted to the end
                        break
                if not last.endswith(b"\n"):
                    break
                stage, iteration = found[1].decode(errors="replace"), int(found[2])
                marks.append(Mark(stage, iteration, atoms, file.tell()))
    except OSError as error:
        msg = f"{path}: can't be read as a trajectory ({error.strerror})"
        raise InputError(msg) from error
    return marks


def _frames(path: Path, file: IO[str]) -> Iterator[Atoms]:
    while True:
        here = file.tell()
        if not file.readline().strip():
            return
        file.seek(here)
        yield read_frame(path, file)
