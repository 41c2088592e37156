"""Compare the transforms of ducc0 and finufft on the paper's problem.

    python benchmarks/nufft.py [atoms] [repeats]

Three patches of 50^3 points, 4679 atoms, one thread. Both do the same: atoms to
patches (forward), patches to atoms (adjoint), at the same requested accuracy. The two
take turns, so that a busy machine slows both; the ratio is that of the fastest turns.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ducc0
import finufft
import numpy as np

from prammol.patches import BraggPatch, paper_patches
from prammol.scattering import direct_structure_factor

Array = np.ndarray
LIBRARIES = ("ducc0", "finufft")


def fastest(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each function [s], taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, function in runs.items():
            begin = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begin)
    return {name: min(t) for name, t in times.items()}


def all_of(functions: list[Callable[[], object]]) -> Callable[[], object]:
    """Return a function that calls all the others."""
    return lambda: [function() for function in functions]


def prepared(patch: BraggPatch, x: Array, real: type) -> tuple[Array, Array]:
    """Return coordinates on the grid of a patch, reduced to one period, and phases."""
    u = x @ patch.step.T
    u -= 2 * np.pi * np.round(u / (2 * np.pi))
    return u.astype(real), np.exp(-1j * (x @ patch.middle))


def transforms(
    patch: BraggPatch, x: Array, epsilon: float
) -> dict[str, dict[str, Callable[[], Array]]]:
    """Return forward and adjoint of both libraries for one patch."""
    real, kind = (np.float32, np.complex64) if epsilon > 1e-6 else (np.float64, np.complex128)
    u, phase = prepared(patch, x, real)
    columns = [np.ascontiguousarray(u[:, a]) for a in range(3)]
    sources = phase.astype(kind)
    out = np.empty(patch.shape, dtype=kind)
    grid = np.random.default_rng(0).normal(size=patch.shape).astype(kind)
    ours = {"epsilon": epsilon, "nthreads": 1, "periodicity": 2 * np.pi}
    theirs = {"eps": epsilon, "nthreads": 1}
    return {
        "forward": {
            "ducc0": lambda: ducc0.nufft.nu2u(
                points=sources, coord=u, forward=True, out=out, **ours
            ),
            "finufft": lambda: finufft.nufft3d1(*columns, sources, patch.shape, isign=-1, **theirs),
        },
        "adjoint": {
            "ducc0": lambda: ducc0.nufft.u2nu(grid=grid, coord=u, forward=False, **ours),
            "finufft": lambda: finufft.nufft3d2(*columns, grid, isign=1, **theirs),
        },
    }


def main(atoms: int = 4679, repeats: int = 15) -> None:
    """Print a table of times and of errors against the plain sum."""
    side = (atoms * 4.05**3 / 4) ** (1 / 3)
    x = np.random.default_rng(1).uniform(-side / 2, side / 2, (atoms, 3))
    patches = paper_patches()
    some = np.random.default_rng(2).choice(patches[0].size, 2000, replace=False)
    exact = direct_structure_factor(patches[0].q()[some], x)
    print(f"{atoms} atoms, 3 patches of 50^3 points, one thread, best of {repeats}\n")
    titles = ("accuracy asked", "transform", "ducc0 ms", "finufft ms", "finufft / ducc0")
    print("| " + " | ".join([*titles, "error ducc0", "error finufft"]) + " |")
    print("|---|---|---|---|---|---|---|")
    for epsilon in (1e-5, 1e-6, 1e-9, 1e-12):
        sets = [transforms(p, x, epsilon) for p in patches]
        error = {}
        for name, function in sets[0]["forward"].items():
            found = np.asarray(function()).ravel()[some]
            error[name] = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        for direction in ("forward", "adjoint"):
            best = fastest(
                {name: all_of([s[direction][name] for s in sets]) for name in LIBRARIES}, repeats
            )
            a, b = 1e3 * best["ducc0"], 1e3 * best["finufft"]
            errors = (
                f"{error['ducc0']:.1e} | {error['finufft']:.1e}" if direction == "forward" else "|"
            )
            print(f"| {epsilon:.0e} | {direction} | {a:.1f} | {b:.1f} | {b / a:.1f} | {errors} |")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
