"""Structure factor, likelihood and gradient: time, error and memory of us and our peers.

    python benchmarks/side_by_side.py --cases 4679x50 100000x50 -o side-by-side.csv

This makes docs/results/side-by-side.csv (``make bench``); no picture.
Each case is a number of atoms and the points along each edge of the paper's three patches.
Every contestant (contestants.py) has a process of its own for each task; they take turns,
one thread each. Seconds are the shortest of all turns, of processor time, so that other
work on the machine counts less; where only a part of the points was done, scaled to all
of them. Errors are relative to the norm, against sums in extended precision (extended_sum.py)
on a random sample. Memory is by how much getting ready and the first run raise the peak of
the process, its libraries and the data being loaded already.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import extended_sum
import memory
import numpy as np
from contestants import CONTESTANTS, AbsentError, Problem
from provenance import provenance, write_rows

import prammol
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit

Array = np.ndarray
TASKS = ("forward", "gradient")
SCALE = 1.9  # C of the paper's 1e20 photons/um^2
OFF = 0.05  # Å, every coordinate of the atoms from the lattice the counts are of
REFERENCE_WORK = 5_000_000  # phases in extended precision for one error
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TARGETS = (
    ("forward", "dynasor", "prammol", 50.0, "at least"),
    ("forward", "prammol", "ducc0", 1.15, "at most"),
    ("gradient", "prammol", "ducc0", 1.3, "at most"),
    ("gradient", "prammol, Eq. 6", "ducc0", 1.3, "at most"),
)
COLUMNS = ("atoms", "points", "accuracy", "task", "contestant", "seconds", "points_done")
COLUMNS += ("turns", "times_prammol", "error", "memory_mb", "remark")


def make_problem(lattice: Array, points: int, accuracy: float) -> dict[str, Array]:
    """Return the arrays of a problem: counts of some atoms, which are now a little off."""
    rng = np.random.default_rng(1)
    patches = paper_patches(points)
    factor = StructureFactor(patches)
    counts = rng.poisson(np.abs(SCALE * factor.forward(lattice)) ** 2).astype(float)
    x = lattice + rng.normal(0, OFF, lattice.shape)
    data = Diffraction(patches, list(counts.reshape(-1, points, points, points)))
    misfit = PoissonMisfit(local_shard(data, Communicator()), factor)
    _, _, field = misfit.field(factor.forward(x))
    order = rng.permutation(factor.size)
    return {
        "x": x,
        "counts": counts,
        "field": field,
        "order": order,
        "points": np.array(points),
        "accuracy": np.array(accuracy),
    }


def load(path: Path) -> Problem:
    """Read a problem."""
    with np.load(path) as file:
        a = dict(file)
    patches = paper_patches(int(a["points"]))
    return Problem(a["x"], patches, a["counts"], a["field"], a["order"], float(a["accuracy"]))


def worker(link: Connection, name: str, task: str, path: Path, tiny: Path) -> None:
    """Be one contestant with one task: say what it found, then run whenever asked."""
    try:
        warm = CONTESTANTS[name](load(tiny), task)  # libraries loaded, kernels compiled
        warm.work()
        problem = load(path)
        memory.forget_peak()
        before = memory.peak()
        run = CONTESTANTS[name](problem, task)
        run.work()
        used = memory.peak() - before
        compared = max(1, min(len(problem.x), REFERENCE_WORK // run.points))
        points, values = run.found(compared)
    except AbsentError as err:
        link.send(str(err))
        return
    except Exception:
        link.send(traceback.format_exc())
        raise
    link.send({"points_done": run.points, "memory_mb": used, "where": points, "found": values})
    while link.recv():
        begin = time.process_time()
        run.work()
        link.send(time.process_time() - begin)


def error(problem: Problem, task: str, where: Array, found: Array) -> float:
    """Return the error of what a contestant found, relative to the norm."""
    corners = np.array([p.origin for p in problem.patches])
    steps = np.array([p.step for p in problem.patches])
    points = problem.patches[0].shape[0]
    if task == "forward":
        some = slice(max(1, REFERENCE_WORK // len(problem.x)))
        q = extended_sum.scattering_vectors(corners, steps, points, where[some])
        exact, found = extended_sum.structure_factor(q, problem.x), found[some]
        if not np.iscomplexobj(found):
            exact = np.abs(exact)
    else:
        q = extended_sum.scattering_vectors(corners, steps, points, where)
        exact = extended_sum.moments(q, problem.field[where], problem.x[: len(found)])
    # Not np.linalg.norm, which knows no extended precision
    return float(np.sqrt(np.sum(np.abs(found - exact) ** 2) / np.sum(np.abs(exact) ** 2)))


def measure(
    folder: Path, case: tuple[int, int, float], names: list[str], turns: int, seconds: float
) -> list[dict[str, Any]]:
    """Return one row for each task and contestant of a case."""
    path, tiny = folder / "case.npz", folder / "tiny.npz"
    crystal = prammol.make_crystal("vacancy", atoms=case[0], relax=False)
    np.savez(path, **make_problem(crystal.positions, *case[1:]))
    few = np.random.default_rng(2).uniform(-10, 10, (60, 3))
    np.savez(tiny, **make_problem(few, 8, case[2]))
    problem = load(path)
    context = multiprocessing.get_context("spawn")
    rows, links, processes = [], [], []
    for task in TASKS:
        for name in names:
            link, other = context.Pipe()
            process = context.Process(target=worker, args=(other, name, task, path, tiny))
            process.start()
            other.close()
            answer = link.recv()  # one after the other: they would slow each other
            row = {"atoms": case[0], "points": case[1], "accuracy": case[2]}
            row |= {"task": task, "contestant": name}
            if isinstance(answer, str):
                row["remark"] = answer.strip().splitlines()[-1]
            else:
                row["points_done"] = answer["points_done"]
                row["memory_mb"] = answer["memory_mb"]
                row["error"] = error(problem, task, answer["where"], answer["found"])
                links.append((link, row, []))
            rows.append(row)
            processes.append(process)
    for _ in range(turns):
        for link, _, times in links:
            if sum(times) < seconds:
                link.send(True)
                times.append(link.recv())
    for link, row, times in links:
        link.send(False)
        row["turns"] = len(times)
        row["seconds"] = min(times) * problem.size / row["points_done"]
        row["remark"] = "" if row["points_done"] == problem.size else "scaled"
    for process in processes:
        process.join()
    ours = {r["task"]: r["seconds"] for r in rows if r["contestant"] == "prammol"}
    for row in rows:
        if "seconds" in row and row["task"] in ours:
            row["times_prammol"] = row["seconds"] / ours[row["task"]]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    first = rows[0]
    size = 3 * first["points"] ** 3
    text = [
        f"{first['atoms']} atoms, three patches of {first['points']}^3 points, "
        f"accuracy asked {first['accuracy']:.0e}, {os.environ['OMP_NUM_THREADS']} thread(s)\n",
        "| task | contestant | seconds | times prammol | points done | error | memory MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        if "seconds" not in r:
            text.append(f"| {r['task']} | {r['contestant']} | {r['remark']} | | | | |")
            continue
        done = "all" if r["points_done"] == size else f"{r['points_done']}, scaled"
        times = f"{r['times_prammol']:.3g}" if "times_prammol" in r else ""
        text.append(
            f"| {r['task']} | {r['contestant']} | {r['seconds']:.3g} | {times} | {done} | "
            f"{r['error']:.1e} | {r['memory_mb']:.0f} |"
        )
    return "\n".join(text) + "\n"


def verdicts(rows: list[dict[str, Any]]) -> str:
    """Return one line for each target: what was measured, and whether it holds."""
    seconds = {(r["task"], r["contestant"]): r["seconds"] for r in rows if "seconds" in r}
    lines = []
    for task, one, other, bound, word in TARGETS:
        if (task, one) in seconds and (task, other) in seconds:
            ratio = seconds[task, one] / seconds[task, other]
            holds = ratio >= bound if word == "at least" else ratio <= bound
            lines.append(
                f"{task}: {one} takes {ratio:.3g} times as long as {other}; "
                f"target {word} {bound:g}: {'holds' if holds else 'MISSED'}"
            )
    return "\n".join(lines) + "\n"


def case_of(text: str) -> tuple[int, int]:
    """Return atoms and points of a text such as 4679x50."""
    atoms, points = text.split("x")
    return int(atoms), int(points)


def main() -> None:
    """Print tables and verdicts, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=case_of, nargs="+", default=[(4679, 50), (100_000, 50)])
    parser.add_argument("--accuracy", type=float, default=1e-9, help="asked of the transforms")
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="no further turn for one that took so long"
    )
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("-o", "--output", type=Path, default="results/bench/side-by-side.csv")
    options = parser.parse_args()
    origin = provenance()
    if np.finfo(np.longdouble).eps > 1e-18:
        print("no extended precision here: errors below 1e-13 mean nothing", file=sys.stderr)
    for variable in THREADS:
        os.environ.setdefault(variable, "1")
    rows = []
    for atoms, points in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            case = (atoms, points, options.accuracy)
            done = measure(Path(folder), case, options.only, options.turns, options.seconds)
        print(table(done), verdicts(done), sep="\n", flush=True)
        rows += done
    options.output.parent.mkdir(parents=True, exist_ok=True)
    short = [row | {k: f"{v:.4g}" for k, v in row.items() if isinstance(v, float)} for row in rows]
    write_rows(options.output, short, origin, COLUMNS)


if __name__ == "__main__":
    main()
