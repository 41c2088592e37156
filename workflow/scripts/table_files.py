"""Tables of trials, read and written as CSV, and the log of a script.

A table of trials says of each where it comes from (benchmarks/provenance.py), so that
docs/results can hold a copy of it.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prammol.evaluation.metrics import NUMBERS

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from provenance import COLUMNS as ORIGIN
from provenance import UNKNOWN, commit

Row = dict[str, Any]

METRICS = (
    *NUMBERS,
    "scale_ratio",
    "iterations",
    "converged",
    "wall_s",
    "core_s",
    "ranks",
    "seed",
    "preset",
)
COLUMNS = (
    "study",
    "condition",
    "value",
    "trial",
    *METRICS,
    "resolution_of_condition_angstrom",
    "resolution_of_scattering_angstrom",
    "trials_planned",
    *ORIGIN,
)


@contextmanager
def logged(job: Any) -> Iterator[None]:
    """Send what a script prints, and its traceback, to the log of its rule."""
    with open(job.log[0], "w", encoding="utf-8") as log, redirect_stdout(log):
        with redirect_stderr(log):
            try:
                yield
            except Exception:
                import traceback

                traceback.print_exc()
                raise
    sys.stdout.flush()


def value_of(condition: str) -> float | None:
    """Return the number in the name of a condition: 1e18, 300K, state-03, or none."""
    try:
        return float(condition.removesuffix("K").removeprefix("state-"))
    except ValueError:
        return None


def origin_of(target: str, made: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return commit, date and command of what the workflow makes.

    Parameters
    ----------
    target : str
        The file to ask snakemake for.
    made : mapping, optional
        What an older file that it is made of says of itself: its date, and its commit if it
        knows. Otherwise the program that made it is this one or one before.
    """
    now = commit()
    if made is None:
        here = {"commit": now, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    else:
        older = now if now == UNKNOWN else f"<={now}"
        date = str(made.get("date", UNKNOWN))[: len("2000-01-01")]
        here = {"commit": str(made.get("commit", older)), "date": date}
    return {**here, "command": f"snakemake {target}"}


def trial_row(path: str, resolution: float | None, planned: int) -> Row:
    """Return the row of the trial whose metrics.json is ``path``."""
    study, condition, trial = Path(path).parts[-4:-1]
    metrics = json.loads(Path(path).read_text(encoding="utf-8"))
    return {
        "study": study,
        "condition": condition,
        "value": value_of(condition),
        "trial": int(trial.removeprefix("trial-")),
        **{name: metrics[name] for name in METRICS},
        "resolution_of_condition_angstrom": resolution,
        "resolution_of_scattering_angstrom": metrics.get("resolution_of_scattering_angstrom"),
        "trials_planned": planned,
    }


def write_table(path: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV; what isn't known stays empty."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns) or list(rows[0]))
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


def read_table(path: str) -> list[Row]:
    """Read what :func:`write_table` wrote: numbers as float, nothing as None."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {k: v if k in ORIGIN else _value(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def _value(text: str) -> Any:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return float(text)
    except ValueError:
        return text
