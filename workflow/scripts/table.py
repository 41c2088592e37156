"""One row per trial of a study."""

import json
from pathlib import Path

from tables import COLUMNS, logged, trial_row, write_table


def main(job) -> None:
    """Read the metrics and resolutions, write the table."""
    together = {
        Path(p).parent.name: json.loads(Path(p).read_text(encoding="utf-8"))
        for p in job.input.resolutions
    }
    rows = []
    for path in job.input.trials:
        condition = together[Path(path).parts[-3]]
        rows.append(trial_row(path, condition["resolution_angstrom"], job.params.trials))
    write_table(job.output[0], rows, COLUMNS)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
