"""``prammol simulate --instrument``: raw rocking scans, and the truth beside them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from prammol.cli import messages
from prammol.cli.commands.common import command_line, on_root, read_crystal, require_element
from prammol.cli.commands.potential_options import cell_of, potential_of
from prammol.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prammol.core.parallel import Communicator
    from prammol.potentials.potential import Potential
    from prammol.simulation.instrument import Instrument
    from prammol.structure.atoms import Atoms

# What the file says.
_OF_THE_INSTRUMENT = (
    "flux", "points", "peak", "half_width", "wavelength", "background", "temperature", "amplitude",
    "pixel_box", "blur", "diffuse",
)  # fmt: skip


def run_instrument(options: argparse.Namespace, comm: Communicator) -> int:
    """Simulate, the dynamics on all ranks, and write on the first."""
    from prammol.io import require_absent

    output = Path(options.output)
    stem = output.with_suffix("") if output.suffix in (".h5", ".hdf5", ".cxi") else output
    outputs = [output, *(stem.with_name(f"{stem.name}.truth.{end}") for end in ("h5", "xyz"))]

    def inputs() -> tuple[Atoms, Instrument, Potential | None]:
        from prammol.io.instrument import read_instrument

        for name in _OF_THE_INSTRUMENT:
            if getattr(options, name):  # not given: None, False or []
                msg = f"--{name.replace('_', '-')}: is the instrument's, say it in its file"
                raise InputError(msg)
        instrument = read_instrument(options.instrument)
        for path in outputs[: 2 if instrument.sample.temperature is None else 3]:
            require_absent(path, options.force)
        atoms = read_crystal(options.crystal)
        potential = None
        if instrument.sample.temperature is not None or options.potential or options.pair_style:
            potential = potential_of(options, atoms.element)
            require_element(potential.element, options.crystal, atoms.element)
        return atoms, instrument, potential

    atoms, instrument, potential = on_root(comm, inputs)
    snapshots = _snapshots(options, comm, atoms, instrument, potential)
    on_root(comm, lambda: _write(options, outputs, atoms, instrument, potential, snapshots))
    return 0


def _snapshots(
    options: argparse.Namespace,
    comm: Communicator,
    atoms: Atoms,
    instrument: Instrument,
    potential: Potential | None,
) -> list[NDArray[np.float64]]:
    """Return positions over the dynamics, none for atoms at rest."""
    from prammol.simulation.averages import innermost_patches, mean_structure_factor

    snapshots: list[NDArray[np.float64]] = []
    if instrument.sample.temperature is not None:
        mean_structure_factor(
            atoms,
            instrument.sample.temperature,
            options.seed,
            innermost_patches(atoms, 2, 4.0, "fcc")[:1],  # its scattering isn't used
            potential,
            comm,
            options.equilibrate,
            options.steps,
            options.every,
            options.timestep,
            visit=lambda x: snapshots.append(x.copy()),
        )
    return snapshots


def _write(
    options: argparse.Namespace,
    outputs: list[Path],
    atoms: Atoms,
    instrument: Instrument,
    potential: Potential | None,
    snapshots: list[NDArray[np.float64]],
) -> None:
    import numpy as np

    from prammol.io import naming, provenance, write_atoms
    from prammol.io.scans import write_scans, write_truth
    from prammol.simulation.averages import innermost_patches
    from prammol.simulation.scans import simulate_scans
    from prammol.structure.atoms import Atoms

    edge, structure = cell_of(options, potential)
    with naming(options.crystal):
        cells = innermost_patches(atoms, 2, edge, structure, instrument.scans.peaks, 0.5)
    with naming(options.instrument):
        scans, truths = simulate_scans(atoms, instrument, options.seed, cells, snapshots)
    seeds = {"simulate": options.seed}
    origin = provenance(command=command_line(), seeds=seeds, potential=potential)
    write_scans(outputs[0], scans, instrument, atoms.element, origin, options.force)
    write_truth(outputs[1], truths, origin, options.force)
    if snapshots:
        mean = Atoms(np.mean(snapshots, axis=0), atoms.element, info=dict(atoms.info))
        write_atoms(outputs[2], mean, force=options.force)
    total = sum(float(s.counts[:, s.mask == 0].sum()) for s in scans)
    messages.result(
        f"{outputs[0]}: {len(scans)} scans, {total:.4g} photons; what they don't tell is in "
        f"{outputs[1]}"
    )
