"""SIGTERM is noted while a run goes on."""

from __future__ import annotations

import os
import signal

from prammol.cli.sigterm import Termination
from prammol.core.parallel import Communicator


def test_sigterm_is_noted_and_the_handler_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Termination(Communicator()) as termination:
        assert not termination.requested()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # batch systems send several
        assert termination.requested()
    assert signal.getsignal(signal.SIGTERM) is before
