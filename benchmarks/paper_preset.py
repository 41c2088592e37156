"""How preset paper converges on a known crystal: a table and a picture (paper Fig. 5).

    prammol crystal vacancy -o vacancy.xyz
    python benchmarks/paper_preset.py vacancy.xyz --flux 1e20 --seed 1 \\
        -o paper-preset-convergence.csv --figure paper-preset-convergence.png

This makes docs/results/paper-preset-convergence.csv and .png; with ``--preset paper-random``, for
each seed, the rows of docs/results/paper-random-convergence.csv.
The start is the paper's: a 5 Å coarse-grained support of the truth, filled with fcc of
a = 4.0 Å at a random place. The seed is that of the noise and of the reconstruction.
Seconds are processor seconds of the reconstruction (rank 0's); comparing with the truth
isn't counted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from provenance import provenance, write_rows

from prammol.core.parallel import world
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.io import read_atoms
from prammol.plotting.panels import draw_curve, target
from prammol.plotting.style import EXTRA, FOUND, MISSING, PAGE, STYLE, letter_panels, new_figure
from prammol.reconstruction.history import Record
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.state import State
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

COPIED = ("iteration", "atoms", "added", "removed", "scale", "log_likelihood")
MEASURED = ("n_missing", "n_extra", "mae_pm", "max_error_pm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path, help="the crystal, XYZ")
    parser.add_argument("--flux", type=float, default=1e20, help="photons/um^2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--patience", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--slack", type=float, default=1.0, help="generate_candidates.slack")
    parser.add_argument("--every", type=int, default=5, help="compare with the truth every so many")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table, CSV")
    parser.add_argument("--figure", type=Path, help="picture, PNG")
    options = parser.parse_args()

    comm = world()
    origin = provenance(ranks=comm.size)
    truth = read_atoms(options.truth)
    data = simulate(truth, options.flux, options.seed)
    rows: list[dict[str, Any]] = []
    aside = 0.0  # processor seconds that aren't the reconstruction's

    class Notes(Observer):
        def iterated(self, state: State, history: list[Record]) -> None:
            nonlocal aside
            now = time.process_time()
            record = history[-1]
            row = {k: record[k] for k in COPIED} | {"seconds": round(now - begin - aside, 2)}
            row |= dict.fromkeys(MEASURED, "")
            number = record["iteration"]
            if comm.is_root and (number % options.every == 0 or number < 4):
                found = Atoms(state.positions, truth.element)
                summary = evaluate(found, truth, with_resolution=False).summary()
                row |= {k: summary[k] for k in MEASURED}
                shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                print(shown, flush=True)
            rows.append(row)
            if comm.is_root:
                write_rows(options.output, rows, origin)
            aside += time.process_time() - now

    begin = time.process_time()
    result = reconstruct(
        data,
        support_from_truth(truth),
        preset=options.preset,
        seed=options.seed,
        comm=comm,
        observer=Notes(),
        settings={
            "patience": options.patience,
            "max_iterations": options.iterations,
            "generate_candidates.slack": options.slack,
        },
    )
    if comm.is_root:
        final = evaluate(result.atoms, truth, with_resolution=False).summary()
        ratio = result.scale / data.meta["scale"]
        print(
            result.reason,
            final,
            f"scale ratio {ratio:.6f}, {result.core_s - aside:.0f} core-seconds",
        )
        if options.figure:
            draw(options.figure, rows, len(truth), data.meta["scale"])


def draw(path: Path, rows: list[dict[str, Any]], atoms: int, scale: float) -> None:
    """Draw atoms, scale and errors against the iterations."""
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 4.2)
        panels = figure.subplots(2, 2).ravel()
        i = np.array([int(r["iteration"]) for r in rows], dtype=float)
        seen = [r for r in rows if r["mae_pm"] != ""]
        at = [int(r["iteration"]) for r in seen]
        draw_curve(panels[0], i, np.array([float(r["atoms"]) for r in rows]), "atoms")
        target(panels[0], atoms, f"true: {atoms}")
        draw_curve(panels[1], i, np.array([float(r["scale"]) for r in rows]) / scale, "C / true C")
        target(panels[1], 1.0, "true")
        for name, label, look in (("mae_pm", "mean", "o-"), ("max_error_pm", "largest", "^--")):
            values = [float(r[name]) for r in seen]
            panels[2].semilogy(at, values, look, ms=3, lw=1, color=FOUND, label=label)
        panels[2].set(xlabel="iteration", ylabel="position error (pm)")
        panels[2].legend()
        for name, colour in (("n_missing", MISSING), ("n_extra", EXTRA)):
            values = [float(r[name]) for r in seen]
            panels[3].plot(at, values, "o-", ms=3, lw=1, color=colour, label=name[2:])
        panels[3].set_yscale("symlog", linthresh=1)
        panels[3].set(xlabel="iteration", ylabel="wrong atoms")
        panels[3].legend()
        letter_panels(list(panels))
        figure.savefig(path, dpi=200)


if __name__ == "__main__":
    main()
