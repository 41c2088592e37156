"""What several verbs share: kinds of numbers, options, work on one rank."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prammol.cli.messages import warn
from prammol.core.defaults import FIT_BLUR
from prammol.core.errors import InputError, PrammolError

if TYPE_CHECKING:
    from prammol.core.parallel import Communicator
    from prammol.diffraction.dataset import Diffraction
    from prammol.diffraction.response import Response
    from prammol.io.atomic_write import PathLike
    from prammol.structure.atoms import Atoms

T = TypeVar("T")


def positive(text: str) -> float:
    """Convert the text of a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        msg = f"{text!r} isn't a positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def widths(text: str) -> tuple[float, ...]:
    """Convert the text of one number of at least 0, or of one for each of three axes."""
    values = tuple(not_negative(part) for part in text.split(","))
    if len(values) not in (1, 3):
        msg = f"{text!r} isn't one number or three, such as 1,1,0.5"
        raise argparse.ArgumentTypeError(msg)
    return values


def add_response(group: argparse._ActionsContainer) -> None:
    """Add the widths of the detector's response."""
    for name, what in (
        ("pixel-box", "width of the box that pixel and rocking step integrate over"),
        ("blur", "standard deviation of the Gaussian of point-spread function and coherence"),
    ):
        group.add_argument(
            f"--{name}",
            type=widths,
            metavar="W",
            help=f"{what}, in steps of the grid: one number, or one for each axis",
        )


def add_fit_blur(group: argparse._ActionsContainer) -> None:
    """Add the option to fit the blur."""
    group.add_argument(
        "--fit-blur",
        type=not_negative,
        nargs="?",
        const=FIT_BLUR,
        metavar="W",
        help="fit a Gaussian for each axis beyond the declared blur; W is the standard deviation "
        f"of the prior of its width, in steps [{FIT_BLUR:g}]",
    )


def response_of(
    options: argparse.Namespace, patches: int, known: Response | None
) -> Response | None:
    """Return the response of the detector: by the options, else that of the file."""
    import numpy as np

    from prammol.diffraction.response import Response

    nothing = Response(np.zeros((patches, 3)), np.zeros((patches, 3)))
    base, (box, blur, fit) = known or nothing, (options.pixel_box, options.blur, options.fit_blur)
    return Response.of(
        patches,
        base.box if box is None else box,
        base.blur if blur is None else blur,
        base.uncertainty if fit is None else fit,
    )


