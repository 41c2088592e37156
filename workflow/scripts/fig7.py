"""Figure 7: errors and resolution of the reconstruction against the temperature."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing import save
from matplotlib.figure import Figure
from sweep import Sweep, sweep_figure
from tables import logged, read_table

TEMPERATURE = Sweep(
    label="temperature (K)",
    logarithmic=False,
    threshold=400,
    threshold_text="paper: below 1 Å up to 400 K",
)


def figure(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the figure of a table of trials."""
    return sweep_figure(table, TEMPERATURE)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = read_table(snakemake.input.table)  # noqa: F821
        save(figure(rows), rows, snakemake.output)  # noqa: F821
