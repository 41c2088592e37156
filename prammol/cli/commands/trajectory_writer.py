"""The trajectory of a running ``prammol reconstruct``: a frame after each iteration."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prammol.cli.commands.common import on_root
from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.io.atomic_write import require_absent
from prammol.io.checkpoint import Checkpoint
from prammol.io.trajectory import append_frame, whole_frames
from prammol.potentials.potential import Potential
from prammol.reconstruction.model import atoms_of
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.stages.default.phase_patches import SiteGuesses
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms

_KEPT = ("log_likelihood", "excess", "wrong", "added", "removed", "scale", "energy_per_atom")


class Trajectory(Observer):
    """Writes the atoms after stages of the start and after iterations, on the first rank.

    Parameters
    ----------
    path : Path
        Extended XYZ file.
    potential : Potential
        Names the elements.
    saved : Checkpoint
        What the run begins with. The frames up to there are kept, later ones are cut off.
    comm : Communicator
    resume, force : bool
        Options of the command: whether what an interrupted run left, and whether anything,
        may be replaced.

    Raises
    ------
    OutputExistsError
        If the file exists and may not be replaced.
    InputError
        If it isn't the trajectory of the run to be continued, or can't be written.
    """

    def __init__(
        self,
        path: Path,
        potential: Potential,
        saved: Checkpoint,
        comm: Communicator,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self._path, self._potential, self._comm = path, potential, comm
        on_root(comm, lambda: self._begin(saved, resume, force))

    def started(self, stage: str, state: State) -> None:
        """Add the state after a stage of the start."""
        self._add(_frame(self._potential, state, stage, {}))

    def iterated(self, state: State, history: list[dict[str, Any]]) -> None:
        """Add the state after an iteration."""
        self._add(_frame(self._potential, state, "iteration", history[-1]))

    def _add(self, atoms: Atoms) -> None:
        on_root(self._comm, lambda: append_frame(self._path, atoms))

    def _begin(self, saved: Checkpoint, resume: bool, force: bool) -> None:
        there = self._path.exists()
        if saved.history and there:
            end = self._continued(saved, force)
            if end:
                os.truncate(self._path, end)
                return
        elif resume and there:
            whole_frames(self._path)  # else it is another file, not left by this run
        else:
            require_absent(self._path, force)
        self._path.unlink(missing_ok=True)
        if saved.history:
            append_frame(
                self._path, _frame(self._potential, saved.state, "iteration", saved.history[-1])
            )

    def _continued(self, saved: Checkpoint, force: bool) -> int:
        """Return where the frames up to the checkpoint end, 0 to begin anew."""
        try:
            marks = whole_frames(self._path)
        except InputError:
            if force:
                return 0
            raise
        iteration = saved.state.status.iteration
        last = [m for m in marks if m.stage == "iteration" and m.iteration <= iteration]
        wanted = (iteration, len(saved.state.positions))
        if last and (last[-1].iteration, last[-1].atoms) == wanted:
            return last[-1].end
        if force:
            return 0
        msg = (
            f"{self._path}: doesn't reach iteration {wanted[0]}, from which the run continues; "
            "give another name or --force to replace it"
        )
        raise InputError(msg)


def _frame(potential: Potential, state: State, stage: str, record: dict[str, Any]) -> Atoms:
    """Return the atoms of a state, or its sites with the best guess at their occupancies."""
    guesses, model = state.given(SiteGuesses), state.model
    if guesses is not None and not len(state.positions):
        model = replace(model, positions=guesses.positions, labels=guesses.labels)
        occupancy = guesses.occupancies[0]
    else:
        occupancy = np.ones(len(state.positions))
    known = {name: record[name] for name in _KEPT if name in record}
    status = state.status
    info = {"stage": stage, "start": status.start, "iteration": status.iteration, **known}
    return atoms_of(potential, model, {"occupancy": occupancy}, info)
