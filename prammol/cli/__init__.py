"""The command line, thin around the packages below.

One module per verb in :mod:`prammol.cli.commands`; options, checks before work begins, progress,
checkpoints on signals, exit codes. No section of the paper.
"""

from __future__ import annotations

from prammol.cli.main import run

__all__ = [
    "run",
]
