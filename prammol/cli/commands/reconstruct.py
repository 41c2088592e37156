"""Find the atoms that scattered the counts.

Reads the counts and the support, writes FILE (HDF5: atoms, history, settings,
provenance), the atoms as extended XYZ and as LAMMPS data, and one line of JSON per
iteration, all beside each other:

  -o r.h5  ->  r.h5  r.xyz  r.lammps  r.progress.jsonl

Progress is printed on stderr, one line per iteration: the log-likelihood of all
counts, atoms, atoms added and removed, C [sqrt(photons)], energy per atom, seconds.
"mpiexec -n N prammol reconstruct ..." shares the work and gives the same atoms.

After each iteration r.checkpoint.h5 is written, and removed when the result is there.
Before it starts it says what these data can decide: single atoms, layers, or only shape
and strain, with the errors that are expected at best. Where the patches are too narrow for
single atoms it names --preset shape, and refuses others unless --anyway is given.

--initial starts from another state of the crystal. Which atoms left, came and moved since is
written as r.changes.xyz, and printed.

If the run is killed, the same command with --resume goes on from it.

--trajectory FILE.xyz keeps the atoms after each iteration, for films and OVITO: one
frame each, the first ones for the stages of the start."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prammol.cli import messages
from prammol.cli.commands import initial_state
from prammol.cli.commands.common import (
    add_fit_blur,
    add_mask_flaws,
    add_output,
    add_response,
    command_line,
    count,
    elements_of,
    not_negative,
    on_root,
    require_element,
    require_inputs,
    response_of,
    seed,
    triple,
    warn_of_counts,
    warn_of_tasks,
    written_as,
)
from prammol.cli.commands.potential_options import add_potential, potential_of
from prammol.core.defaults import GEOMETRY, RECONSTRUCTION

if TYPE_CHECKING:
    from prammol.cli.commands.checkpointing import Checkpointing
    from prammol.cli.commands.trajectory_writer import Trajectory
    from prammol.core.parallel import Communicator
    from prammol.diffraction.calibration import GeometryUncertainty
    from prammol.diffraction.dataset import Diffraction
    from prammol.diffraction.support import Support
    from prammol.io.checkpoint import Checkpoint
    from prammol.potentials.potential import Potential
    from prammol.reconstruction.earlier_state import EarlierState
    from prammol.reconstruction.result import Reconstruction

NOT_CONVERGED = 3  # derived: format, an exit code that neither Python nor argparse uses

EXAMPLES = """\
examples:
  prammol reconstruct d.h5 --support u.h5 --seed 1 -o r.h5
  mpiexec -n 4 prammol reconstruct d.h5 --support u.h5 -o r.h5
  prammol reconstruct d.h5 --support u.h5 -o r.h5 --preset paper \\
      --set fit_positions.iterations=5 --set patience=20
  prammol reconstruct d.h5 --support u.h5 -o r.h5 --potential Cu_mishin1.eam.alloy
  prammol reconstruct d.h5 --support u.h5 --seed 1 -o r.h5 --resume
  prammol reconstruct after.h5 --initial before.r.h5 -o after.r.h5
  prammol reconstruct d.h5 --support u.h5 -o r.h5 --trajectory r.trajectory.xyz

"prammol presets" lists the presets and what --set can change.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("diffraction", metavar="DIFFRACTION", help="HDF5 file with the counts")
    parser.add_argument(
        "--support",
        metavar="FILE",
        help="HDF5 file that says where atoms may be; needed unless --initial is given",
    )
    initial_state.add_initial(parser)
    add_output(parser, "HDF5", "HDF5 file to write; the others are named after it")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the checkpoint beside FILE if there is one, else start; one of "
        "another run is refused, with --force it is replaced",
    )
    parser.add_argument(
        "--preset",
        default=RECONSTRUCTION["preset"],
        metavar="NAME",
        help="default, shape or paper [%(default)s]",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="seed of all random choices, for any number of ranks [0]",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the preset; can be given several times",
    )
    parser.add_argument(
        "--trajectory",
        type=written_as("XYZ"),
        metavar="FILE",
        help="extended XYZ file to write as the run goes, one frame per iteration",
    )
    geometry = parser.add_argument_group(
        "geometry of the patches",
        "How well the scattering vectors of each patch are known. Offsets and rotations within "
        "that are fitted, and the error bars contain them. 0 means exactly.",
    )
    geometry.add_argument(
        "--offset-uncertainty",
        type=not_negative,
        metavar="Q",
        help="standard deviation of the offset of a patch along each axis [1/Å] [that of the "
        f"file, else {GEOMETRY['offset']}]",
    )
    geometry.add_argument(
        "--rotation-uncertainty",
        type=not_negative,
        metavar="DEG",
        help="standard deviation of its rotation about each axis [degrees] [that of the file, "
        f"else {math.degrees(GEOMETRY['rotation']):.2g}]",
    )
    geometry.add_argument(
        "--known-peak",
        action="append",
        type=triple,
        default=[],
        metavar="QX,QY,QZ",
        help="where a reflection is that wasn't measured [1/Å]: with one or two peaks the "
        "orientation has to be known; once for each, in place of those of the file",
    )
    detector = parser.add_argument_group(
        "response of the detector", "Where given, instead of that of the file."
    )
    add_response(detector)
    add_fit_blur(detector)
    add_mask_flaws(parser)
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="start also where the patches are too narrow for single atoms, or memory is short",
    )
    parser.add_argument("--threads", type=count, default=1, help="threads of each process [1]")
    add_potential(parser)


