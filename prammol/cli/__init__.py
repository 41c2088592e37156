"""The command line: one module per verb in :mod:`prammol.cli.commands`, thin around the packages below.

Options, checks before work begins, progress, checkpoints on signals, exit codes. No section of
the paper.
"""

from __future__ import annotations

from prammol.cli.main import run

__all__ = [
    "run",
]
