"""How much does the result depend on each numeric setting and constant of preset `default`?

    python benchmarks/sensitivity.py -o docs/results/sensitivity.csv
    python benchmarks/sensitivity.py --list

Each is halved and doubled alone (integers rounded, tuples scaled as a whole; what is out of range
is left out) in the cases in which it can matter, on crystals that no study reports. This makes
docs/results/sensitivity.csv, row by row; what is in the file isn't run again. No picture.

Stages of the start give the same result for the same settings, so they are run once for all rows
that share them. Seconds are those of the processor and count them each time.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from provenance import provenance, read_rows, write_rows

import prammol
from prammol.core.errors import InputError
from prammol.reconstruction.preset import Preset
from prammol.reconstruction.presets import DEFAULT

FACTORS = (0.5, 2.0)
# Where the settings of a stage can matter.
CASES_OF = {
    "loop": ("warm",),
    "phase_patches": ("clear", "faint"),
    "choose_sites": ("clear",),
    "relax_and_align": ("clear",),
    "anneal": ("faint",),
    "complete_atoms": ("clear",),
    "reconsider_atoms": ("doubtful",),
    "restrained_refinement": ("warm",),
}
USER = {"max_iterations": "loop", "patience": "loop", "starts": "loop", "significance": "loop"}
# Settings for the same thing in stages that matter in the same cases: the first says it.
LEFT_OUT = ("max_iterations", "sublattice")
# Constants that steer the algorithm, but for defaults of arguments, which a new value of the name
# leaves alone. True: only the stages of the loop use them.
CONSTANTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "reconstruction.occupancy.low_signal:_LOW_SIGNAL_GAIN": (("doubtful",), True),
    "reconstruction.occupancy.candidate_sites:_FAR": (("clear",), False),
    "reconstruction.occupancy.candidate_sites:_FEWEST": (("clear",), False),
    "reconstruction.occupancy.binary_quadratic:LEAST_GAIN": (("clear",), False),
    "reconstruction.occupancy.binary_quadratic:_PART": (("clear",), False),
    "reconstruction.occupancy.bond_energy:_SWEEPS": (("faint",), True),
    "reconstruction.occupancy.bond_energy:_LARGEST_STEP": (("faint",), True),
    "reconstruction.occupancy.bond_prior:_WIDTH": (("clear",), False),
    "reconstruction.occupancy.gibbs_sampling:_EXCHANGE": (("faint",), True),
    "reconstruction.occupancy.relaxed_moves:_APART": (("doubtful",), True),
    "reconstruction.refinement.rotation_strain:_SIGNIFICANT": (("clear",), False),
    "reconstruction.refinement.rotation_strain:_WORTHWHILE": (("clear",), False),
    "reconstruction.refinement.rotation_strain:_TURNS": (("clear",), False),
    "reconstruction.refinement.rotation_strain:_HALVINGS": (("clear",), False),
    "reconstruction.refinement.score_test:_FALSE_ALARMS": (("clear",), True),
    "reconstruction.refinement.thermal_model:_ITERATIONS": (("warm",), True),
    "reconstruction.stages.default.acceptance:_LITTLE_LEFT": (("clear",), True),
    "reconstruction.stages.default.acceptance:_HALF_LEFT": (("clear",), True),
    "reconstruction.stages.default.complete_atoms:_SIGMAS": (("clear",), True),
    "reconstruction.stages.default.complete_atoms:_TOGETHER": (("clear",), True),
    "reconstruction.stages.default.exchange_atoms:_DEPTH": (("warm",), True),
    "reconstruction.stages.default.exchange_atoms:_POINTS": (("warm",), True),
    "reconstruction.stages.default.relax_and_align:_AN_ATOM": (("clear",), True),
    "reconstruction.stages.default.relax_and_align:_LONGEST": (("clear",), True),
    "reconstruction.stages.default.restrained_refinement:_LIKELY": (("warm",), True),
    "reconstruction.stopping:_FEW": (("warm",), True),
    "reconstruction.subsampling:_FILLED": (("clear",), False),
    "reconstruction.subsampling:_AROUND": (("clear",), False),
    "reconstruction.subsampling:_ABOUND": (("clear",), False),
    "likelihood.quasi_likelihood:EXTRA": (("clear", "faint"), False),
    "likelihood.quasi_likelihood:_EXTRA_PART": (("clear",), False),
    "likelihood.quasi_likelihood:_CLEAR": (("clear",), False),
    "likelihood.holdout_blocks:_EDGE": (("warm",), True),
    "phasing.fourier_synthesis:_DENSITY": (("clear",), False),
    "phasing.fourier_synthesis:_MARGIN": (("clear",), False),
    "phasing.fourier_synthesis:_STEPS": (("clear",), False),
    "phasing.hio_er:_BULK_QUANTILE": (("clear",), False),
    "structure.separation:TOO_CLOSE": (("clear",), False),
    "structure.vacant_sites:_SAME": (("clear",), False),
}
SEEDS = (2, 3, 4)  # of the reconstruction: what differs no more than these tells nothing
COLUMNS = (
    "case",
    "kind",
    "name",
    "factor",
    "value",
    "n_missing",
    "n_extra",
    "mae_pm",
    "iterations",
    "reason",
    "core_s",
)


@dataclass(frozen=True)
class Case:
    """A crystal of the choosing set and its counts."""

    about: str
    crystal: str
    atoms: int
    seed: int
    flux: float
    points: int = 32
    counts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def made(self) -> tuple[Any, ...]:
        """Return true atoms, counts and support."""
        truth = prammol.make_crystal(self.crystal, atoms=self.atoms, seed=self.seed)
        patches = prammol.paper_patches(points=self.points)
        data = prammol.simulate(truth, self.flux, self.seed, patches=patches, **self.counts)
        return truth, data, prammol.support_from_truth(truth, resolution=5.0)


DYNAMICS = {"temperature": 300.0, "equilibrate": 300, "steps": 1000, "every": 25, "timestep": 2.0}
CASES = {
    "clear": Case("every atom is seen", "bulk", 600, 11, 1e18),
    "faint": Case("single atoms are hardly seen", "bulk", 700, 13, 3e14),
    "warm": Case("300 K, 40 snapshots", "bulk", 600, 14, 1e18, counts=DYNAMICS),
    "doubtful": Case(
        "some atoms are in doubt", "vacancy", 700, 12, 1.5e16, settings={"max_iterations": 4}
    ),
}


class Remembered:
    """The stages of a start, each run once for the same settings, and their seconds."""

    def __init__(self) -> None:
        self.context: tuple[Any, ...] = ()
        self.seconds = 0.0
        self._results: dict[tuple[Any, ...], tuple[Any, float]] = {}
        self._keys: dict[int, tuple[Any, ...]] = {}

    def wrap(self, kind: type) -> None:
        """Make a stage remember."""
        kind.__call__ = partial(_call, self, kind.__call__)  # type: ignore[method-assign]
        kind.__call__ = _bound(kind.__call__)  # type: ignore[method-assign]

    def run(self, call: Callable[..., Any], stage: Any, problem: Any, state: Any) -> Any:
        """Return what a stage makes of a state."""
        begin = time.process_time()
        key = self._keys.get(id(state))
        if key is None and len(state.positions) == 0:
            key = (*self.context, state.status.start)
        if key is None:
            result = call(stage, problem, state)
            self.seconds += time.process_time() - begin
            return result
        key = (*key, stage)
        if key not in self._results:
            result = call(stage, problem, state)
            # Kept, so that its id is nobody else's.
            self._results[key] = result, time.process_time() - begin
            self._keys[id(result)] = key
        result, seconds = self._results[key]
        self.seconds += seconds
        return result

    def forget(self) -> None:
        """Forget all results."""
        self._results.clear()
        self._keys.clear()
        gc.collect()


def _call(memory: Remembered, call: Any, stage: Any, problem: Any, state: Any) -> Any:
    return memory.run(call, stage, problem, state)


def _bound(call: Any) -> Any:
    def method(self: Any, problem: Any, state: Any) -> Any:
        return call(self, problem, state)

    return method


@contextmanager
def constant(name: str, value: Any) -> Iterator[None]:
    """Give a module's constant another value, also where it was imported."""
    path, _, attribute = name.partition(":")
    home = importlib.import_module(f"prammol.{path}")
    old = getattr(home, attribute)
    modules = [m for n, m in sys.modules.items() if n.startswith("prammol.")]
    if attribute.startswith("_"):
        modules = [home]
    modules = [m for m in modules if m.__dict__.get(attribute) is old]
    for module in modules:
        setattr(module, attribute, value)
    try:
        yield
    finally:
        for module in modules:
            setattr(module, attribute, old)