def not_negative(text: str) -> float:
    """Convert the text of a finite number, at least zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        msg = f"{text!r} isn't a number of at least 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def count(text: str) -> int:
    """Convert the text of a whole number, at least 1."""
    if not text.isdigit() or int(text) < 1:
        msg = f"{text!r} isn't a whole number of at least 1"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def seed(text: str) -> int:
    """Convert the text of a seed, a whole number from 0."""
    if not text.isdigit():
        msg = f"{text!r} isn't a whole number of at least 0"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


# What is in a file by the end of its name.
_ENDINGS = {
    "HDF5": (".h5", ".hdf5", ".cxi", ".nxs"),
    "XYZ": (".xyz", ".extxyz"),
    "LAMMPS data": (".lammps", ".data"),
    "NPZ": (".npz",),
    "JSON": (".json", ".jsonl"),
    "HTML": (".html", ".htm"),
    "a picture": (".png", ".pdf", ".svg", ".jpg", ".tif", ".tiff"),
}


def written_as(kind: str) -> Callable[[str], str]:
    """Return a converter of the names of outputs of a kind: none that promises another."""

    def convert(text: str) -> str:
        end = next((end for ends in _ENDINGS.values() for end in ends if text.endswith(end)), "")
        if end and end not in _ENDINGS.get(kind, (end,)):
            msg = f"{text!r} ends with {end}, but {kind} is written, such as x{_ENDINGS[kind][0]}"
            raise argparse.ArgumentTypeError(msg)
        return text

    return convert


def add_output(parser: argparse.ArgumentParser, kind: str, what: str) -> None:
    """Add ``-o``, a file of a kind, and ``--force``."""
    parser.add_argument(
        "-o", "--output", required=True, type=written_as(kind), metavar="FILE", help=what
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")


def add_dynamics(group: argparse._ActionsContainer) -> None:
    """Add the options of canonical dynamics besides the temperature."""
    from prammol.core.defaults import DYNAMICS

    for name, kind, unit, text in (
        ("equilibrate", count, "N", "steps before the first snapshot"),
        ("steps", count, "N", "steps with snapshots"),
        ("every", count, "N", "steps between two snapshots"),
        ("timestep", positive, "FS", "time step [fs]"),
    ):
        group.add_argument(
            f"--{name}",
            type=kind,
            default=DYNAMICS[name],
            metavar=unit,
            help=f"{text} [%(default)s]",
        )


def require_element(expected: str, name: object, element: str | None) -> None:
    """Raise InputError if a file is about another element (None: it doesn't say).

    Of several elements both are named with commas, by atomic number.
    """
    if element is not None and element != expected:
        msg = f"{name}: is about {element}, but the potential is for {expected}"
        raise InputError(msg)


def elements_of(meta: Mapping[str, Any]) -> str | None:
    """Return the elements that data say they are of, with commas; None if they don't say."""
    told = meta.get("elements", meta.get("element"))
    return None if told is None else str(told)


def read_crystal(path: PathLike, mean: bool = False, several: bool = False) -> Atoms:
    """Read the atoms of a crystal.

    Parameters
    ----------
    path : path
    mean : bool
        Whether positions may be means of a warm crystal, of which two may be in one place.
    several : bool
        Whether it may be of several elements.

    Raises
    ------
    InputError
        If it can't be read, its positions aren't in Å, or two atoms are in one place.
    """
    from prammol.io import naming, read_atoms
    from prammol.simulation.counts import require_apart
    from prammol.structure.separation import require_angstrom

    atoms = read_atoms(path, several)
    with naming(path):
        require_angstrom(atoms.positions)
        if not mean:
            require_apart(atoms)
    return atoms


def read_found(path: PathLike, elements: Sequence[str] = (), frame: int = 1) -> Atoms:
    """Read the atoms of a reconstruction (HDF5), or those of any file with atoms.

    Parameters as of :func:`prammol.io.read_atoms`.

    Raises
    ------
    InputError
        If it can't be read.
    """
    import h5py

    from prammol.io import read_atoms, read_reconstruction

    if Path(path).suffix in _ENDINGS["HDF5"] or h5py.is_hdf5(path):
        return read_reconstruction(path).atoms
    return read_atoms(path, True, elements, frame)


def require_inputs(*paths: str | None, potential: str | None = None) -> None:
    """Raise InputError if a file isn't there; outputs are complained of only afterwards."""
    for path in filter(None, paths):
        if not Path(path).exists():
            msg = f"{path}: no such file"
            raise InputError(msg)
    if potential is not None:
        from prammol.potentials.choose import find_potential

        find_potential(potential)


def warn_of_tasks(comm: Communicator) -> None:
    """Say so if a batch system has given several tasks, and this process is alone."""
    tasks = os.environ.get("SLURM_NTASKS", "")
    first = os.environ.get("SLURM_PROCID", "0") == "0"
    if comm.size == 1 and first and tasks.isdigit() and int(tasks) > 1:
        warn(f"SLURM gives {tasks} tasks, but this is one process: srun --mpi=pmi2 prammol ...")


def on_root(comm: Communicator, work: Callable[[], T]) -> T:
    """Do some work on rank 0 and hand its result, or its error, to all ranks.

    Raises
    ------
    PrammolError
        What rank 0 raised, on all ranks.
    """
    value: T | None = None
    error: PrammolError | None = None
    if comm.is_root:
        try:
            value = work()
        except PrammolError as raised:
            error = raised
    value, error = comm.bcast((value, error))
    if error is not None:
        raise error
    return value


def warn_of_counts(name: object, data: Diffraction, flaws_masked: bool | None = None) -> None:
    """Say so if masks hide most points, or counts aren't photons.

    Also of zingers, hot pixels and saturation, if it is known whether they will be masked.
    """
    from prammol.diffraction.detector_flaws import flaws_text

    flaws = "" if flaws_masked is None else flaws_text(data)
    if flaws:
        warn(f"{name}: {flaws}; {'they are masked' if flaws_masked else '--mask-flaws masks them'}")
    masked = data.mostly_masked()
    if masked:
        listed = ", ".join(f"{100 * part:.0f} % of patch {k + 1}" for k, part in masked)
        warn(f"{name}: the mask hides {listed}; in CXI 0 is a good point, is it inverted?")
    patches = data.fractional()
    if patches:
        listed = ", ".join(str(k + 1) for k in patches)
        warn(
            f"{name}: counts of patch {listed} aren't whole numbers; if they were scaled, "
            "interpolated or had a background subtracted, their noise isn't that of photons and "
            "neither misfit nor convergence can be trusted (docs/tutorials/own-data.md)"
        )


def triple(text: str) -> tuple[float, ...]:
    """Convert the text of three numbers, such as indices."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)):
        msg = f"{text!r} isn't three numbers such as -1,1,1"
        raise argparse.ArgumentTypeError(msg)
    return values


def add_mask_flaws(group: argparse._ActionsContainer) -> None:
    """Add ``--mask-flaws``, a short form of a setting."""
    group.add_argument(
        "--mask-flaws",
        action="append_const",
        dest="set",
        const="mask_flaws=true",
        help="mask zingers, hot pixels and saturated points: those that far outshine the points "
        "around them, share the largest count, or alone contradict the atoms",
    )


def command_line() -> str:
    """Return the command line of this process, for the record."""
    from prammol.io.provenance import recorded

    return recorded("prammol", sys.argv[1:])
