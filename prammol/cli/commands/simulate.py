"""Draw photon counts of a crystal around its Bragg peaks: Poisson(C^2 g abs(Omega)^2 + B).

Measured are cubes around three of the innermost peaks, (-1,1,1), (1,-1,1) and (1,1,-1)
of fcc and diamond, (0,1,1), (1,0,1) and (1,1,0) of bcc, (1,0,1), (0,1,-1) and (-1,1,-1)
of hcp, those of bcc and (1,0,0) of B2, those of fcc, (1,0,0) and (0,1,0) of L1_2, those
of diamond of zincblende, 50 points along each edge of 1.2 reciprocal lattice units (0.84
of hcp, 1.7 of diamond and zincblende), unless --peak, --half-width and --points say
otherwise. Structure and lattice constant are those of the potential, if options describe
one, else those in the crystal's file. C follows from the flux, g from the form factor f(q)
and the solid angle of a point, unless --form-factor says that f is constant. With
--temperature, Omega is the mean over snapshots of canonical dynamics (the coherent part);
with --diffuse, abs(Omega)^2 is averaged instead, what a detector sees. Writes HDF5 in the
CXI layout."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from prammol.cli import messages
from prammol.cli.commands.common import (
    add_dynamics,
    add_output,
    add_response,
    command_line,
    count,
    on_root,
    positive,
    read_crystal,
    require_inputs,
    seed,
    triple,
    warn_of_tasks,
)
from prammol.cli.commands.potential_options import add_potential, cell_of, potential_of
from prammol.core.defaults import FORM_FACTORS, MEASUREMENT

if TYPE_CHECKING:
    from prammol.core.parallel import Communicator
    from prammol.diffraction.bragg_patch import BraggPatch
    from prammol.diffraction.dataset import Diffraction
    from prammol.potentials.potential import Potential
    from prammol.structure.atoms import Atoms

# What --amplitude already says.
_OF_THE_AMPLITUDE = ("points", "peak", "half_width", "temperature", "pixel_box", "blur")

EXAMPLES = """\
examples:
  prammol simulate s.xyz --flux 1e20 --seed 1 -o d.h5
  prammol simulate s.xyz --flux 1e18 --points 30 --background 5 -o coarse.h5
  prammol simulate s.xyz --flux 1e20 --peak=2,0,0 --peak=0,2,0 --peak=1,1,1 -o d200.h5
  prammol simulate s.xyz --flux 1e19 --peak=-1,1,1 --known-peak=1,-1,1 --known-peak=1,1,-1 -o d1.h5
  mpiexec -n 2 prammol simulate s.xyz --flux 1e20 --temperature 300 -o warm.h5
  prammol simulate s.xyz --flux 1e20 --amplitude a.npz --diffuse --seed 2 -o warm2.h5
  prammol simulate s.xyz --instrument instrument.yaml --seed 1 -o scans.h5
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("crystal", metavar="CRYSTAL", help="XYZ file, positions in Å")
    add_output(parser, "HDF5", "HDF5 file to write")
    parser.add_argument(
        "--flux",
        type=positive,
        metavar="PHI",
        help="time-integrated flux [photons/um^2], for example 1e20; needed without --instrument",
    )
    parser.add_argument(
        "--instrument",
        metavar="FILE.yaml",
        help="make raw rocking scans on this instrument instead, and beside them a file .truth.h5 "
        "with what it doesn't tell; prammol example instrument writes one with all keys",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the counts [0]")
    parser.add_argument(
        "--points",
        type=count,
        metavar="N",
        help=f"points along each edge [{MEASUREMENT['points']}]",
    )
    parser.add_argument(
        "--peak",
        action="append",
        type=triple,
        metavar="H,K,L",
        help="centre of a cube in reciprocal lattice units; once for each, written --peak=-1,1,1",
    )
    parser.add_argument(
        "--known-peak",
        action="append",
        type=triple,
        default=[],
        metavar="H,K,L",
        help="a reflection that isn't measured: the file only tells where it is, so that one or "
        "two peaks do; once for each",
    )
    parser.add_argument(
        "--half-width",
        type=positive,
        metavar="RLU",
        help="half the edge of a cube in units of 2 pi over the edge of the cell [0.6; hcp 0.42, "
        "diamond 0.85]",
    )
    parser.add_argument(
        "--wavelength",
        type=positive,
        metavar="A",
        help=f"wavelength [Å] [{MEASUREMENT['wavelength']}]",
    )
    parser.add_argument(
        "--form-factor",
        choices=FORM_FACTORS,
        default=MEASUREMENT["form_factor"],
        help="f(q) at each point, or the paper's constant f(G) [%(default)s]",
    )
    parser.add_argument(
        "--background",
        action="append",
        default=[],
        metavar="B",
        help="photons per point that the crystal didn't scatter: a number or a .npy file with an "
        "array; once for all patches or once for each [0]",
    )
    add_response(parser)
    dynamics = parser.add_argument_group("dynamics")
    dynamics.add_argument("--temperature", type=positive, metavar="K", help="temperature [K]")
    add_dynamics(dynamics)
    dynamics.add_argument(
        "--amplitude",
        metavar="FILE",
        help="mean amplitude by prammol dynamics: no dynamics is run, the patches are its own",
    )
    dynamics.add_argument(
        "--diffuse",
        action="store_true",
        help="counts of the mean intensity, with diffuse scattering",
    )
    add_potential(parser)


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Simulate on all ranks, write on the first."""
    from prammol.core.errors import InputError
    from prammol.diffraction.response import Response
    from prammol.io import require_absent
    from prammol.io.arrays import read_background
    from prammol.simulation.counts import simulate

    if options.instrument is not None:
        from prammol.cli.commands.instrument import run_instrument

        return run_instrument(options, comm)
    if options.flux is None:
        msg = "--flux is missing, expected the flux of the beam, or --instrument"
        raise InputError(msg)
    options.wavelength = options.wavelength or MEASUREMENT["wavelength"]

    def inputs() -> Atoms:
        if options.diffuse and options.temperature is None and options.amplitude is None:
            msg = "--diffuse: needs --temperature or --amplitude, atoms at rest have none"
            raise InputError(msg)
        require_inputs(options.crystal, options.amplitude, potential=options.potential)
        require_absent(options.output, options.force)
        return read_crystal(options.crystal, several=options.amplitude is None)

    atoms = on_root(comm, inputs)
    if options.amplitude is not None:
        on_root(comm, lambda: _write(options, _from_amplitude(options, atoms), None))
        return 0
    if options.temperature is not None:
        warn_of_tasks(comm)
    potential = _potential(options, atoms)
    patches = _patches(options, atoms, potential, options.peak)
    data = simulate(
        atoms,
        options.flux,
        options.seed,
        patches=patches,
        temperature=options.temperature,
        wavelength=options.wavelength,
        potential=potential,
        comm=comm,
        equilibrate=options.equilibrate,
        steps=options.steps,
        every=options.every,
        timestep=options.timestep,
        background=on_root(comm, lambda: read_background(options.background, patches)),
        diffuse=options.diffuse,
        form_factor=options.form_factor,
        response=Response.of(len(patches), options.pixel_box or 0.0, options.blur or 0.0),
    )
    if options.known_peak:
        import numpy as np

        known = _patches(options, atoms, potential, options.known_peak)
        data = replace(data, unmeasured=np.array([p.q().mean(axis=0) for p in known]))
    on_root(comm, lambda: _write(options, data, potential))
    return 0


def _write(options: argparse.Namespace, data: Diffraction, potential: Potential | None) -> None:
    from prammol.core.errors import DataError
    from prammol.diffraction.bragg_patch import dimensions, require_independent
    from prammol.io import provenance, write_diffraction

    seeds = {"simulate": options.seed}
    if "dynamics_seed" in data.meta:
        seeds["dynamics"] = data.meta["dynamics_seed"]
    origin = provenance(command=command_line(), seeds=seeds, potential=potential)
    write_diffraction(options.output, data, origin, options.force)
    messages.result(
        f"{options.output}: {len(data.patches)} patches, {data.total_counts:.4g} photons, "
        f"{data.meta['peak_counts']:.4g} in the brightest point, C = {data.meta['scale']:.4g}"
    )
    every = [*data.peaks(), *data.unmeasured]
    if dimensions(every) < 2:  # two peaks of a known structure fix the third
        try:
            require_independent(every, options.output)
        except DataError as error:
            messages.warn(str(error))


def _from_amplitude(options: argparse.Namespace, atoms: Atoms) -> Diffraction:
    """Return counts drawn from a mean amplitude that was computed before."""
    from prammol.core.errors import InputError
    from prammol.io.arrays import read_background
    from prammol.io.mean_amplitude import read_mean_amplitude
    from prammol.simulation.counts import draw_counts

    given = [name for name in _OF_THE_AMPLITUDE if getattr(options, name) is not None]
    if given:
        msg = f"--{given[0].replace('_', '-')}: is the amplitude's own, leave it out"
        raise InputError(msg)
    mean = read_mean_amplitude(options.amplitude)
    if mean.element != atoms.element:
        msg = f"{options.amplitude}: is of {mean.element}, but {options.crystal} of {atoms.element}"
        raise InputError(msg)
    if options.diffuse and mean.intensity is None:
        msg = f"{options.amplitude}: has no mean intensity, run prammol dynamics again"
        raise InputError(msg)
    background = read_background(options.background, mean.patches)
    return draw_counts(
        mean,
        options.flux,
        options.seed,
        options.wavelength,
        background,
        options.diffuse,
        options.form_factor,
    )


def _potential(options: argparse.Namespace, atoms: Atoms) -> Potential | None:
    """Return the potential if the simulation needs one or the options describe one."""
    from prammol.cli.commands.common import require_element

    if options.temperature is None and options.potential is None and options.pair_style is None:
        return None
    elements = ",".join(atoms.elements)
    potential = potential_of(options, elements)
    require_element(",".join(potential.elements), options.crystal, elements)
    return potential


def _patches(
    options: argparse.Namespace,
    atoms: Atoms,
    potential: Potential | None,
    peaks: list[tuple[float, ...]] | None,
) -> list[BraggPatch]:
    from prammol.core.errors import InputError
    from prammol.simulation.averages import innermost_patches

    edge, structure = cell_of(options, potential)
    try:
        return innermost_patches(
            atoms,
            options.points or MEASUREMENT["points"],
            edge,
            structure,
            peaks,
            options.half_width,
        )
    except InputError as error:
        msg = f"{options.crystal}: {error}"
        raise InputError(msg) from None
