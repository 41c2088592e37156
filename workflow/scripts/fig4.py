"""Figure 4: errors and resolution of the reconstruction against the flux."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing import save
from matplotlib.figure import Figure
from sweep import Sweep, sweep_figure
from tables import logged, read_table

FLUX = Sweep(
    label="time-integrated flux (photons/µm²)",
    logarithmic=True,
    threshold=1e18,
    threshold_text="paper: atomic from 10$^{18}$",
)


def figure(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the figure of a table of trials."""
    return sweep_figure(table, FLUX)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = read_table(snakemake.input.table)  # noqa: F821
        save(figure(rows), rows, snakemake.output)  # noqa: F821
