"""What became of the jobs of a sweep, from SLURM's accounting and the files of the trials."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster import call
from killer import REASONS, trial_of

FIELDS = ("job", "rule", "trial", "start_number", "submitted_s", "began_s", "ended_s", "state",
          "node", "killed_by", "after_iteration")  # fmt: skip
_ASKED = "JobIDRaw,Submit,Start,End,State,NodeList,Comment"


def starts(kills: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for every start of a job, in order, times since the first was submitted.

    A job that SLURM starts again itself has several.
    """
    known = []
    listed = call("sacct", "-D", "-X", "-n", "-P", f"--format={_ASKED}")
    for line in listed.splitlines():
        job, submit, start, end, state, node, comment = line.split("|")
        if start not in ("Unknown", "None"):
            times = [datetime.fromisoformat(t).timestamp() for t in (submit, start, end)]
            known.append((job, *times, state.split()[0], node, comment))
    known.sort(key=lambda row: (row[2], row[0]))
    zero = min(row[1] for row in known)
    rows = []
    count: Counter[str] = Counter()
    for job, submit, start, end, state, node, comment in known:
        rule = comment.removeprefix("rule_").split("_wildcards_")[0]
        trial = trial_of(comment) if rule in ("reconstruct", "evaluate") else ""
        kill = next((k for k in kills if k["job"] == job and start - 1 <= k["time"] <= end + 1), {})
        seconds = (round(t - zero) for t in (submit, start, end))
        killed = (kill.get("way", ""), kill.get("iteration", ""))
        row = (job, rule, trial, count[comment], *seconds, state, node, *killed)
        rows.append(dict(zip(FIELDS, row, strict=True)))
        count[comment] += 1
    return rows


def sums(
    folder: Path,
    trials: Sequence[str],
    last: int,
    kills: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return how many jobs were started, killed and resumed, and what is there in the end.

    ``last`` is the last iteration of a trial: what is killed after it had its result.
    """
    from prammol.io import read_reconstruction

    log = (folder / "snakemake.log").read_text()
    reconstructions = [r for r in rows if r["rule"] == "reconstruct"]
    times = Counter(str(k["trial"]) for k in kills)
    resumed: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        path = folder / trial / "reconstruction.h5"
        if path.exists():
            resumed[trial] = list(read_reconstruction(path).provenance["resumed"])
    metrics = [
        json.loads(p.read_text()) for t in trials if (p := folder / t / "metrics.json").exists()
    ]
    return {
        "trials": len(trials),
        "trials_with_metrics": len(metrics),
        "jobs_started": len(rows),
        "reconstructions_started": len(reconstructions),
        "reconstructions_by_state": dict(Counter(r["state"] for r in reconstructions)),
        "other_jobs_by_state": dict(
            Counter(r["state"] for r in rows if r["rule"] != "reconstruct")
        ),
        "killed": len(kills),
        "killed_by": {way: sum(k["way"] == way for k in kills) for way in REASONS},
        "trials_by_number_of_kills": dict(sorted(Counter(times.values()).items())),
        "killed_before_the_first_checkpoint": sum(int(k["iteration"]) < 0 for k in kills),
        "killed_after_the_last_iteration": sum(int(k["iteration"]) >= last for k in kills),
        "started_again_by_snakemake": len(re.findall(r"^Trying to restart job", log, re.MULTILINE)),
        "started_again_by_slurm": len(rows) - len({r["job"] for r in rows}),
        "resumed_from_a_checkpoint": sum(map(len, resumed.values())),
        "most_running_at_once": _most(rows),
    }


def _most(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the largest number of jobs that ran at once."""
    moments = [(r["began_s"], 1) for r in rows] + [(r["ended_s"], -1) for r in rows]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most
