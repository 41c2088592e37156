"""Memory of this process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

_KIB_PER_MIB = 1024
_STATUS = Path("/proc/self/status")


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
