"""SIGTERM as a question that is asked between iterations.

Batch systems send it some time before they kill (time limit, preemption).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from prammol.core.parallel import Communicator


class Termination:
    """A context in which SIGTERM is noted instead of ending the process.

    Repeated signals are no more than one: a launcher and a batch system often send it
    both. SIGINT and SIGKILL still end at once.

    Parameters
    ----------
    comm : Communicator
        Ranks that are asked together.
    """

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        self._noted = False
        self._before: Any = None
        # Python allows handlers in the main thread only.
        self._able = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Termination:
        if self._able:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._able:
            signal.signal(signal.SIGTERM, self._before)

    def requested(self) -> bool:
        """Tell whether any rank was asked to end; called by all ranks together."""
        return self._comm.max(float(self._noted)) > 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._noted and self._comm.is_root:
            # Not print: the signal may have come in the middle of one.
            os.write(2, b"prammol: SIGTERM, ending after this iteration\n")
        self._noted = True
