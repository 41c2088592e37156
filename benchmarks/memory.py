"""The most memory this process has held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak start again from what is held now; on Linux only."""
    if FORGET.exists():
        FORGET.write_text("5")


def peak() -> float:
    """Return the peak of the resident memory [MB]."""
    if FORGET.exists():  # what getrusage says survives forget_peak
        line = next(s for s in STATUS.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
