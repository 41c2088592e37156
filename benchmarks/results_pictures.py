"""Draw the pictures of docs/results that need their tables only, by the scripts that drew them.

    python benchmarks/results_pictures.py

This makes flux.png, temperature-2fs.png, growth.png, paper-preset-convergence.png and load.png in
docs/results again. The others need files of the runs: their scripts are named in
docs/results/index.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import growth
import matplotlib as mpl
import paper_preset
from provenance import ROOT, read_rows

sys.path.append(str(ROOT / "workflow" / "scripts"))
sys.path.append(str(ROOT / "tests" / "slurm"))
from load_figure import draw as draw_load
from plot_sweep import SWEEPS, figure
from table_files import read_table

from prammol.plotting.style import STYLE

RESULTS = ROOT / "docs" / "results"
TRIALS = 100  # of the temperature study
# Of the vacancy crystal, and what `prammol simulate` says is C at 1e20 photons/um^2.
ATOMS, TRUE_SCALE = 4679, 1.8923303269021656


def flux(folder: Path) -> None:
    """Draw errors, resolution and wrong atoms against the flux, bounds and preset paper beside."""
    tables = (read_table(str(RESULTS / f"flux{what}.csv")) for what in ("", "-bounds", "-paper"))
    save(*tables, path=folder / "flux.png")


def temperature(folder: Path) -> None:
    """Draw the same against the temperature."""
    rows = read_table(str(RESULTS / "temperature-2fs.csv"))
    named = {"study": "temperature", "resolution_of_condition_angstrom": None}
    rows = [
        {**r, **named, "value": r["temperature_kelvin"], "trials_planned": TRIALS} for r in rows
    ]
    save(rows, path=folder / "temperature-2fs.png", sweep="temperature")


def save(*tables: list[dict[str, Any]], path: Path, sweep: str = "flux") -> None:
    """Draw a sweep as the workflow does."""
    drawn = figure(tables[0], SWEEPS[sweep], *tables[1:])
    with mpl.rc_context(STYLE):
        drawn.savefig(path, dpi=200, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="folder [docs/results]")
    folder = parser.parse_args().output
    flux(folder)
    temperature(folder)
    growth.draw(read_rows(RESULTS / "growth.csv"), folder / "growth.png")
    rows = read_rows(RESULTS / "paper-preset-convergence.csv")
    paper_preset.draw(folder / "paper-preset-convergence.png", rows, ATOMS, TRUE_SCALE)
    draw_load(RESULTS / "load.csv", folder / "load.png")


if __name__ == "__main__":
    main()
