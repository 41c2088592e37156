"""Say where atoms may be: a low-resolution picture of the crystal.

Either from the counts alone (--phase-retrieval): each patch is phased by HIO, ER and
shrink-wrap, and where their mean amplitude is large is inside; needs the extra
prammol[phasing]. Or from an object that another program has phased (--from-file: CXI of
PyNX and cdiutils, npz of bcdi, npy and tif of cohere). Or coarse-grained from a known
crystal (--from-truth), as in the paper: every cubic voxel that holds an atom is inside.
Writes HDF5."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prammol.cli import messages
from prammol.cli.commands.common import (
    add_output,
    command_line,
    count,
    elements_of,
    positive,
    read_crystal,
    require_inputs,
    seed,
    warn_of_counts,
)
from prammol.core.defaults import SUPPORT

if TYPE_CHECKING:
    from prammol.diffraction.dataset import Diffraction
    from prammol.diffraction.support import Support

EXAMPLES = """\
examples:
  prammol support d.h5 --phase-retrieval -o u.h5
  prammol support d.h5 --from-file modes.cxi --patch 1 -o u.h5
  prammol support d.h5 --from-file strain.npz --axes z,y,x --threshold 0.3 -o u.h5
  prammol support d.h5 --from-truth s.xyz --resolution 5 -o u.h5
"""

# which options belong to which way to make a support
_OWN = {
    "phase_retrieval": ("starts", "seed", "threshold"),
    "from_file": ("patch", "voxel_size", "axes", "orientation", "threshold", "dilate"),
    "from_truth": ("resolution",),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("diffraction", metavar="DIFFRACTION", help="HDF5 file with the counts")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--phase-retrieval", action="store_true", help="from the counts and nothing else"
    )
    source.add_argument(
        "--from-file", metavar="FILE", help="object phased by another program, or cohere's folder"
    )
    source.add_argument("--from-truth", metavar="FILE", help="XYZ file of the known crystal")
    parser.add_argument(
        "--resolution",
        type=positive,
        metavar="A",
        help=f"with --from-truth: edge of the cubic voxels [Å] [{SUPPORT['resolution']}]",
    )
    parser.add_argument(
        "--starts",
        type=count,
        metavar="N",
        help="with --phase-retrieval: random starts per patch, the best fit is taken [3]",
    )
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="with --phase-retrieval: seed of the starts [0]"
    )
    parser.add_argument(
        "--threshold",
        type=positive,
        metavar="X",
        help="with --phase-retrieval or --from-file: voxels above this fraction of the bulk's "
        "amplitude are inside [0.1; the file's own support if it has one]",
    )
    frame = parser.add_argument_group("frame of the object, with --from-file")
    frame.add_argument(
        "--patch",
        type=count,
        metavar="K",
        help="the object is still on the detector's grid, phased from the counts of patch K: "
        "nothing else is needed",
    )
    frame.add_argument(
        "--voxel-size",
        type=_numbers(1, 3, 9),
        metavar="A,A,A",
        help="edges of a voxel [Å] along the axes of the array, or 9 numbers, the edges as "
        "vectors [what the file says]",
    )
    frame.add_argument(
        "--axes",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B,C",
        help="directions of the axes of the array, written --axes=-z,y,x; right-handed "
        "[z,y,x, as CXI]",
    )
    frame.add_argument(
        "--orientation",
        type=_numbers(9),
        metavar="R11,...,R33",
        help="rotation from the object's x, y, z to those of the counts [none]",
    )
    frame.add_argument(
        "--dilate", type=positive, metavar="A", help="add what is within this distance [Å] [0]"
    )
    add_output(parser, "HDF5", "HDF5 file to write")


def run(options: argparse.Namespace) -> int:
    """Write the support."""
    from prammol.io import provenance, read_diffraction, require_absent, write_support

    _check_options(options)
    require_inputs(options.diffraction, options.from_file, options.from_truth)
    require_absent(options.output, options.force)
    data = read_diffraction(options.diffraction)
    warn_of_counts(options.diffraction, data)
    ways = {"phase_retrieval": _retrieved, "from_file": _foreign, "from_truth": _coarse}
    support = ways[_way(options)](options, data)
    origin = provenance(command=command_line())
    write_support(options.output, support, origin, options.force)
    edges = " x ".join(f"{e:.3g}" for e in (support.voxel**2).sum(axis=1) ** 0.5)
    messages.result(
        f"{options.output}: {int(support.inside.sum())} voxels of {edges} Å, "
        f"{support.volume:.0f} Å^3"
    )
    return 0


def _way(options: argparse.Namespace) -> str:
    return next(name for name in _OWN if getattr(options, name))


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of another way to make a support."""
    from prammol.core.errors import InputError

    way = _way(options)
    for name in sorted({n for names in _OWN.values() for n in names}.difference(_OWN[way])):
        if getattr(options, name) is not None:
            msg = f"--{name.replace('_', '-')} has no meaning with --{way.replace('_', '-')}"
            raise InputError(msg)


def _numbers(*counts: int) -> Callable[[str], list[float]]:
    """Return a converter of a text with so many numbers."""

    def convert(text: str) -> list[float]:
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) not in counts:
            msg = f"{text!r} isn't {' or '.join(map(str, counts))} numbers with commas between"
            raise argparse.ArgumentTypeError(msg)
        return values

    return convert


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given; the others take the function's own defaults."""
    return {n: getattr(options, n) for n in _OWN[_way(options)] if getattr(options, n) is not None}


def _foreign(options: argparse.Namespace, data: Diffraction) -> Support:
    from prammol.io.support_from_object import support_from_file
    from prammol.phasing.support_agreement import agreement, best_axis_order, warning

    support = support_from_file(options.from_file, data, **_given(options))
    value = agreement(support, data)
    messages.result(f"agreement of the shape with the counts around the peaks {value:.4f}")
    turn, best = best_axis_order(support, data)
    doubt = warning(value, best, turn)
    if doubt:
        messages.warn(doubt)
    return support


def _coarse(options: argparse.Namespace, data: Diffraction) -> Support:
    from prammol.core.errors import InputError
    from prammol.diffraction.support import support_from_truth
    from prammol.io.atomic_write import naming

    truth = read_crystal(options.from_truth, mean=True, several=True)
    element = elements_of(data.meta)
    if element is not None and element != ",".join(truth.elements):
        msg = (
            f"{options.from_truth}: is made of {','.join(truth.elements)}, "
            f"but {options.diffraction} is about {element}"
        )
        raise InputError(msg)
    with naming(options.from_truth):
        return support_from_truth(truth, options.resolution or SUPPORT["resolution"])


def _retrieved(options: argparse.Namespace, data: Diffraction) -> Support:
    from prammol.phasing.support_from_counts import support_from_data

    found = support_from_data(data, report=messages.say, **_given(options))
    pairs = zip(found.errors, found.correlation, strict=True)
    for k, (error, correlation) in enumerate(pairs):
        messages.result(
            f"patch {k + 1}: misfit of the amplitudes {error:.4f}, "
            f"correlation with the best patch {correlation:.4f}"
        )
    return found.support
