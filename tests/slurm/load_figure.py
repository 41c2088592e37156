"""Draws load.csv as load.png: trials waiting, running and done over time, and the kills."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from prammol.plotting.style import (
    FOUND,
    MISSING,
    MODEL,
    PAGE,
    PALE,
    STYLE,
    letter_panels,
    new_figure,
)

COLOURS = {"waiting": PALE, "running": MODEL, "done": FOUND}
MARKS = {"scancel": "o", "SIGKILL": "x", "time limit": "s", "node": "^"}


def draw(table: Path, picture: Path) -> None:
    """Draw the reconstructions of a table of starts."""
    with table.open() as file:
        rows = [r for r in csv.DictReader(file) if r["rule"] == "reconstruct"]
    began, ended = (np.array([int(r[k]) for r in rows]) for k in ("began_s", "ended_s"))
    done = np.sort(ended[[r["state"] == "COMPLETED" for r in rows]])
    t = np.arange(ended.max() + 20)
    finished = np.searchsorted(done, t, side="right")
    running = np.searchsorted(np.sort(began), t, "right") - np.searchsorted(
        np.sort(ended), t, "right"
    )
    waiting = len({r["trial"] for r in rows}) - finished - running
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 4.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
        _draw_kills(above, rows)
        below.stackplot(
            t / 60, finished, running, waiting, labels=("done", "running", "waiting"),
            colors=[COLOURS[n] for n in ("done", "running", "waiting")],
        )  # fmt: skip
        below.set(xlabel="time (min)", ylabel="trials", xlim=(0, t[-1] / 60), ylim=(0, None))
        for name, x, y in (("done", 0.75, 0.3), ("waiting", 0.22, 0.75)):
            below.text(x, y, name, transform=below.transAxes, ha="center", fontsize=8,
                       color="white" if name == "done" else "#1f2430")  # fmt: skip
        middle = len(t) // 2
        below.annotate("running", (t[middle] / 60, finished[middle] + running[middle] / 2),
                       xytext=(-70, 34), textcoords="offset points",
                       arrowprops={"arrowstyle": "-", "color": "#1f2430"})  # fmt: skip
        letter_panels([above, below])
        figure.savefig(picture, dpi=200)


def _draw_kills(axes: object, rows: list[dict[str, str]]) -> None:
    """Draw a row of marks for each way in which jobs were killed."""
    ways = list(MARKS)
    for y, way in enumerate(ways):
        at = [int(r["ended_s"]) / 60 for r in rows if r["killed_by"] == way]
        axes.plot(at, [y] * len(at), MARKS[way], color=MISSING, mfc="none", ms=6)
        ways[y] = f"{way} ({len(at)})"
    axes.set(yticks=range(len(ways)), yticklabels=ways, ylim=(len(ways) - 0.4, -0.6))
    axes.set_title(
        f"{len({r['trial'] for r in rows})} trials, {len(rows)} starts: killed by",
        loc="left",
    )
    axes.grid(axis="y", color="#eceef1")
    axes.set_axisbelow(True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
