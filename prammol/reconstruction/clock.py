"""Wall and processor time of a reconstruction."""

from __future__ import annotations

import time


class Clock:
    """Wall and processor time of this rank since it was made."""

    def __init__(self) -> None:
        self._wall = self._lap = time.perf_counter()
        self._core = time.process_time()

    def lap(self) -> float:
        """Return the wall time since the last lap [s]."""
        now = time.perf_counter()
        last, self._lap = self._lap, now
        return now - last

    def read(self) -> tuple[float, float]:
        """Return wall and processor time in all [s]."""
        return time.perf_counter() - self._wall, time.process_time() - self._core
