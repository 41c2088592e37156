"""The command line: parser, errors and exit codes. One module per verb in ``commands``.

Nothing here imports numpy, so that ``prammol --help`` is instant.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from prammol.cli import messages
from prammol.core.errors import InputError, PrammolError
from prammol.core.version import __version__

VERBS = (
    "init",
    "run",
    "plan",
    "crystal",
    "simulate",
    "support",
    "reconstruct",
    "evaluate",
    "compare",
    "plot",
    "view",
    "export",
    "presets",
    "dynamics",
    "demo",
    "example",
    "doctor",
    "completion",
)
# Verbs whose work is shared by all ranks of an MPI job; rank 0 alone does the others.
PARALLEL = ("run", "crystal", "dynamics", "simulate", "reconstruct")
# Verbs that only print.
PRINTING = ("presets", "doctor", "completion")

HELP = """\
Find every atom of a nanocrystal from the coherent diffraction around at least three
of its Bragg peaks: the data decide which atoms exist, molecular dynamics what is
physical (after PRAMMol, Meziere et al., npj Comput. Mater. 2024,
doi 10.1038/s41524-024-01340-4).

verbs (each has its own --help, with units and examples):
  init         a commented file with the options of a run              -> run.yaml
  run          what that file describes, one verb after the other
  plan         what an experiment would tell, before the beamtime      -> p.png, p.json
  crystal      make and relax a sample crystal                         -> s.xyz
  simulate     photon counts of a crystal around its Bragg peaks       -> d.h5
  support      where atoms may be, from a known crystal or the counts  -> u.h5
  reconstruct  counts and support to atoms                             -> r.h5, r.xyz, r.lammps
  evaluate     compare with a known crystal                            -> m.json
  compare      two reconstructions without a known crystal             -> c.json
  plot         layers of the lattice, errors, convergence; the fit     -> p.png
  view         atoms in three dimensions, in a browser                 -> view.html
  export       fields and atoms for ParaView                           -> f.vti, a.vtp
  dynamics     scattering averaged over molecular dynamics              -> a.npz
  presets      print the ways to reconstruct and all their settings
  demo         all of this for the paper's vacancy crystal
  example      the files that the tutorials start from
  doctor       check MPI, LAMMPS, the potential and the transforms
  completion   a script for bash, zsh or tcsh: Tab completes verbs, options and files
"""

EPILOG = """\
example, the vacancy crystal of the paper (4679 atoms):
  prammol crystal vacancy -o s.xyz
  prammol simulate s.xyz --flux 1e20 --seed 1 -o d.h5
  prammol support d.h5 --from-truth s.xyz --resolution 5 -o u.h5
  prammol reconstruct d.h5 --support u.h5 --seed 1 -o r.h5
  prammol evaluate r.h5 --truth s.xyz --json m.json
  prammol compare r.h5 other.h5
  prammol plot r.h5 --truth s.xyz -o p.png
  prammol view r.h5 --truth s.xyz -o view.html
on several processes, with the same result:
  mpiexec -n 4 prammol reconstruct d.h5 --support u.h5 --seed 1 -o r.h5

units:
  positions in Å, scattering vectors in 1/Å with the 2 pi, flux in photons/um^2,
  energies in eV, temperatures in K, times in s, errors in pm

exit codes:
  0  done
  1  a bug (with its traceback), or doctor found something wrong
  2  the input can't be used; one sentence says why, nothing was overwritten
  3  reconstruct wrote its result, but stopped before it had converged
  143  reconstruct was sent SIGTERM and left a checkpoint for --resume

An output that exists is never replaced without --force.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are PrammolErrors: one sentence, on one rank."""

    def error(self, message: str) -> NoReturn:
        msg = f"{message} (see {self.prog} --help)"
        raise InputError(msg)


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, or with one verb's options only.

    Parameters
    ----------
    verb : str, optional
        The verb that will be run; its module alone is imported.
    """
    parser = Parser(
        prog="prammol",
        usage="prammol VERB ... (prammol VERB --help)",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"prammol {__version__}")
    # The verbs are described above, with what they write.
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", help=argparse.SUPPRESS)
    for name in VERBS if verb is None else [verb]:
        module = import_module(f"prammol.cli.commands.{name}")
        own = verbs.add_parser(
            name,
            prog=f"prammol {name}",
            help=(module.__doc__ or "").partition("\n")[0],
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(own)
        if name not in PRINTING:
            messages.add_messages(own)
    return parser


def verb_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the verbs that a parser of :func:`build_parser` knows."""
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(verbs.choices)


def run(arguments: list[str]) -> int:
    """Run one command line; return the exit code.

    Parameters
    ----------
    arguments : list of str
        What follows ``prammol``.
    """
    rank = launched_rank()
    try:
        options = parsed(arguments)
        if options.verb is None:
            build_parser().print_help()
            return 0
        command = shlex.join(["prammol", *arguments])
        with messages.said(options, command, rank == 0):
            return _run_verb(options, rank)
    except PrammolError as error:
        return end_with(error, rank)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the options of a command line.

    Raises
    ------
    InputError
        If there is no such verb or option, or a value is wrong.
    """
    verb = next((a for a in arguments if not a.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the verbs are {', '.join(VERBS)}"
        msg = f"there is no verb {verb!r}, {hint}"
        raise InputError(msg)
    return build_parser(verb).parse_args(arguments)


def _run_verb(options: argparse.Namespace, rank: int) -> int:
    """Run a verb; say why it ended if it did."""
    module = import_module(f"prammol.cli.commands.{options.verb}")
    comm: Any = None
    spare: Any = None
    try:
        if options.verb not in PARALLEL:
            return int(module.run(options)) if rank == 0 else 0
        from prammol.core.parallel import abort_on_exception, world

        comm = world()
        abort_on_exception(comm)
        spare = comm.mpi.Dup() if comm.size > 1 else None
        return int(module.run(options, comm))
    except PrammolError as error:
        return end_with(error, rank, spare)
    except BrokenPipeError:  # prammol presets | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        hint = f"; {module.interrupted(options)}" if hasattr(module, "interrupted") else ""
        if rank == 0:
            messages.fail(f"interrupted{hint}")
        if comm is not None and comm.size > 1:
            comm.abort(130)
        return 130


def launched_rank() -> int:
    """Return the rank the launcher gave this process, 0 if there is none; needs no MPI."""
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def end_with(error: PrammolError, rank: int, spare: Any = None, patience: float = 10.0) -> int:
    """Print the sentence of an error once and return its exit code.

    Usually all ranks raise the same error. If one raises alone the others may wait
    for it for ever: then it ends the whole job.

    Parameters
    ----------
    error : PrammolError
        What was raised on this rank.
    rank : int
        Rank of this process.
    spare : mpi4py.MPI.Comm, optional
        A communicator nobody else uses: the other ranks may be inside a collective
        call on theirs. None in a single process.
    patience : float
        Seconds to wait for the other ranks to raise an error too.
    """
    together = True
    if spare is not None:
        arrived = spare.Ibarrier()
        deadline = time.monotonic() + patience
        while not (together := arrived.Test()) and time.monotonic() < deadline:
            time.sleep(0.05)
    if rank == 0 or not together:
        messages.fail(str(error))
    if not together:
        time.sleep(0.5)  # or mpiexec ends the job before it has passed the sentence on
        spare.Abort(error.exit_code)
    return error.exit_code
