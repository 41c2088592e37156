"""Simulate and reconstruct the paper's vacancy crystal, 4679 atoms at 1e20 photons/um^2.

Runs the commands a person would type, one after the other, and shows each:

  crystal, simulate, support, reconstruct, evaluate, plot

and leaves reconstruction.h5, atoms.xyz, demo.png and metrics.json in the folder; those of an
earlier demo are replaced. Takes about a minute."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prammol.cli import messages
from prammol.cli.commands.common import count

COMMANDS = """\
crystal vacancy -o {0}/truth.xyz
simulate {0}/truth.xyz --flux 1e20 --seed 1 -o {0}/diffraction.h5
support {0}/diffraction.h5 --from-truth {0}/truth.xyz --resolution 5 -o {0}/support.h5
reconstruct {0}/diffraction.h5 --support {0}/support.h5 --seed 1 -o {0}/reconstruction.h5
evaluate {0}/reconstruction.h5 --truth {0}/truth.xyz --json {0}/metrics.json --atoms {0}/atoms.xyz
plot {0}/reconstruction.h5 --truth {0}/truth.xyz -o {0}/demo.png
"""
_FOLDER = "results/demo"
NOT_CONVERGED = 3  # derived: format, as reconstruct's

EXAMPLES = """\
examples:
  prammol demo
  prammol demo my-demo --threads 2
  prammol demo small-demo --atoms 600
  prammol demo paper-demo --preset paper --set patience=15
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "folder",
        nargs="?",
        default=_FOLDER,
        metavar="FOLDER",
        help="where to leave the files; made if it isn't there [%(default)s]",
    )
    parser.add_argument(
        "--atoms", type=count, metavar="N", help="of a smaller crystal [4679, the paper's]"
    )
    group = parser.add_argument_group("the reconstruction")
    group.add_argument("--preset", metavar="NAME", help="default or paper")
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    group.add_argument("--threads", type=count, metavar="N", help="threads of the transforms [1]")


def run(options: argparse.Namespace) -> int:
    """Run the commands; return the exit code of the first that fails."""
    from prammol.cli.main import run as run_command
    from prammol.io.atomic_write import unwritable

    extra = ["--preset", options.preset] if options.preset else []
    extra += [word for setting in options.set for word in ("--set", setting)]
    extra += ["--threads", str(options.threads)] if options.threads else []
    try:
        Path(options.folder).mkdir(parents=options.folder == _FOLDER, exist_ok=True)
    except OSError as error:
        raise unwritable(options.folder, error) from None
    worst = 0
    for command in COMMANDS.splitlines():
        words = [w.format(options.folder) for w in command.split()]
        if words[0] == "reconstruct":
            words += extra
        if words[0] == "crystal" and options.atoms:
            words += ["--atoms", str(options.atoms)]
        sys.argv = ["prammol", *words]  # what the files say they were made by
        messages.result("\n$ prammol " + " ".join(words))
        code = run_command([*words, "--force"])
        if code not in (0, NOT_CONVERGED):
            return code
        worst = max(worst, code)
    messages.result("\nresults:")
    for name in ("reconstruction.h5", "atoms.xyz", "demo.png", "metrics.json"):
        messages.result(f"  {Path(options.folder) / name}")
    return worst
