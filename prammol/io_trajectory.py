"""Trajectories of a reconstruction: extended XYZ with one frame after another.

OVITO, ASE and MDAnalysis open them. The number of atoms may change from frame to frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prammol.atoms import Atoms
from prammol.errors import InputError
from prammol.io_atoms import read_frame, write_frame
from prammol.io_files import PathLike

_OURS = re.compile(rb"(?:^| )stage=(\S+) .*?iteration=(\d+)(?: |$)")


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
        msg = f"{path}: can't be written ({error.strerror or error})"
        raise InputError(msg) from error


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
        with path.open(encoding="utf-8") as file:
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
                number, comment = file.readline(), file.readline()
                whole = comment.endswith(b"\n")
                found = _OURS.search(comment.rstrip())
                if (whole and found is None) or not (number.strip() or b"0").isdigit():
                    msg = f"{path}: isn't a trajectory by prammol"
                    raise InputError(msg)
                if found is None or not whole:
                    break
                lines = [file.readline() for _ in range(int(number))]
                if lines and not lines[-1].endswith(b"\n"):
                    break
                stage, iteration = found[1].decode(), int(found[2])
                marks.append(Mark(stage, iteration, int(number), file.tell()))
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