def run(options: argparse.Namespace, comm: Communicator) -> int:
    """Reconstruct on all ranks, print and write on the first."""
    from prammol.cli.commands.checkpointing import Checkpointing, tidy
    from prammol.cli.cost_estimate import estimate, require_memory, warn_of_oversubscription
    from prammol.cli.foreseen import foreseen, note_of_lattice
    from prammol.cli.progress import Progress
    from prammol.cli.settings import parse_settings
    from prammol.cli.sigterm import Termination
    from prammol.cli.summary import print_summary
    from prammol.core.memory import resident_mib
    from prammol.reconstruction.continuing import room_and_state
    from prammol.reconstruction.loop import reconstruct
    from prammol.reconstruction.observer import Observer, Observers

    outputs = _outputs(options.output)
    settings = parse_settings(options.preset, options.set)
    data, support, potential, initial, saved = on_root(
        comm, lambda: _inputs(options, outputs, settings)
    )
    warn_of_oversubscription(comm, options.threads)
    warn_of_tasks(comm)
    if comm.is_root:
        warn_of_counts(options.diffraction, data, settings.get("mask_flaws", False))
    note = note_of_lattice(data, potential, options.preset, settings)
    needs = estimate(
        data, room_and_state(support, initial)[0], potential, comm, options.preset, options.threads
    )
    if comm.is_root:
        ranks = f"{comm.size} rank{'s' if comm.size > 1 else ''}"
        messages.say(f"preset {options.preset}, seed {options.seed}, {ranks}")
        messages.say(needs.text())
        for name, value in settings.items():
            messages.detail(f"setting {name} = {value}")
        if note is not None:
            messages.note(note)
    require_memory(needs, data, comm, options.preset, options.anyway)
    forced = options.anyway or bool(saved.history) or options.preset == "shape"
    atoms = needs.atoms if initial is None else len(initial.positions)
    expected = foreseen(options.diffraction, data, atoms, potential, comm, forced)
    with (
        Termination(comm) as termination,
        Progress(outputs["jsonl"], comm.is_root, take_over=bool(saved.history)) as progress,
    ):
        # Not before: another run's would go, too.
        on_root(comm, lambda: tidy(outputs.values()))
        checkpointing = Checkpointing(outputs["checkpoint"], saved, comm, termination)
        checkpointing.begin()
        trajectory = _trajectory(options, outputs, potential, saved, comm)
        for record in saved.history:
            progress.show(record)
        # The frame before the checkpoint: one too many is cut off when the run is resumed.
        observers = (progress, trajectory or Observer(), checkpointing)
        result = reconstruct(
            data,
            support,
            potential,
            preset=options.preset,
            seed=options.seed,
            comm=comm,
            settings=settings,
            observer=Observers(*observers),
            resume=(saved.state, saved.history) if saved.history else None,
            threads=options.threads,
            initial=initial,
        )
        result = replace(
            result,
            wall_s=result.wall_s + saved.wall_s,
            core_s=result.core_s + saved.core_s,
            provenance={**result.provenance, "prospects": expected},
        )
        on_root(comm, lambda: _write(options, outputs, result, data, potential, checkpointing))
    peak = comm.max(resident_mib()[1])
    if comm.is_root:
        print_summary(outputs.values(), result, peak)
    if result.converged:
        return 0
    if comm.is_root:
        excess = result.history[-1].get("excess") if result.history else None
        why = "" if excess is None else f"; their misfit is {excess:.3g} sigma above pure noise"
        messages.fail(
            f"not converged ({result.reason}) after {result.iterations} iterations; "
            f"the atoms so far are in {outputs['h5']}{why}"
        )
    return NOT_CONVERGED


def interrupted(options: argparse.Namespace) -> str:
    """Return what to do after Ctrl-C."""
    path = _outputs(options.output)["checkpoint"]
    if not path.exists():
        return "no iteration was finished"
    return f"the same command with --resume continues from {path}"


