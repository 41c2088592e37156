"""Write the files that the tutorials and notebooks start from.

kinds:
  scans       s.xyz, a crystal of 300 atoms; scans.cxi, raw rocking scans of it; modes.cxi, the
              object of the first scan as PyNX would write it; scans.truth.h5
  instrument  instrument.yaml, with all keys of prammol simulate --instrument"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import as_file, files
from pathlib import Path

from prammol.cli import messages

KINDS = {
    "scans": ("s.xyz", "scans.cxi", "scans.truth.h5", "modes.cxi"),
    "instrument": ("instrument.yaml",),
}
_CRYSTAL = "crystal bulk --atoms 300 --seed 6"
_SEED = 3  # of counts and hot pixels; chosen: display

EXAMPLES = """\
examples:
  prammol example scans
  prammol example instrument FOLDER
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("kind", choices=tuple(KINDS), help="which files")
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="where [this folder]"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Write the files; return the exit code of the first command that fails."""
    from prammol.io import replacing, require_absent

    folder = Path(options.folder)
    for name in KINDS[options.kind]:
        require_absent(folder / name, options.force)
    data = files("prammol").joinpath("data")
    if options.kind == "instrument":
        with replacing(folder / "instrument.yaml", options.force) as place:
            place.write_text(data.joinpath("instrument.yaml").read_text("utf-8"), encoding="utf-8")
        messages.result(str(folder / "instrument.yaml"))
        return 0
    with as_file(data.joinpath("example-scans.yaml")) as instrument:
        return _scans(folder, instrument, options.force)


def _scans(folder: Path, instrument: Path, force: bool) -> int:
    from prammol.cli.main import run as run_command
    from prammol.io import read_atoms, read_diffraction
    from prammol.io.phased_objects import write_object
    from prammol.simulation.phased_object import phased_object

    crystal, scans = folder / "s.xyz", folder / "scans.cxi"
    for words in (
        [*_CRYSTAL.split(), "-o", crystal],
        ["simulate", crystal, "--instrument", instrument, "--seed", _SEED, "-o", scans],
    ):
        sys.argv = ["prammol", *map(str, words)]  # what the files say they were made by
        code = run_command([*sys.argv[1:], *(["--force"] if force else [])])
        if code:
            return code
    patch = read_diffraction(scans).patches[0]
    object_ = phased_object(getattr(patch, "affine", patch), read_atoms(crystal).positions)
    write_object(folder / "modes.cxi", object_, force)
    messages.result(f"{folder / 'modes.cxi'}: the object of the first scan")
    return 0
