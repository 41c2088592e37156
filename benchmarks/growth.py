"""How time and memory grow with the number of atoms: whole reconstructions, and the kernel alone.

    python benchmarks/growth.py --whole 10000 30000 100000 --kernel 10000 100000 1000000 \\
        -o growth.csv --figure growth.png

This makes docs/results/growth.csv and growth.png. Bulk crystals at 1e18 photons/um^2 and a 5 Å
support of the truth. The patches keep their extent in reciprocal space, and have so many points
that the crystal is sampled like the paper's: 50 along each edge for 4679 atoms, in proportion to
the edge of the crystal. Each size is measured in a process of its own, or with --ranks in so many:
*whole* by the verbs, so the memory is that of `reconstruct` alone.
*kernel* is one likelihood with its gradient and the gain of removing each atom, once each, on a
shaken lattice. Rows are added to the table as they are measured; those it has already aren't
measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from provenance import provenance, read_rows, write_rows

from prammol.__main__ import set_threads
from prammol.core.memory import keep_freed_memory, resident_mib
from prammol.core.parallel import Communicator, world
from prammol.diffraction.bragg_patch import PAPER_LATTICE_CONSTANT, BraggPatch, paper_patches
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.io.result import read_reconstruction
from prammol.likelihood.atom_gains import RANKING_ACCURACY, single_atom_gains
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.plotting.style import FOUND, GREY, GRID, MODEL, PAGE, STYLE, letter_panels, new_figure
from prammol.simulation.averages import MeanAmplitude
from prammol.simulation.counts import draw_counts
from prammol.structure.lattices import LATTICES

PAPER_ATOMS, PAPER_POINTS = 4679, 50
FLUX = 1e18
EPSILON = 1e-7  # the reconstruction's own
FIELDS = (
    "what", "atoms", "ranks", "points", "wall_s", "core_s", "gib_per_rank",
    "n_missing", "n_extra", "max_error_pm", "iterations", "converged", "stages",
)  # fmt: skip


def patches_for(atoms: int) -> list[BraggPatch]:
    """Return the paper's patches, sampled for a crystal of so many atoms."""
    return paper_patches(round(PAPER_POINTS * (atoms / PAPER_ATOMS) ** (1 / 3)))


def whole(atoms: int, ranks: int, seed: int, folder: Path) -> dict[str, Any]:
    """Return the row of one reconstruction, by the verbs; files that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, counts, support = (folder / name for name in ("s.xyz", "d.h5", "u.h5"))
    found, metrics = folder / "r.h5", folder / "m.json"
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] * (ranks > 1)
    points = patches_for(atoms)[0].shape[0]
    steps: list[tuple[Path, list[str]]] = [
        (truth, ["crystal", "bulk", "--atoms", str(atoms)]),
        (counts, ["simulate", str(truth), "--flux", str(FLUX), "--points", str(points)]),
        (support, ["support", str(counts), "--from-truth", str(truth)]),
        (found, ["reconstruct", str(counts), "--support", str(support)]),
        (metrics, ["evaluate", str(found), "--truth", str(truth)]),
    ]
    for made, words in steps:
        if made.exists():
            continue
        seeded = ["--seed", str(seed)] * (words[0] in ("simulate", "reconstruct"))
        output = ["--json" if made == metrics else "-o", str(made)]
        start = launcher * (words[0] == "reconstruct") + [sys.executable, "-m", "prammol"]
        subprocess.run([*start, *words, *seeded, *output], check=True, stdout=sys.stderr)
    result = read_reconstruction(found)
    stages: dict[str, float] = {}
    for record in result.history:
        for name, seconds in record["stages"].items():
            stages[name] = stages.get(name, 0.0) + seconds
    row = {
        "points": 3 * points**3,
        "wall_s": result.wall_s,
        "core_s": result.core_s,
        "gib_per_rank": max(record["memory_peak_mib"] for record in result.history) / 1024,
        "iterations": result.iterations,
        "converged": result.converged,
        "stages": " ".join(f"{n}={s:.0f}" for n, s in stages.items() if s > 0.5),
    }
    told = json.loads(metrics.read_text())
    return row | {k: told[k] for k in ("n_missing", "n_extra", "max_error_pm")}


def kernel(atoms: int, seed: int, comm: Communicator) -> dict[str, Any]:
    """Return the row of the likelihood with its gradient and the gains of all atoms."""
    keep_freed_memory()  # as a reconstruction does
    x = shaken_ball(atoms, np.random.default_rng(seed))
    patches = patches_for(atoms)
    omega = StructureFactor(patches, EPSILON).forward(x)
    data = draw_counts(MeanAmplitude(omega, patches, "Al"), FLUX, seed)
    del omega
    shard = local_shard(data, comm)
    factor = StructureFactor(shard.patches, EPSILON)
    rough = StructureFactor(shard.patches, RANKING_ACCURACY)  # as cross-validation ranks
    misfit = PoissonMisfit(shard, factor)
    times = []
    for _ in range(3):  # the shortest is the one other programs disturbed least
        comm.barrier()
        wall, core = time.perf_counter(), time.process_time()
        omega = factor.forward(x)
        _, scale, field = misfit.field(omega)
        comm.allreduce(-factor.adjoint_moments(field, x).imag)
        inside = np.ones(len(x), dtype=bool)
        single_atom_gains(shard, rough, omega, shard.valid, scale, x, inside)
        times.append((time.perf_counter() - wall, comm.sum(time.process_time() - core)))
    wall, core = min(times)
    return {
        "points": sum(p.size for p in data.patches),
        "wall_s": comm.max(wall),
        "core_s": core,
        "gib_per_rank": comm.max(resident_mib()[1]) / 1024,
    }


def shaken_ball(atoms: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the fcc sites nearest to a point, each shaken by 0.1 Å."""
    edge = int(np.ceil((atoms / 4 * 6 / np.pi) ** (1 / 3))) + 2
    corners = np.indices((edge,) * 3).reshape(3, -1).T - edge / 2
    sites = PAPER_LATTICE_CONSTANT * (corners[:, None] + LATTICES["fcc"].basis).reshape(-1, 3)
    nearest = np.argsort((sites**2).sum(axis=1), kind="stable")[:atoms]
    return np.asarray(sites[nearest] + 0.1 * rng.standard_normal((atoms, 3)))


