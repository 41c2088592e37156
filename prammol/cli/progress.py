"""What a person sees while a reconstruction runs, and the same as JSON lines."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from prammol.cli import messages
from prammol.core.errors import InputError
from prammol.io.atomic_write import unwritable
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.state import State

_START = "start"
HEADER = (
    f"{'iteration':>9} {'log-likelihood':>15} {'misfit':>9} {'atoms':>7} {'added':>6} "
    f"{'removed':>7} {'C':>9} {'eV/atom':>8} {'seconds':>8}"
)


def line(record: Mapping[str, Any]) -> str:
    """Return the line of one iteration, in the columns of ``HEADER``.

    Parameters
    ----------
    record : mapping
        A record of ``Reconstruction.history``. Without a verdict of the preset there is no misfit.
    """
    misfit = f"{record['excess']:.1f} σ" if "excess" in record else "-"
    return (
        f"{record['iteration']:>9d} {record['log_likelihood']:>15.8g} {misfit:>9} "
        f"{record['atoms']:>7d} {'+' + str(record['added']):>6} "
        f"{'-' + str(record['removed']):>7} {record['scale']:>9.5g} "
        f"{record['energy_per_atom']:>8.4f} {record['seconds']:>8.2f}"
    )


class Progress(Observer):
    """A line per iteration, a bar of its stages below it on a terminal, JSON lines in a file.

    Without a terminal the stages of the start are lines, too. Used as a context; does nothing on
    ranks other than the first.

    Parameters
    ----------
    path : path, optional
        File for the JSON lines, one record of the history each; replaced if it exists. While
        it is open it is locked.
    active : bool
        False on the ranks that print and write nothing.
    stream : text file, optional
        Where to print, stderr if not given.
    take_over : bool
        Whether to replace the file although another run holds its lock.

    Raises
    ------
    InputError
        If the file can't be written, or another run writes it.
    """

    def __init__(
        self,
        path: str | Path | None,
        active: bool = True,
        stream: IO[str] | None = None,
        take_over: bool = False,
    ) -> None:
        self._path = Path(path) if path is not None and active else None
        self._active = active
        self._take_over = take_over
        self._stream = stream or sys.stderr
        self._file: IO[str] | None = None
        self._bar: Any = None
        self._task: Any = None
        self._pass, self._starts, self._iterated = _START, 0, False
        self._said = ExitStack()

    def __enter__(self) -> Progress:
        if not self._active:
            return self
        if self._path is not None:
            self._file = _opened(self._path, self._take_over)
        if self._stream.isatty() and not messages.is_quiet():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(file=self._stream, highlight=False),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._pass, total=None)
        self._said.enter_context(messages.written_by(self._write))
        messages.say(HEADER)
        return self

    def entered(self, stage: str, number: int, total: int) -> None:
        """Show the stage that begins."""
        if not self._active:
            return
        if number == 1 and not self._iterated:
            self._starts += 1
            self._pass = _START if self._starts == 1 else f"{_START} {self._starts}"
        text = f"{self._pass}: {stage.replace('_', ' ')}, stage {number} of {total}"
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=number - 1, total=total)
            messages.detail(text)
        else:
            (messages.detail if self._iterated else messages.say)(text)

    def noted(self, text: str) -> None:
        """Say it as a warning."""
        if self._active:
            messages.warn(text)

    def iterated(self, state: State, history: list[dict[str, Any]]) -> None:
        """Show the last iteration."""
        self.show(history[-1])

    def show(self, record: Mapping[str, Any]) -> None:
        """Show the record of an iteration."""
        if not self._active:
            return
        self._iterated = True
        self._pass = f"iteration {record['iteration'] + 1}"
        messages.say(line(record))
        stages = ", ".join(f"{name} {taken:.3g} s" for name, taken in record["stages"].items())
        messages.detail(f"stages: {stages}; {record.get('memory_mib', 0):.0f} MiB")
        if self._file is not None:
            try:
                self._file.write(json.dumps(dict(record), default=float) + "\n")
                self._file.flush()  # a reader sees it, and it survives a crash
            except OSError as error:
                assert self._path is not None
                raise unwritable(self._path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._said.close()
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            # What couldn't be written has been told; closing would only try again.
            with suppress(OSError):
                self._file.close()

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=self._stream, flush=True)


def _opened(path: Path, take_over: bool) -> IO[str]:
    """Open a file that one run at a time writes, and empty it."""
    try:
        file = path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not take_over:
                file.close()
                msg = f"{path}: another run writes it now, give another name or wait for its end"
                raise InputError(msg) from None
        except OSError:  # no locks on this file system
            pass
        file.truncate(0)
    except OSError as error:
        raise unwritable(path, error) from error
    return file


def print_table(rows: Mapping[str, Any]) -> None:
    """Print names and values on stdout, in two columns."""
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        messages.result(f"  {name:<{width}}  {value}")
