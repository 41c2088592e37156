"""``python -m prammol`` and the command ``prammol``."""

from __future__ import annotations

import os
import sys
from itertools import zip_longest

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def set_threads(arguments: list[str]) -> None:
    """Set the threads of the numerical libraries, which read them when they are loaded.

    One per process unless ``--threads`` or the environment say otherwise.
    """
    threads = None
    for option, value in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, _, joined = option.partition("=")
        if name == "--threads" and (joined or value).isdigit():
            threads = joined or value
    for variable in THREAD_VARIABLES:
        if threads is not None:
            os.environ[variable] = threads
        else:
            os.environ.setdefault(variable, "1")


def main() -> int:
    """Run the command line of this process; return its exit code."""
    set_threads(sys.argv[1:])
    from prammol.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
