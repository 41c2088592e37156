"""What a person sees while a reconstruction runs, and the same as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

HEADER = (
    f"{'iteration':>9} {'log-likelihood':>16} {'atoms':>7} {'added':>7} {'removed':>7} "
    f"{'C':>10} {'eV/atom':>9} {'seconds':>8}"
)


def line(record: Mapping[str, Any]) -> str:
    """Return the line of one iteration, in the columns of ``HEADER``.

    Parameters
    ----------
    record : mapping
        A record of ``Reconstruction.history``.
    """
    return (
        f"{record['iteration']:>9d} {record['log_likelihood']:>16.8g} {record['atoms']:>7d} "
        f"{'+' + str(record['added']):>7} {'-' + str(record['removed']):>7} "
        f"{record['scale']:>10.5g} {record['energy_per_atom']:>9.4f} {record['seconds']:>8.2f}"
    )


class Progress:
    """A line per iteration on stderr, a spinner below it on a terminal, JSON lines in a file.

    Used as a context; does nothing on ranks other than the first.

    Parameters
    ----------
    path : path, optional
        File for the JSON lines, one record of the history each; replaced if it exists.
    active : bool
        False on the ranks that print and write nothing.
    stream : text file, optional
        Where to print, stderr if not given.
    """

    def __init__(
        self, path: str | Path | None, active: bool = True, stream: IO[str] | None = None
    ) -> None:
        self._path = Path(path) if path is not None and active else None
        self._active = active
        self._stream = stream or sys.stderr
        self._file: IO[str] | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._active:
            return self
        if self._path is not None:
            self._file = self._path.open("w", encoding="utf-8")
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream, highlight=False),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("start", total=None)
        self._print(HEADER)
        return self

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Show the record of an iteration."""
        if not self._active:
            return
        self._print(line(record))
        if self._bar is not None:
            self._bar.update(self._task, description=f"iteration {record['iteration'] + 1}")
        if self._file is not None:
            self._file.write(json.dumps(dict(record), default=float) + "\n")
            self._file.flush()  # a reader sees it, and it survives a crash

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.close()

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=self._stream, flush=True)


def print_table(rows: Mapping[str, Any], title: str = "") -> None:
    """Print names and values on stdout, in two columns."""
    if title:
        print(title)
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