def _outputs(output: str) -> dict[str, Path]:
    from prammol.io.checkpoint import checkpoint_path

    path = Path(output)
    stem = path.with_suffix("") if path.suffix in (".h5", ".hdf5", ".cxi") else path
    return {
        "h5": path,
        "xyz": stem.with_name(stem.name + ".xyz"),
        "lammps": stem.with_name(stem.name + ".lammps"),
        "jsonl": stem.with_name(stem.name + ".progress.jsonl"),
        "changes": stem.with_name(stem.name + ".changes.xyz"),
        "checkpoint": checkpoint_path(path),
    }


def _inputs(
    options: argparse.Namespace, outputs: dict[str, Path], settings: dict[str, Any]
) -> tuple[Diffraction, Support | None, Potential, EarlierState | None, Checkpoint]:
    """Check the outputs and read everything, before anything is computed."""
    from prammol.cli.commands.checkpointing import find_checkpoint, fresh, require_own
    from prammol.io import read_diffraction, read_support, require_absent
    from prammol.io.run_identity import identity
    from prammol.phasing.known_reflections import oriented
    from prammol.reconstruction.presets import get_preset

    require_inputs(
        options.diffraction, options.support, options.initial, potential=options.potential
    )
    initial_state.require_one_given(options)
    saved = find_checkpoint(outputs["checkpoint"], options.resume, options.force)
    may_replace = options.force or (saved is not None and saved.replace)
    for kind, path in outputs.items():
        # What an interrupted run left of its progress is no result to protect.
        if kind != "changes" or options.initial is not None:
            require_absent(path, may_replace or kind in {"jsonl", "checkpoint"})
    data = read_diffraction(options.diffraction)
    data = replace(
        data,
        geometry=_geometry(options, data.geometry),
        response=response_of(options, len(data.patches), data.response),
    )
    if options.known_peak:
        import numpy as np

        data = replace(data, unmeasured=np.array(options.known_peak))
    support = None if options.support is None else read_support(options.support)
    element = elements_of(data.meta)
    potential = potential_of(options, element)
    data = oriented(data, potential)
    data.require_three_dimensions()
    require_element(",".join(potential.elements), options.diffraction, element)
    preset = get_preset(options.preset).with_settings(settings)
    initial = initial_state.initial_of(options, support, potential)
    own = identity(data, support, potential, preset, options.seed, initial)
    if saved is not None:
        saved = require_own(outputs["checkpoint"], saved, own, options.force)
    return data, support, potential, initial, saved or fresh(own, options.force)


def _geometry(options: argparse.Namespace, known: GeometryUncertainty) -> GeometryUncertainty:
    """Return how well the geometry is known: by the options, else by the file."""
    from prammol.diffraction.calibration import GeometryUncertainty

    offset, rotation = options.offset_uncertainty, options.rotation_uncertainty
    return GeometryUncertainty(
        known.offset if offset is None else offset,
        known.rotation if rotation is None else math.radians(rotation),
    )


def _trajectory(
    options: argparse.Namespace,
    outputs: dict[str, Path],
    potential: Potential,
    saved: Checkpoint,
    comm: Communicator,
) -> Trajectory | None:
    """Return who writes the trajectory, if one was asked for."""
    from prammol.cli.commands.trajectory_writer import Trajectory
    from prammol.core.errors import InputError

    if options.trajectory is None:
        return None
    path = Path(options.trajectory)
    if path.absolute() in {p.absolute() for p in outputs.values()}:
        msg = f"{path}: is another output of this run, give the trajectory another name"
        raise InputError(msg)
    force = options.force or saved.replace
    return Trajectory(path, potential, saved, comm, options.resume, force)


def _write(
    options: argparse.Namespace,
    outputs: dict[str, Path],
    result: Reconstruction,
    data: Diffraction,
    potential: Potential,
    checkpointing: Checkpointing,
) -> None:
    from prammol.io import (
        provenance,
        require_absent,
        write_atoms,
        write_lammps_data,
        write_reconstruction,
    )

    origin: dict[str, Any] = provenance(
        command=command_line(), seeds={"reconstruct": result.seed}, potential=potential
    )
    origin["diffraction"] = {"file": Path(options.diffraction).name, **data.described()}
    origin["prospects"] = result.provenance["prospects"]
    origin["resumed"] = checkpointing.resumed
    changes = initial_state.changes_since(options, result, potential)
    if changes is not None:
        origin["initial"] = changes[1]
    force = options.force or checkpointing.may_replace
    if not force:  # somebody else's may have appeared
        for kind in ("h5", "xyz", "lammps", *(["changes"] if options.initial else [])):
            require_absent(outputs[kind])
    # A run that is killed between two of these files may replace the first when resumed.
    checkpointing.writing()
    write_reconstruction(outputs["h5"], result, origin, force)
    write_atoms(outputs["xyz"], result.atoms, force)
    if len(result.atoms):
        masses = dict(zip(potential.elements, potential.masses, strict=True))
        write_lammps_data(outputs["lammps"], result.atoms, masses, force)
    if changes is not None:
        write_atoms(outputs["changes"], changes[0], force)
    checkpointing.finished()
