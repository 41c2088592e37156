"""Resolution of a condition: the patterns of its trials averaged, as in the paper."""

import json
from collections.abc import Sequence
from pathlib import Path

from table_files import logged

from prammol.evaluation.resolution import resolution
from prammol.io import read_atoms
from prammol.structure.atoms import Atoms


def together(trials: Sequence[Atoms], truth: Atoms) -> dict[str, object]:
    """Return pi / q_c [Å] of the mean of trials in the frame of the truth."""
    some = [t.positions for t in trials if len(t)]
    if not some:
        return {"trials": 0, "resolution_angstrom": None, "q_c": None, "bound": False}
    result = resolution(some, truth.positions, registered=True)
    return {
        "trials": len(some),
        "resolution_angstrom": result.value,
        "q_c": result.q_c,
        "bound": not result.failed,
    }


def main(job) -> None:
    """Read, compute, write."""
    trials = [read_atoms(path) for path in job.input.trials]
    values = together(trials, read_atoms(job.input.crystal))
    Path(job.output[0]).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
