"""One row per trial of a study: docs/results/flux.csv and others are such tables."""

import json
from pathlib import Path

from table_files import COLUMNS, logged, origin_of, trial_row, write_table

from prammol.io import read_reconstruction


def main(job) -> None:
    """Read the metrics and resolutions, write the table."""
    together = {
        Path(p).parent.name: json.loads(Path(p).read_text(encoding="utf-8"))
        for p in job.input.resolutions
    }
    rows = []
    for path in job.input.trials:
        condition = together[Path(path).parts[-3]]
        result = Path(path).with_name("reconstruction.h5")
        made = read_reconstruction(result).provenance if result.exists() else {}
        row = trial_row(path, condition["resolution_angstrom"], job.params.trials)
        rows.append({**row, **origin_of(job.output[0], made)})
    write_table(job.output[0], rows, COLUMNS)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