def scaled(value: Any, factor: float) -> Any:
    """Return a number or tuple times a factor; whole numbers stay whole, and 1 at least."""
    if isinstance(value, tuple):
        return tuple(scaled(v, factor) for v in value)
    return max(round(value * factor), 1) if isinstance(value, int) else value * factor


def variations(kinds: set[str]) -> Iterator[tuple[str, str, str, float, Any]]:
    """Yield case, kind, name, factor and value of all rows, those of the default first."""
    for case in CASES:
        yield case, "default", "", 1.0, ""
        if "seed" in kinds:
            yield from ((case, "seed", "seed", float(seed), seed) for seed in SEEDS)
    settings = {**DEFAULT.settings(), "loop.max_iterations": DEFAULT.control.max_iterations}
    for name, value in settings.items():
        stage = USER.get(name, name.partition(".")[0])
        if "setting" not in kinds or name in LEFT_OUT or stage not in CASES_OF:
            continue
        if isinstance(value, bool) or "loop.max_iterations" == name:
            continue
        for case in CASES_OF[stage]:
            for factor in FACTORS:
                yield case, "setting", name, factor, scaled(value, factor)
    for name, (cases, _) in CONSTANTS.items():
        if "constant" not in kinds:
            continue
        path, _, attribute = name.partition(":")
        value = getattr(importlib.import_module(f"prammol.{path}"), attribute)
        for case in cases:
            for factor in FACTORS:
                yield case, "constant", name, factor, scaled(value, factor)


