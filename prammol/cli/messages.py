"""What is said to a person: on the terminal, less or more of it, and in a log.

Results go to stdout, all else to stderr. ``-q`` leaves warnings and errors, ``-v`` adds details;
a log has everything, each line with the time.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from prammol.core.errors import InputError
from prammol.core.version import __version__

QUIET, NORMAL, VERBOSE = -1, 0, 1
_ENDINGS = (".log", ".txt", "")
_FIRST = "prammol log"  # of a log, so that no other file is appended to


def _print_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Channel:
    """How much is said, where it goes besides the terminal, and how stderr is written to."""

    level: int = NORMAL
    log: IO[str] | None = None
    write: Callable[[str], None] = field(default=_print_on_stderr)


_channel = _Channel()


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Add ``-v``, ``-q`` and ``--log``."""
    group = parser.add_argument_group("messages")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="say more")
    loudness.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    group.add_argument(
        "--log",
        metavar="FILE.log",
        help="append all messages to a file, details as of -v with them, each with the time",
    )


@contextmanager
def said(options: argparse.Namespace, command: str, active: bool = True) -> Iterator[None]:
    """Say what the options of :func:`add_messages` ask for while the block runs.

    What isn't given stays as it is around the block.

    Parameters
    ----------
    options : Namespace
    command : str
        Command line, for the log.
    active : bool
        False on the ranks that write no log; they only find out whether it can be written.

    Raises
    ------
    InputError
        If the log can't be written, or another file has its name.
    """
    global _channel  # noqa: PLW0603  (one terminal)
    before = _channel
    level = before.level
    if getattr(options, "verbose", False):
        level = VERBOSE
    elif getattr(options, "quiet", False):
        level = QUIET
    path = getattr(options, "log", None)
    log = _opened(Path(path)) if path else None
    if log is not None and not active:
        log.close()
        log = None
    _channel = replace(before, level=level, log=log or before.log)
    try:
        if log is not None:
            _note_down(f"{_FIRST}, version {__version__}: {command}", "")
        yield
    except Exception as error:
        if log is not None and not hasattr(error, "exit_code"):
            _note_down(traceback.format_exc().rstrip(), "bug: ")
        raise
    finally:
        _channel = before
        if log is not None:
            with suppress(OSError):  # what couldn't be written has been told
                log.close()


@contextmanager
def written_by(write: Callable[[str], None]) -> Iterator[None]:
    """Hand the lines for stderr to a function, which has a moving line below them."""
    global _channel  # noqa: PLW0603
    before = _channel
    _channel = replace(before, write=write)
    try:
        yield
    finally:
        _channel = before


def is_quiet() -> bool:
    """Tell whether only warnings and errors are said."""
    return _channel.level < NORMAL


def result(text: str) -> None:
    """Print a result on stdout."""
    if not is_quiet():
        print(text, flush=True)
    _note_down(text, "")


def say(text: str) -> None:
    """Say how the work goes."""
    if not is_quiet():
        _channel.write(text)
    _note_down(text, "")


def detail(text: str) -> None:
    """Say what few want to know."""
    if _channel.level >= VERBOSE:
        _channel.write(text)
    _note_down(text, "")


def note(text: str) -> None:
    """Say what is worth knowing and isn't wrong."""
    if not is_quiet():
        _channel.write(f"prammol: note: {text}")
    _note_down(text, "note: ")


def warn(text: str) -> None:
    """Print a warning."""
    _channel.write(f"prammol: warning: {text}")
    _note_down(text, "warning: ")


def fail(text: str) -> None:
    """Print why the program ends."""
    _channel.write(f"prammol: {text}")
    _note_down(text, "error: ")


def _note_down(text: str, kind: str) -> None:
    """Append a text to the log, if there is one; give it up if it can't be written."""
    global _channel  # noqa: PLW0603
    if _channel.log is None:
        return
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        for line in text.splitlines():
            _channel.log.write(f"{now} {kind}{line}\n")
        _channel.log.flush()  # a reader sees it, and it survives a crash
    except OSError as error:
        name = _channel.log.name
        _channel = replace(_channel, log=None)
        warn(f"{name}: can't be written ({error.strerror}), the log ends here")


def _opened(path: Path) -> IO[str]:
    """Open a log at its end."""
    if path.suffix not in _ENDINGS:
        msg = f"{path}: expected a name that ends with .log, for the log"
        raise InputError(msg)
    try:
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                if _FIRST.encode() not in file.readline(200):
                    msg = f"{path}: isn't a log of prammol, give another name"
                    raise InputError(msg)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        msg = f"{path}: can't be written ({error.strerror}), expected a place for the log"
        raise InputError(msg) from None
