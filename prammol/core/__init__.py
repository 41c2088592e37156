"""What every other package may use: errors, ranks, memory, shared defaults, the version.

Nothing here knows about physics, and nothing here imports numpy, so that ``prammol --help``
is instant. The ranks stand for the parallelisation the paper leaves open: every rank holds
all atoms and a share of the hkl points (see ``docs/explanation``).
"""

from __future__ import annotations

from prammol.core.errors import (
    DataError,
    InputError,
    OutputExistsError,
    PotentialError,
    PrammolError,
    SimulationError,
    StoppedError,
)
from prammol.core.memory import keep_freed_memory, resident_mib
from prammol.core.parallel import Communicator, MPICommunicator, abort_on_exception, share, world
from prammol.core.version import __version__

__all__ = [
    "Communicator",
    "DataError",
    "InputError",
    "MPICommunicator",
    "OutputExistsError",
    "PotentialError",
    "PrammolError",
    "SimulationError",
    "StoppedError",
    "__version__",
    "abort_on_exception",
    "keep_freed_memory",
    "resident_mib",
    "share",
    "world",
]
