"""Writing files so that a reader sees the old one, the new one, never half of one."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prammol.core.errors import InputError, OutputExistsError

PathLike = str | os.PathLike[str]
_REASON = re.compile(r"error message = '([^']*)'")  # in what h5py says


def require_absent(path: PathLike, force: bool = False) -> Path:
    """Check that an output can be written; call it before a long computation.

    Parameters
    ----------
    path : path
        File to be written, in a directory that exists.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If the path is a directory, or its directory isn't there or can't be written to.
    """
    path = Path(path)
    if path.is_dir():
        msg = f"{path}: is a directory, expected the name of a file to write"
        raise InputError(msg)
    if path.exists() and not force:
        msg = f"{path}: exists already, give another name or --force to replace it"
        raise OutputExistsError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: its directory {path.parent} doesn't exist, make it first"
        raise InputError(msg)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        msg = f"{path}: its directory can't be written to"
        raise InputError(msg)
    return path


@contextmanager
def replacing(path: PathLike, force: bool = False) -> Iterator[Path]:
    """Write a file beside its place and move it there when it is whole.

    Yields
    ------
    Path
        Where to write. After the block it is flushed to disk and renamed; if
        the block raises it is removed and nothing else has changed.

    Raises
    ------
    InputError
        As :func:`require_absent`, or if the disk refuses (full, quota).
    """
    path = require_absent(path, force)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        _move(temporary, path, force)
        _flush(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    except RuntimeError as error:
        # What h5py makes of a disk that is full while it closes a file.
        if "nable to" not in str(error) and "an't" not in str(error):
            raise
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def unwritable(path: PathLike, error: Exception) -> InputError:
    """Return the error that a file can't be written, with the system's reason."""
    found = _REASON.search(str(error))
    # h5py puts all of the library's words, several lines of them, into strerror
    reason = found[1] if found else getattr(error, "strerror", None) or first_line(error)
    return InputError(f"{path}: can't be written ({reason}); nothing else was changed")


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put the name of a file, or a place in it, before the sentence of an InputError."""
    try:
        yield
    except InputError as error:
        msg = f"{where}: {error}"
        raise type(error)(msg) from None


def first_line(error: BaseException, length: int = 200) -> str:
    """Return the first line of what an error says, or its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:length]


def _move(temporary: Path, path: Path, force: bool) -> None:
    """Give a file its name; unless `force`, only if nobody was quicker."""
    require_absent(path, force)
    if not force:
        try:
            os.link(temporary, path)  # unlike a renaming, it never replaces
        except FileExistsError:
            require_absent(path, force)
        except OSError:  # no links on this file system
            pass
        else:
            return
    temporary.replace(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
