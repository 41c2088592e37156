"""Tell what an experiment would give, before the beamtime.

From a potential, a size and a beamline: the Bragg peaks within reach, what their rocking
scans cover and count, dose and time, and what the counts could decide at best: wrong
atoms, errors of positions and strain, the flux at which single atoms are resolved, and
what limits. The crystal is a ball at rest. Beamlines: ID01-EBS, 34-ID-C, NanoMAX (their
figures are approximate, ask the beamline), or your own file (docs/how-to/plan.md)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prammol.cli import messages
from prammol.cli.commands.common import positive, triple, written_as
from prammol.cli.commands.potential_options import add_potential, potential_of

if TYPE_CHECKING:
    from prammol.evaluation.plan import Plan

EXAMPLES = """\
examples:
  prammol plan --size 30 --beamline NanoMAX
  prammol plan --atoms 4679 --beamline my.yaml -o plan.png --json plan.json
  prammol plan --size 20 --potential Cu_mishin1.eam.alloy \
      --beamline ID01-EBS --set exposure=10 --set distance=0.3
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--beamline",
        required=True,
        metavar="NAME",
        help="ID01-EBS, 34-ID-C, NanoMAX or a file .yaml",
    )
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--size", type=positive, metavar="NM", help="diameter of the crystal [nm]")
    size.add_argument("--atoms", type=positive, metavar="N", help="its number of atoms")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_changed,
        metavar="KEY=VALUE",
        help="change a number of the beamline: energy [keV], flux_density [photons/s/um^2], "
        "distance [m], pixel [um], pixels, rocking_step [degrees], images, exposure [s], "
        "background [photons/s], beam [um], two_theta_max [degrees]; can be given several times",
    )
    parser.add_argument(
        "--peak",
        action="append",
        type=triple,
        metavar="H,K,L",
        help="Bragg peak, once for each, written --peak=-1,1,1 [three of the innermost]",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=written_as("a picture"),
        metavar="FILE",
        help="picture to write: .png, .pdf or .svg",
    )
    parser.add_argument(
        "--json", type=written_as("JSON"), metavar="FILE", help="write the numbers as JSON"
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")
    add_potential(parser)


def run(options: argparse.Namespace) -> int:
    """Plan, print, write."""
    from prammol.cli.commands.common import require_inputs
    from prammol.cli.progress import print_table
    from prammol.diffraction.beamline import changed
    from prammol.evaluation.plan import plan
    from prammol.io import replacing, require_absent
    from prammol.io.beamline import read_beamline
    from prammol.plotting.plan import plot_plan

    beamline = read_beamline(options.beamline)
    require_inputs(potential=options.potential)
    for path in filter(None, (options.json, options.output)):
        require_absent(path, options.force)
    beamline = changed(beamline, dict(options.set))
    found = plan(
        potential_of(options),
        beamline,
        diameter_nm=options.size,
        atoms=options.atoms,
        peaks=options.peak,
    )
    print_table(_rows(found))
    if options.json:
        text = json.dumps(found.summary(), indent=2, allow_nan=False) + "\n"
        with replacing(options.json, options.force) as path:
            Path(path).write_text(text, encoding="utf-8")
    if options.output:
        plot_plan(found, options.output, options.force)
        messages.result(options.output)
    return 0


def _changed(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        msg = f"{text!r} isn't KEY=VALUE with a number, such as exposure=10"
        raise argparse.ArgumentTypeError(msg) from None
    return key.replace("-", "_"), int(value) if value.isdigit() else number


def _rows(found: Plan) -> dict[str, Any]:
    expected = found.prospects
    inner = [f"{p['hkl']} {p['theta']:.2f}°" for p in found.reachable[:6]]
    rows: dict[str, Any] = {
        "crystal": f"{found.atoms:.4g} {found.element} atoms, {found.diameter_nm:.3g} nm",
        "peaks in reach": ", ".join(inner) + (", ..." if len(found.reachable) > 6 else ""),
    }
    for p in found.patches:
        wide = " x ".join(f"{w:.2g}" for w in p.half_width)
        points = " x ".join(f"{n}" for n in p.shape)
        fine = " x ".join(f"{n:.2g}" for n in p.points_per_speckle)
        name = ",".join(f"{i:g}" for i in p.hkl)
        rows[f"patch {name}"] = (
            f"theta {p.theta:.2f}°, half-widths {wide} r.l.u., {points} points, "
            f"{fine} per speckle, {p.photons:.3g} photons"
        )
    flux = found.resolving_flux
    return rows | {
        "flux of an image": f"{found.flux:.3g} photons/µm²",
        "dose, time": f"{found.dose_gray:.2g} Gy, {found.time_s:.0f} s",
        "decided": expected.verdict,
        "limit": expected.limit,
        "wrong atoms": f"{expected.wrong_text()} expected at best",
        "mean error": f"{expected.position_pm:.2g} pm, the potential known",
        "strain error": f"{expected.strain:.1g} of a bond, the potential known; "
        f"{expected.lattice_strain:.1g} of d without it",
        "measured of the surface": f"{100 * expected.measured_part:.0f} %"
        + (", too little for the search so far" if expected.hard_to_find else ""),
        "single atoms from": "no flux" if flux is None else f"{flux:.2g} photons/µm² in an image",
    }
