"""Atoms, and wrong ones, over the states of a series."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from figure_style import planned, save
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from table_files import logged, read_table

from prammol.plotting.style import (
    COLUMN,
    EXTRA,
    FOUND,
    GREY,
    MISSING,
    STYLE,
    letter_panels,
    new_figure,
)

# What is drawn above, and below: column, label, colour, marker.
ATOMS = (("n_true", "there", GREY, "s"), ("n_atoms", "found", FOUND, "o"))
WRONG = (("n_missing", "missing", MISSING, "v"), ("n_extra", "extra", EXTRA, "D"))


def figure(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw two panels above each other.

    Parameters
    ----------
    table : sequence of mapping
        One row per trial, as in trials.csv; ``value`` is the number of the state.
    """
    states = sorted({row["value"] for row in table})
    with mpl.rc_context(STYLE):
        drawn = new_figure(COLUMN + 0.5, 4.2)
        panels = drawn.subplots(2, 1, sharex=True)
        for axes, series, label in zip(
            panels, (ATOMS, WRONG), ("atoms", "wrong atoms"), strict=True
        ):
            for name, what, colour, marker in series:
                means = []
                for state in states:
                    own = [row[name] for row in table if row["value"] == state]
                    axes.plot([state] * len(own), own, marker, color=colour, ms=2, alpha=0.5)
                    means.append(sum(own) / len(own))
                axes.plot(states, means, color=colour, marker=marker, ms=3, label=what)
            axes.set_ylabel(label)
            axes.legend()
        panels[1].set_ylim(bottom=0)
        if not any(row[name] for row in table for name, *_ in WRONG):
            panels[1].set_ylim(top=1)
        for axis in (panels[1].xaxis, *(p.yaxis for p in panels)):
            axis.set_major_locator(MaxNLocator(integer=True))
        panels[1].set_xlabel("state")
        panels[0].set_title(planned(table))
        letter_panels(panels)
    return drawn


def main(job) -> None:
    """Draw the figure from the table of trials."""
    table = read_table(job.input.table)
    drawn = figure(table)
    rows = [
        {
            name: row[name]
            for name in ("value", "trial", "n_true", "n_atoms", "n_missing", "n_extra")
        }
        for row in table
    ]
    save(drawn, rows, job.output)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
