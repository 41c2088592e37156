"""Memory of this process: as Linux counts it, and kept for the next array."""

from __future__ import annotations

import ctypes
from pathlib import Path

_KIB_PER_MIB = 1024  # derived: units
_STATUS = Path("/proc/self/status")
_OF_NODE = Path("/proc/meminfo")
_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
# Parameters of mallopt(3), and its largest number.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # derived: format, glibc's malloc.h
_LARGEST = 2**31 - 1  # derived: format, the largest int of C


def keep_freed_memory() -> bool:
    """Let this process keep the memory of arrays it frees, up to 2 GiB at a time.

    The C library of Linux gets each large array from the kernel, page by page and filled with
    zeros, and hands it back at once: half the time of a transform on fine grids, whose own arrays
    are as large as that. What is kept is counted as this process's until it ends.

    Returns
    -------
    bool
        False where the C library has no such setting; nothing is lost but time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _LARGEST))


def resident_mib() -> tuple[float, float]:
    """Return the resident memory of this process now and at most so far [MiB].

    Batch systems count the same, children and page cache aside. 0 where the system doesn't say.
    """
    # Not getrusage: its maximum includes what the process was before it became this program.
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0, 0.0
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    now, most = (int(known.get(k, "0").split()[0]) / _KIB_PER_MIB for k in ("VmRSS", "VmHWM"))
    return now, max(now, most)  # the kernel rounds each in its own way


def free_bytes() -> float:
    """Return the memory that new processes of this job can have on this node [bytes].

    What the system calls available, or less if the job, or the container, has a limit. Infinite
    where the system doesn't say.
    """
    free = _numbers(_OF_NODE, ":").get("MemAvailable", float("inf")) * 1024  # in kB, of 1024 bytes
    try:
        group = _GROUP.read_text(encoding="ascii").partition("0::/")[2].splitlines()
    except (OSError, UnicodeDecodeError):
        group = []
    here = _GROUPS / (group[0] if group else "")
    for level in (here, *here.parents):
        try:
            limit = float((level / "memory.max").read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there, or "max"
            limit = float("inf")
        free = min(free, limit - _numbers(level / "memory.stat", " ").get("anon", 0.0))
        if level == _GROUPS:
            break
    return free


def _numbers(path: Path, separator: str) -> dict[str, float]:
    """Return the numbers of a file of the system by name; nothing if there is no such file."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(separator, 1) for line in lines if separator in line)
    return {name: float(rest.split()[0]) for name, rest in pairs}
