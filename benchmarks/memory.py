"""The most memory a process has held; as a script, that of whole reconstructions, by stage.

    python benchmarks/memory.py --atoms 2000 4679 10000 30000 -o memory.csv

This makes docs/results/memory.csv; no picture. Bulk crystals at 1e18 photons/um^2, sampled as by
benchmarks/growth.py, each in a process of its own, and with --points so many times the points.
*peak* is the largest of all ranks up to the end of a stage, *estimate* what `prammol reconstruct`
announces.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from provenance import provenance, write_rows

from prammol.core.memory import resident_mib

FORGET = Path("/proc/self/clear_refs")
FLUX = 1e18
FIELDS = (
    "atoms",
    "points",
    "ranks",
    "stage",
    "peak_mb",
    "estimate_mb",
    "cpu_s",
    "n_missing",
    "n_extra",
)


def forget_peak() -> None:
    """Let the peak start again from what is held now; on Linux only."""
    if FORGET.exists():
        FORGET.write_text("5")


def peak() -> float:
    """Return the peak of the resident memory [MB]."""
    if FORGET.exists():  # what getrusage says survives forget_peak
        return resident_mib()[1] * 2**20 / 1e6
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def stages(atoms: int, times: float) -> list[dict[str, Any]]:
    """Return a row for each stage of one reconstruction, and one for the whole."""
    from growth import patches_for

    from prammol.cli.cost_estimate import estimate
    from prammol.core.parallel import world
    from prammol.diffraction.support import support_from_truth
    from prammol.evaluation.metrics import evaluate
    from prammol.potentials.potential import aluminium
    from prammol.reconstruction.loop import reconstruct
    from prammol.reconstruction.observer import Observer
    from prammol.simulation.counts import simulate
    from prammol.simulation.samples import make_crystal

    comm = world()
    truth = make_crystal("bulk", atoms=atoms, comm=comm)
    data = simulate(truth, FLUX, 1, patches_for(round(atoms * times)))
    support = support_from_truth(truth)
    found: dict[str, list[float]] = {}

    class Watch(Observer):
        name, begin = "read", time.process_time()

        def entered(self, name: str, number: int, of: int) -> None:
            top, seconds = found.get(self.name, [0.0, 0.0])
            now = time.process_time()
            top, seconds = max(top, comm.max(peak())), seconds + comm.sum(now - self.begin)
            found[self.name] = [top, seconds]
            self.name, self.begin = name, time.process_time()
            forget_peak()

    forget_peak()
    watch = Watch()
    result = reconstruct(data, support, seed=1, comm=comm, observer=watch)
    watch.entered("end", 1, 1)
    needs = estimate(data, support, aluminium(), comm)
    seen = evaluate(result.atoms, truth, with_resolution=False)
    common = {"atoms": atoms, "points": needs.points, "ranks": comm.size}
    whole = [max(top for top, _ in found.values()), sum(s for _, s in found.values())]
    rows = [
        {**common, "stage": name, "peak_mb": round(top), "cpu_s": round(seconds, 1)}
        for name, (top, seconds) in [*found.items(), ("all", whole)]
    ]
    rows[-1] |= {
        "estimate_mb": round(needs.bytes_per_rank / 1e6),
        "n_missing": seen.n_missing,
        "n_extra": seen.n_extra,
    }
    return rows if comm.is_root else []


def main() -> None:
    from prammol.__main__ import set_threads

    set_threads([])  # numpy of the processes reads it when it is loaded
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[2000])
    parser.add_argument("--points", type=float, default=1.0, help="times those of the paper")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="table, CSV; rows are added")
    options = parser.parse_args()
    if options.one:
        for row in stages(options.atoms[0], options.points):
            print(json.dumps(row))
        return
    if options.output is None:
        parser.error("name the table: -o FILE.csv")
    from provenance import read_rows

    origin = provenance()
    rows: list[dict[str, Any]] = []
    if options.output.exists():
        rows = list(read_rows(options.output))
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(options.ranks)]
    for atoms in options.atoms:
        command = [*(launcher if options.ranks > 1 else []), sys.executable, __file__, "--one"]
        command += ["--atoms", str(atoms), "--points", str(options.points)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in text.splitlines():
            if line.startswith("{"):
                rows.append(dict.fromkeys(FIELDS, "") | json.loads(line) | origin)
        print(rows[-1], flush=True)
        write_rows(options.output, rows, origin, FIELDS)


if __name__ == "__main__":
    main()
