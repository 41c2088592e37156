"""Figure 8: reconstructions of a crystal at several temperatures."""

from pathlib import Path

from drawing import save
from slices import Row, figure, table
from tables import logged

from prammol.io import read_atoms


def rows_of(reconstructions: list[str], crystals: list[str]) -> list[Row]:
    """Read errors.xyz of trials and their truths; a row is named after its condition."""
    return [
        Row(Path(found).parts[-3].replace("K", " K"), read_atoms(found), read_atoms(crystal))
        for found, crystal in zip(reconstructions, crystals, strict=True)
    ]


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = rows_of(snakemake.input.trials, snakemake.input.crystals)  # noqa: F821
        save(figure(rows), table(rows), snakemake.output)  # noqa: F821
