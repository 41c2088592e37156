"""The most memory this process has held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from prammol.core.memory import resident_mib

FORGET = Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak start again from what is held now; on Linux only."""
    if FORGET.exists():
        FORGET.write_text("5")


def peak() -> float:
    """Return the peak of the resident memory [MB]."""
    if FORGET.exists():  # what getrusage says survives forget_peak
        return resident_mib()[1] * 2**20 / 1e6
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
