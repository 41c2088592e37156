"""Ten states of a crystal that dissolves or grows: each alone, and each from the one before.

    python benchmarks/series.py --kinds dissolved grown --seeds 3 4 5 -o series.csv

This makes docs/results/series.csv. A bulk crystal of 1300 atoms (1100 if it grows), of which
25 atoms of the surface leave or come between two states, a Poisson number; counts at
1e15 photons/um^2, a 5 Å support of the truth. The first state is reconstructed alone in either
case. Rows are added to the table as they are measured; those it has already aren't measured again.
Results are kept in a folder beside it, so that a series goes on where it ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance, read_rows, write_rows

import prammol
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.io import read_reconstruction, write_reconstruction
from prammol.reconstruction.earlier_state import EarlierState
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.simulation.surface_changes import change_surface

FLUX = 1e15
ATOMS = {"dissolved": 1300, "grown": 1100}
CHANGES = 25.0
FIELDS = (
    "kind", "seed", "frame", "way", "atoms", "changed", "n_missing", "n_extra", "mae_pm",
    "missing_expected", "extra_expected", "excess", "reason", "converged", "core_s",
)  # fmt: skip


def states(kind: str, seed: int, number: int) -> list[prammol.Atoms]:
    """Return the true states of a series, the first of them as it was made."""
    rng = np.random.default_rng([seed, 1])
    out = [make_crystal("bulk", atoms=ATOMS[kind], seed=seed)]
    for _ in range(number):
        change = int(rng.poisson(CHANGES)) * (1 if kind == "grown" else -1)
        out.append(change_surface(out[-1], change, seed=int(rng.integers(2**31))))
    return out


def measured(
    truth: prammol.Atoms, seed: int, before: prammol.Reconstruction | None, path: Path
) -> dict[str, Any]:
    """Reconstruct a state, keep the result, and return its columns."""
    data, support = simulate(truth, FLUX, seed), support_from_truth(truth)
    initial = None if before is None else EarlierState.of(before.atoms, before.vacant)
    result = prammol.reconstruct(data, support, seed=seed, initial=initial)
    write_reconstruction(path, result, {}, force=True)
    found = evaluate(result.atoms, truth, with_resolution=False)
    confidence = np.asarray(result.atoms.columns["occupancy_confidence"])
    vacant = np.asarray(result.vacant.columns["occupancy_confidence"])
    return {
        "n_missing": found.n_missing,
        "n_extra": found.n_extra,
        "mae_pm": f"{found.mae_pm:.4g}",
        "missing_expected": f"{vacant.sum():.3g}",
        "extra_expected": f"{(1.0 - confidence).sum():.3g}",
        "excess": f"{result.history[-1]['excess']:.4g}",
        "reason": result.reason,
        "converged": result.converged,
        "core_s": f"{result.core_s:.1f}",
    }


def main() -> None:
    """Measure what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(ATOMS), choices=ATOMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--alone", nargs="*", type=int, help="frames reconstructed alone [all]")
    parser.add_argument("--ways", nargs="+", default=["alone", "series"])
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    kept = options.output.with_suffix("")
    kept.mkdir(parents=True, exist_ok=True)
    rows = read_rows(options.output) if options.output.exists() else []
    done = {(r["kind"], int(r["seed"]), int(r["frame"]), r["way"]) for r in rows}
    alone = range(options.frames + 1) if options.alone is None else [0, *options.alone]
    for kind, seed in ((k, s) for s in options.seeds for k in options.kinds):
        truth = states(kind, seed, options.frames)
        for way in options.ways:
            for frame in range(options.frames + 1) if way == "series" else sorted(set(alone)):
                if (way == "series" and frame == 0) or (kind, seed, frame, way) in done:
                    continue
                last = "alone" if frame == 1 else "series"
                name = f"{kind}-{seed}-{{}}-{{:02d}}.h5"
                before = None
                if way == "series":
                    before = read_reconstruction(kept / name.format(last, frame - 1))
                path = kept / name.format(way, frame)
                row = measured(truth[frame], 100 * seed + frame, before, path)
                change = len(truth[frame]) - len(truth[frame - 1]) if frame else 0
                known = {"kind": kind, "seed": seed, "frame": frame, "way": way}
                known |= {"atoms": len(truth[frame]), "changed": change}
                print(known, row, flush=True)
                rows.append({**known, **row, **provenance()})
                write_rows(options.output, rows, provenance(), FIELDS)


if __name__ == "__main__":
    main()
