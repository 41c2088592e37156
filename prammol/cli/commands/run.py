"""Run what a file describes: YAML or TOML, a section for each verb.

The keys are the options of the verb as its --help lists them. Sections run in the order
crystal, dynamics, simulate, support, reconstruct, evaluate, plot, view; paths are relative to
the file. All of it is checked before anything is computed. "prammol init" writes such a file.

If a run was interrupted, --resume goes on with it: steps whose outputs are there are left out,
unless the file or an input was changed since."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

from prammol.cli import messages
from prammol.cli.commands.common import on_root

if TYPE_CHECKING:
    from prammol.cli.run_file import Step
    from prammol.core.parallel import Communicator

EXAMPLES = """\
examples:
  prammol init run.yaml
  prammol run run.yaml
  mpiexec -n 4 prammol run run.yaml --resume
"""
_USABLE = (0, 3)  # derived: format, exit codes after which there is a result to go on with


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("file", metavar="FILE", help="what to run, .yaml or .toml")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was interrupted"
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Check all steps, run one after the other; return the worst exit code."""
    from prammol.cli.main import run as run_command
    from prammol.cli.run_file import read_run

    path = Path(options.file)
    steps = on_root(comm, lambda: read_run(path))
    worst = 0
    with chdir(path.parent):
        done = on_root(comm, lambda: _checked(steps, options, Path(path.name)))
        for step in steps:
            shown = shlex.join(["prammol", *step.words])
            if step.verb in done:
                if comm.is_root:
                    messages.say(f"$ {shown}\n{done[step.verb]}: is there")
                worst = max(worst, code_of(step))
                continue
            if comm.is_root:
                messages.say(f"$ {shown}")
            sys.argv = ["prammol", *step.words]  # what the files say they were made by
            code = comm.bcast(run_command(_with_own(step, options)))
            if code not in _USABLE:
                return int(code)
            worst = max(worst, code)
    return worst


def _with_own(step: Step, options: argparse.Namespace) -> list[str]:
    """Return the command line of a step with what was given for the whole run."""
    force = ["--force"] if options.force else []
    resume = ["--resume"] if options.resume and step.verb == "reconstruct" else []
    return [*step.words, *force, *resume]


def _checked(steps: list[Step], options: argparse.Namespace, path: Path) -> dict[str, str]:
    """Check the files of all steps; return an output of each step that is done already."""
    from prammol.cli.commands.common import require_inputs
    from prammol.io import require_absent

    done: dict[str, str] = {}
    made: set[Path] = set()
    for step in steps:
        own = getattr(step.options, "potential", None)
        require_inputs(*(f for f in step.reads() if Path(f) not in made), potential=own)
        made.update(map(Path, step.writes()))
    for step in steps:
        files = list(step.writes())
        there = [f for f in files if Path(f).exists()]
        if options.resume and not options.force and files and there == files:
            for older in (path, *map(Path, step.reads())):
                require_newer(Path(files[0]), older)
            done[step.verb] = files[0]
            continue
        may = options.force or step.options.force
        for file in files:
            resumed = options.resume and step.verb == "reconstruct" and file != files[0]
            require_absent(file, may or resumed)
    return done


def code_of(step: Step) -> int:
    """Return the exit code of a step whose outputs are there."""
    from prammol.io import read_reconstruction

    if step.verb != "reconstruct" or read_reconstruction(step.options.output).converged:
        return 0
    return _USABLE[1]


def require_newer(output: Path, source: Path) -> None:
    """Raise InputError if a file is older than what it was made of."""
    from prammol.core.errors import InputError

    if output.stat().st_mtime_ns < source.stat().st_mtime_ns:
        msg = f"{output}: {source} was changed since it was made, --force makes all anew"
        raise InputError(msg)