def measured(what: str, atoms: int, ranks: int, seed: int, folder: Path) -> dict[str, Any]:
    """Measure in processes of their own, of one thread unless the environment says otherwise."""
    set_threads([])  # numpy reads it when it is loaded: too late for this process
    if what == "whole":
        row = whole(atoms, ranks, seed, folder / f"{atoms}-{ranks}")
        return {"what": what, "atoms": atoms, "ranks": ranks} | row
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] * (ranks > 1)
    command = [*launcher, sys.executable, __file__, "--one", str(atoms), "--seed", str(seed)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"what": what, "atoms": atoms, "ranks": ranks} | json.loads(text.splitlines()[-1])


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw time and memory against atoms."""
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 3.0)
        panels = figure.subplots(1, 2)
        labels = ("processor time (s)", "memory of a rank (GiB)")
        names = {"whole": "reconstruction", "kernel": "one likelihood"}
        series = sorted({(r["what"], int(r["ranks"])) for r in rows}, reverse=True)
        for axes, name, label in zip(panels, ("core_s", "gib_per_rank"), labels, strict=True):
            for what, ranks in series:
                points = sorted(
                    (int(r["atoms"]), float(r[name]))
                    for r in rows
                    if (r["what"], int(r["ranks"])) == (what, ranks)
                )
                text = f"{names[what]}, {ranks} rank{'s' * (ranks > 1)}"
                colour = {"whole": FOUND, "kernel": MODEL}[what]
                look = "o-" if ranks == 1 else "s--"
                axes.loglog(*np.array(points).T, look, color=colour, label=text, ms=3.5, lw=1.2)
            n = np.array([2e4, 2e5])
            low = axes.get_ylim()[0]
            axes.plot(n, 2 * low * n / n[0], color=GREY, lw=1, ls=(0, (1, 1.5)), label="∝ atoms")
            axes.set(xlabel="atoms", ylabel=label)
            axes.grid(**GRID)
        panels[0].legend(loc="lower right")
        letter_panels(list(panels))
        figure.savefig(path, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", type=int, nargs="*", default=[], help="atoms of reconstructions")
    parser.add_argument("--kernel", type=int, nargs="*", default=[], help="atoms, kernel alone")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for files of reconstructions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="table, CSV")
    parser.add_argument("--figure", type=Path, help="picture, PNG")
    options = parser.parse_args()
    if options.one is not None:
        comm = world()
        row = kernel(options.one, options.seed, comm)
        if comm.is_root:
            print(json.dumps(row))
        return
    if options.output is None:
        parser.error("name the table: -o FILE.csv")
    origin = provenance()
    rows: list[dict[str, str]] = []
    if options.output.exists():
        rows = read_rows(options.output)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="prammol-growth-"))
    known = {(r["what"], int(r["atoms"]), int(r["ranks"])) for r in rows}
    for what, sizes in (("kernel", options.kernel), ("whole", options.whole)):
        for atoms in sizes:
            if (what, atoms, options.ranks) in known:
                continue
            row = measured(what, atoms, options.ranks, options.seed, folder)
            rows.append({k: str(row.get(k, "")) for k in FIELDS} | origin)
            print(rows[-1], flush=True)
            write_rows(options.output, rows, origin, FIELDS)
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
