"""The checkpoints of a running ``prammol reconstruct``: found, kept, removed."""

from __future__ import annotations

import glob
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prammol.cli import messages
from prammol.cli.commands.common import on_root
from prammol.cli.sigterm import Termination
from prammol.core.errors import InputError, OutputExistsError, StoppedError
from prammol.core.parallel import Communicator
from prammol.io.checkpoint import (
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
    writer_of,
)
from prammol.io.run_identity import require_same
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.state import State


def fresh(own: Mapping[str, str], may_replace: bool) -> Checkpoint:
    """Return what a run without a checkpoint begins with: an empty history."""
    return Checkpoint(State.empty(), [], own, replace=may_replace)


def find_checkpoint(path: Path, resume: bool, force: bool) -> Checkpoint | None:
    """Return the checkpoint to continue from, None to start.

    Raises
    ------
    OutputExistsError
        If there is one and neither ``--resume`` nor ``--force`` was given.
    InputError
        If it can't be read and ``--force`` wasn't given.
    """
    if not path.exists():
        return None
    if not resume:
        if force:
            return None
        msg = (
            f"{path}: an interrupted run left it, --resume continues from it "
            "and --force starts again"
        )
        raise OutputExistsError(msg)
    try:
        return read_checkpoint(path)
    except InputError as error:
        _start_again(error, force)
    return None


def require_own(
    path: Path, saved: Checkpoint, own: Mapping[str, str], force: bool
) -> Checkpoint | None:
    """Return the checkpoint if it is of this run; with `force` None if it isn't.

    Raises
    ------
    InputError
        If it is of another run and `force` is False.
    """
    try:
        require_same(path, saved.identity, own)
    except InputError as error:
        _start_again(error, force)
        return None
    return saved


def tidy(outputs: Iterable[Path]) -> None:
    """Remove the half-written files that a killed run left beside its outputs."""
    for path in outputs:
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
            left.unlink(missing_ok=True)


class Checkpointing(Observer):
    """After each iteration, on all ranks: writes the checkpoint, ends if asked to.

    Parameters
    ----------
    path : Path
        The checkpoint.
    saved : Checkpoint
        What the run begins with, see :func:`fresh`.
    comm : Communicator
        Rank 0 writes.
    termination : Termination
        Whether to end after an iteration.
    """

    def __init__(
        self, path: Path, saved: Checkpoint, comm: Communicator, termination: Termination
    ) -> None:
        self._path = path
        self._first = saved
        self._comm = comm
        self._termination = termination
        self._wall, self._core = time.perf_counter(), time.process_time()
        again = [saved.history[-1]["iteration"]] if saved.history else []
        self._saved = replace(
            saved,
            run=secrets.token_hex(8),
            resumed=[*saved.resumed, *again],
            ranks=comm.size,
        )
        # Until the first one is written, any other is somebody else's.
        self._own = saved.run if saved.history else None
        self._place = _identity(path.parent)

    @property
    def resumed(self) -> list[int]:
        """Iterations after which the run was resumed."""
        return self._saved.resumed

    @property
    def may_replace(self) -> bool:
        """Whether the run may replace outputs."""
        return self._saved.replace

    def begin(self) -> None:
        """Take over the checkpoint: a run that is still writing it will notice and end."""
        first = self._first
        if not first.history:
            return
        on_root(self._comm, self._write)
        if self._comm.is_root:
            note = "" if first.ranks == self._comm.size else f", written by {first.ranks} ranks"
            messages.say(f"resuming after iteration {self.resumed[-1]} from {self._path}{note}")

    def iterated(self, state: State, history: list[dict[str, Any]]) -> None:
        """Write the checkpoint of an iteration.

        Raises
        ------
        InputError
            If it can't be written, or another run writes it too.
        StoppedError
            If the process was asked to end.
        """
        core = self._comm.sum(time.process_time() - self._core)
        self._saved = replace(
            self._saved,
            state=state,
            history=list(history),
            wall_s=self._first.wall_s + time.perf_counter() - self._wall,
            core_s=self._first.core_s + core,
        )
        on_root(self._comm, self._write)
        if self._termination.requested():
            msg = (
                f"ended by SIGTERM after iteration {state.status.iteration}, "
                f"--resume continues from {self._path}"
            )
            raise StoppedError(msg)

    def writing(self) -> None:
        """Note that the outputs are being written, on rank 0."""
        self._require_place()
        if not self.may_replace:
            self._saved = replace(self._saved, replace=True)
            self._write()

    def finished(self) -> None:
        """Remove the checkpoint, on rank 0."""
        self._path.unlink(missing_ok=True)

    def _require_place(self) -> None:
        """Raise InputError if the folder isn't the one the run began in."""
        if _identity(self._path.parent) != self._place:
            msg = (
                f"{self._path.parent}: the folder was moved or replaced since the run began, what "
                "it has written is in the old one; move it back and continue with --resume"
            )
            raise InputError(msg)

    def _write(self) -> None:
        self._require_place()
        own = self._own
        if own is not None and self._path.exists() and writer_of(self._path) != own:
            msg = f"{self._path}: another run writes it now, this one ends"
            raise InputError(msg)
        write_checkpoint(self._path, self._saved, own is not None or self._saved.replace)
        self._own = self._saved.run


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what a folder keeps when it is renamed, None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _start_again(error: InputError, force: bool) -> None:
    """Say why the checkpoint isn't used, or refuse."""
    if not force:
        msg = f"{error}; --force starts again"
        raise InputError(msg)
    messages.note(f"{error}; starting again because of --force")