def run(made: tuple[Any, ...], plan: Preset, memory: Remembered, seed: int = 1) -> dict[str, Any]:
    """Reconstruct and compare."""
    truth, data, support = made
    memory.seconds = 0.0
    try:
        result = prammol.reconstruct(data, support, seed=seed, preset=plan)
    except Exception as error:  # a constant may be out of its range
        return {"reason": f"error: {error}"[:80].replace(",", ";").replace("\n", " ")}
    found = prammol.evaluate(result.atoms, truth, with_resolution=False)
    return {
        "n_missing": found.n_missing,
        "n_extra": found.n_extra,
        "mae_pm": round(found.mae_pm, 4),
        "iterations": len(result.history) - 1,
        "reason": result.reason,
        "core_s": round(memory.seconds, 2),
    }


def main() -> None:
    """Run what isn't in the table yet, case by case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("sensitivity.csv"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--kinds", nargs="+", default=["seed", "setting", "constant"])
    parser.add_argument("--names", default="", help="regular expression of those to vary")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    options = parser.parse_args()
    todo = [
        v
        for v in variations({*options.kinds})
        if v[0] in options.cases and (not v[2] or re.search(options.names, v[2]))
    ]
    if options.list:
        print("\n".join(" ".join(map(str, v)) for v in todo))
        return
    rows = [dict(row) for row in read_rows(options.output)] if options.output.exists() else []
    done = {(r["case"], r["name"], float(r["factor"])) for r in rows}
    origin, memory = provenance(), Remembered()
    for kind in {type(stage) for stage in DEFAULT.stages}:
        memory.wrap(kind)
    for case in options.cases:
        made, base = None, DEFAULT.with_settings({"error_bars": False, **CASES[case].settings})
        for _, kind, name, factor, value in (v for v in todo if v[0] == case):
            if (case, name, factor) in done:
                continue
            made = made or CASES[case].made()
            row = {"case": case, "kind": kind, "name": name, "factor": factor, "value": value}
            memory.context = (case,)
            if kind == "seed":
                memory.context = (case, name, value)
                row |= run(made, base, memory, value)
            elif kind == "constant":
                if not CONSTANTS[name][1]:
                    memory.context = (case, name, factor)
                with constant(name, value):
                    row |= run(made, base, memory)
            else:
                try:
                    plan = base.with_settings({name: value} if name else {})
                except InputError:
                    continue
                row |= run(made, plan, memory)
            rows.append({**origin, **row})
            write_rows(options.output, rows, origin, COLUMNS)
            print(*(row.get(k, "") for k in COLUMNS), flush=True)
        memory.forget()


if __name__ == "__main__":
    main()
