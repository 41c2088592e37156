"""Kills jobs of a sweep at random: which, when and how follows from a seed.

Every start of a reconstruction is drawn anew, so that a trial can be killed again and again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # snakemake needs and brings it
from cluster import ClusterError, call, crash, revive

REASONS = ("scancel", "SIGKILL", "time limit", "node")
_ITERATIONS = range(-1, 9)  # -1: before the first checkpoint


@dataclass(frozen=True)
class Plan:
    """What is done to one start of a trial: how, and once which iteration is over."""

    way: str
    iteration: int


def plan(seed: int, part: float, trial: str, start: int) -> Plan | None:
    """Draw what happens to a start of a trial; None for the lucky ones.

    Parameters
    ----------
    seed : int
    part : float
        Which part of the starts is killed.
    trial : str
        Folder of the trial.
    start : int
        How often the trial had been started before.
    """
    draw = random.Random(f"{seed}:{trial}:{start}")
    unlucky = draw.random() < part
    chosen = Plan(draw.choice(REASONS[:3]), draw.choice(_ITERATIONS))
    return chosen if unlucky else None


class Killer:
    """Looks at the running jobs again and again, and kills those whose time has come.

    Parameters
    ----------
    cluster : Path
        Folder of the SLURM.
    study : Path
        Folder that snakemake runs in.
    seed, part
        See :func:`plan`.
    node : str
        This node breaks down once.
    after : int
        How many trials have been reconstructed when it does.
    """

    def __init__(
        self, cluster: Path, study: Path, seed: int, part: float, node: str, after: int
    ) -> None:
        self.cluster, self.study = cluster, study
        self.seed, self.part = seed, part
        self.node, self.after = node, after
        self.kills: list[dict[str, object]] = []
        self._starts: dict[tuple[str, str], int] = {}
        self._count: Counter[str] = Counter()
        self._revive_at = 0.0

    def look(self) -> None:
        """Kill what is to be killed now."""
        jobs = list(reconstructions())
        for key, trial, _ in jobs:
            if key not in self._starts:
                self._starts[key] = self._count[trial]
                self._count[trial] += 1
        for key, trial, _ in jobs:
            chosen = plan(self.seed, self.part, trial, self._starts[key])
            if chosen and not self._is_killed(key):
                self._kill(key, trial, chosen)
        self._break_node(jobs)

    def _is_killed(self, key: tuple[str, str]) -> bool:
        return any((k["job"], k["restarts"]) == key for k in self.kills)

    def _kill(self, key: tuple[str, str], trial: str, chosen: Plan) -> None:
        pids = processes(self.study, trial)
        iteration = self._iteration(trial, pids)
        if not pids or iteration < chosen.iteration:
            return
        try:
            if chosen.way == "scancel":
                call("scancel", key[0])
            elif chosen.way == "SIGKILL":
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            else:  # it stands still until its minute is over; SLURM wakes it and asks it to end
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                call("scontrol", "update", f"JobId={key[0]}", "TimeLimit=1")
        except (ProcessLookupError, ClusterError):
            return  # it had just ended
        self._note(key, trial, chosen.way, iteration)

    def _break_node(self, jobs: list[tuple[tuple[str, str], str, str]]) -> None:
        if self._revive_at:
            if time.time() > self._revive_at:
                revive(self.cluster, self.node)
                self._revive_at = float("inf")
            return
        if len(list(self.study.glob("results/*/*/*/reconstruction.h5"))) < self.after:
            return
        for key, trial, node in jobs:
            if node == self.node and not self._is_killed(key):
                pids = processes(self.study, trial)
                self._note(key, trial, "node", self._iteration(trial, pids))
        crash(self.cluster, self.node)
        self._revive_at = time.time() + 60

    def _iteration(self, trial: str, pids: list[int]) -> int:
        """Return the last iteration that the running processes have recorded, -1 for none."""
        path = self.study / trial / "reconstruction.progress.jsonl"
        with suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
            # What an earlier start had written doesn't count.
            if path.stat().st_mtime > min(psutil.Process(pid).create_time() for pid in pids):
                return int(json.loads(path.read_text().splitlines()[-1])["iteration"])
        return -1

    def _note(self, key: tuple[str, str], trial: str, way: str, iteration: int) -> None:
        job, restarts = key
        self.kills.append(
            asdict(Plan(way, iteration))
            | {"job": job, "restarts": restarts, "trial": trial, "time": time.time()}
        )


def reconstructions() -> Iterator[tuple[tuple[str, str], str, str]]:
    """Yield number and restarts, trial, and node of each running reconstruction."""
    listed = call(
        "squeue", "-h", "-t", "RUNNING", "-O", "JobID:20,RestartCnt:6,NodeList:20,Comment:200"
    )
    for line in listed.splitlines():
        job, restarts, node, comment = line.split()
        if comment.startswith("rule_reconstruct_"):
            yield (job, restarts), trial_of(comment), node


def trial_of(comment: str) -> str:
    """Return the folder of the trial that the comment of a job names."""
    study, condition, number = comment.split("_wildcards_")[1].split("_")
    return f"results/{study}/{condition}/trial-{number}"


def processes(study: Path, trial: str) -> list[int]:
    """Return the processes that reconstruct a trial."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            here = (path / "cwd").readlink() == study
        except OSError:
            continue
        if here and words[1:4] == ["-m", "prammol", "reconstruct"]:
            if words[4].startswith(f"{trial}/"):
                found.append(int(path.name))
    return found
