"""The workflow on a real SLURM, brought up for the test: what runs, and what happens to failures.

Needs root and Debian's packages (installed if apt-get can); elsewhere all of it is skipped.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from processes import ROOT
from slurm.cluster import (
    LINK,
    OF_TESTS,
    ClusterError,
    UnsuitableError,
    alone,
    call,
    down,
    processes_of,
    up,
)

from prammol.io import read_reconstruction

pytestmark = pytest.mark.slurm

FOLDER = OF_TESTS
# A job step of the workflow keeps the number of its job and loses what else SLURM says.
AS_IN_A_JOB = "id=$SLURM_JOB_ID; unset ${!SLURM_*}; export SLURM_JOB_ID=$id PRAMMOL_RANKS=2; "
WHERE = (
    "import os; from prammol.core.parallel import world; "
    "names = world().gather(os.environ['SLURMD_NODENAME']); "
    "print('ranks on', *names) if world().is_root else None"
)


@pytest.fixture(scope="class")
def slurm(request):
    """A running SLURM, with accounting if the class says so; one at a time on a machine."""
    with alone(FOLDER):
        try:
            down(FOLDER)  # what a killed test left
            up(FOLDER, nodes=2, cpus=2, accounting=request.cls.accounting, install=True)
        except UnsuitableError as error:
            pytest.skip(f"NOT TESTED ON SLURM: {error}")
        except ClusterError:
            down(FOLDER)
            raise
        yield FOLDER
        down(FOLDER)
        assert not LINK.is_symlink()
        assert not FOLDER.exists()
        assert processes_of(FOLDER / "etc" / "slurm.conf") == []


def profile(folder, name="slurm", ranks=2, **changes):
    """A profile as somebody would edit it: other ranks, less memory, status asked more often."""
    settings = yaml.safe_load((ROOT / "profiles" / name / "config.v9+.yaml").read_text())
    for rule in settings.get("set-threads", {}):
        settings["set-threads"][rule] = settings["set-resources"][rule]["tasks"] = ranks
    settings["retries"] = 1
    settings["latency-wait"] = 10
    settings["slurm-init-seconds-before-status-checks"] = 4
    settings["default-resources"].update(mem_mb=500, **changes)
    path = folder / f"profile-{name}"
    path.mkdir(exist_ok=True)
    (path / "config.v9+.yaml").write_text(yaml.safe_dump(settings))
    return path


def command(folder, *arguments):
    """The command line of snakemake for results in a folder."""
    start = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder, "--nocolor"]
    return [str(a) for a in (*start, *arguments)]


def snakemake(folder, *arguments, timeout=900):
    """Run the workflow."""
    return subprocess.run(
        command(folder, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=ROOT,
    )


def records():
    """What SLURM knows of all jobs, finished or not: one mapping each."""
    lines = call("scontrol", "--oneliner", "show", "job").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if "JobId=" in line]


def rules_of(run):
    """How often each rule is run, from the table that snakemake prints first."""
    found = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    return {rule: int(n) for rule, n in found if rule != "total"}


def ranks_of(folder, trial):
    """The processes that reconstruct a trial."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            here = (path / "cwd").readlink() == folder
        except OSError:
            continue
        if here and words[1:4] == ["-m", "prammol", "reconstruct"]:
            if words[4].startswith(f"{trial}/"):
                found.append(int(path.name))
    return found


def metrics(folder, trial):
    return json.loads((folder / trial / "metrics.json").read_text())


class TestWithoutAccounting:
    """All rules; SLURM remembers jobs as long as MinJobAge and has no sacct."""

    accounting = False

    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, slurm, tmp_path_factory):
        """A folder with the whole smoke study, smaller still, made with two ranks."""
        folder = tmp_path_factory.mktemp("study")
        study = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
        for sample in study["samples"].values():
            sample["atoms"] = 200
        study["measurement"]["points"] = 24
        for settings in study["studies"].values():
            settings.update(settings=["max_iterations=2"], trials=1)
            if settings["kind"] == "series":  # so few atoms and points take minutes at 1e18
                settings.update(settings=["max_iterations=4"], flux="1e20")
            else:
                settings["preset"] = "paper"
        del study["studies"]["flux-paper"]  # as flux is here
        study["studies"]["flux"].update(flux=["1e20"], trials=2)
        study["studies"]["temperature"].update(
            temperature=[300], dynamics={"equilibrate": 200, "steps": 400, "every": 20}
        )
        study["studies"]["defects"]["samples"] = ["vacancy"]
        study["figures"]["temperatures"] = [300]
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        use = ["--profile", profile(folder), "--configfile", folder / "study.yaml"]
        run = snakemake(folder, *use, "--", "all", timeout=1800)  # beside other tests
        assert run.returncode == 0, run.stdout + run.stderr
        return folder, run

    def test_every_rule_is_a_job_of_slurm(self, finished):
        folder, run = finished
        ran = rules_of(run)
        declared = snakemake(folder, "--list-rules").stdout.split()
        everything = {r for r in declared if r.isidentifier()} - {"film", "fig4", "fig7", "defects"}
        assert everything - {"report", "batches", "batches_of_study", "batch"} <= ran.keys()
        assert f"{sum(ran.values())} of {sum(ran.values())} steps (100%) done" in run.stderr
        jobs = [r for r in records() if r["JobName"].startswith("prammol_")]
        assert len(jobs) == sum(ran.values()) - ran["all"]
        assert {r["JobState"] for r in jobs} == {"COMPLETED"}
        for n in range(2, 9):
            for suffix in ("png", "pdf", "csv"):
                assert (folder / f"results/figures/fig{n}.{suffix}").stat().st_size > 0

    def test_trials_and_trajectories_are_jobs_of_two_tasks(self, finished):
        folder, run = finished
        mpi = [r for r in records() if re.match("rule_(reconstruct|dynamics)_", r["Comment"])]
        assert len(mpi) == rules_of(run)["reconstruct"] + rules_of(run)["dynamics"]
        assert {(r["NumTasks"], r["NumNodes"]) for r in mpi} == {("2", "1")}
        assert metrics(folder, "results/flux/1e20/trial-02")["ranks"] == 2

    def test_one_rank_needs_no_mpi(self, finished):
        folder, _ = finished
        use = ["--profile", profile(folder, "slurm-one-rank")]
        use += ["--configfile", folder / "study.yaml", "--"]
        run = snakemake(folder, *use, "results/flux/1e20/trial-03/metrics.json")
        assert run.returncode == 0, run.stdout + run.stderr
        assert metrics(folder, "results/flux/1e20/trial-03")["ranks"] == 1
        (job,) = [
            r for r in records() if r["Comment"].endswith("reconstruct_wildcards_flux_1e20_03")
        ]
        assert job["NumTasks"] == "1"

    @pytest.mark.parametrize(
        ("launch", "nodes", "expected"),
        [
            ("srun --mpi=pmi2 --wait=30", 1, "ranks on n1 n1"),
            ("srun --mpi=pmi2 --wait=30", 2, "ranks on n1 n2"),
            ("mpiexec", 1, "ranks on n1 n1"),
            ("mpiexec", 2, "ranks on n1 n1"),  # it isn't told of the second node
            ("mpiexec -launcher fork -host localhost", 1, "ranks on n1 n1"),
            ("srun --mpi=none", 1, "PRAMMOL_RANKS expects 2 ranks, MPI has 1"),
        ],
    )
    def test_launchers(self, slurm, tmp_path, launch, nodes, expected):
        beside = Path(sys.executable).parent
        program = f'PATH={beside}:$PATH; {launch} -n 2 {sys.executable} -c "{WHERE}"'
        options = ["-p", "both", "-n", "2", f"-N{nodes}", f"--ntasks-per-node={2 // nodes}"]
        script = tmp_path / "job.sh"
        script.write_text(f"#!/bin/bash\n{AS_IN_A_JOB}{program}\n")
        subprocess.run(
            ["sbatch", "-W", *options, "-o", tmp_path / "out", script],
            check=False,
            timeout=120,
            cwd=ROOT,
            capture_output=True,
        )
        assert expected in (tmp_path / "out").read_text()


class TestFailures:
    """Five trials, four of which get into trouble; SLURM has accounting."""

    accounting = True
    trials = "results/flux/1e20/trial-{:02d}"

    def running(self, trial, after=0):
        """The job that reconstructs a trial, once its checkpoint has some iterations."""

        def job_with_a_checkpoint():
            for job in records():
                wanted = job["Comment"].endswith(f"reconstruct_wildcards_flux_1e20_{trial:02d}")
                if wanted and job["JobState"] == "RUNNING" and int(job["JobId"]) > after:
                    if self.iterations(trial) >= 3:
                        return int(job["JobId"])
            return None

        while self.sweep.poll() is None:
            if found := job_with_a_checkpoint():
                return found
            time.sleep(0.2)
        return pytest.fail(f"no trial {trial}: {(self.folder / 'snakemake.log').read_text()}")

    def iterations(self, trial):
        """The number of iterations that the running reconstruction has recorded."""
        progress = self.folder / self.trials.format(trial) / "reconstruction.progress.jsonl"
        try:
            return len(progress.read_text().splitlines()) - 1
        except OSError:
            return -1

    def ranks(self, trial):
        return ranks_of(self.folder, self.trials.format(trial))

    def cancel_twice(self):
        first = self.running(3)
        call("scancel", str(first))
        call("scancel", str(self.running(3, after=first)))

    def freeze_until_the_time_is_over(self):
        job = self.running(4)
        pids = self.ranks(4)
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        call("scontrol", "update", f"JobId={job}", "TimeLimit=1")

    def kill_a_rank(self):
        self.running(5)
        os.kill(self.ranks(5)[-1], signal.SIGKILL)

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, slurm, tmp_path_factory):
        """A sweep of five trials after the troubles, and how snakemake ended."""
        folder = cls.folder = tmp_path_factory.mktemp("failures").resolve()
        self = cls()
        study = {
            "name": "failures",
            "samples": {"vacancy": {"kind": "bulk", "atoms": 200, "seed": 5}},
            "measurement": {"points": 24},
            "studies": {
                "flux": {
                    "kind": "flux",
                    "sample": "vacancy",
                    "flux": ["1e20"],
                    "trials": 5,
                    "preset": "paper",
                    "settings": ["max_iterations=25", "patience=100"],
                }
            },
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        supports = [f"{self.trials.format(n)}/support.h5" for n in range(1, 6)]
        configuration = ["--configfile", folder / "study.yaml"]
        run = snakemake(folder, "--cores", "2", *configuration, "--", *supports)
        assert run.returncode == 0, run.stdout + run.stderr
        self.damage(folder / supports[1])
        use = ["--profile", profile(folder, slurm_partition="both"), *configuration, "--", "fig4"]
        with (folder / "snakemake.log").open("w") as log, ThreadPoolExecutor() as pool:
            sweep = subprocess.Popen(command(folder, *use), cwd=ROOT, stdout=log, stderr=log)
            cls.sweep = sweep
            try:
                troubles = [
                    pool.submit(t)
                    for t in (
                        self.cancel_twice,
                        self.freeze_until_the_time_is_over,
                        self.kill_a_rank,
                    )
                ]
                for trouble in troubles:
                    trouble.result()
                code = sweep.wait(timeout=600)
            finally:
                if sweep.poll() is None:
                    sweep.send_signal(signal.SIGINT)
                    sweep.wait(60)
        return folder, configuration, code

    def damage(self, path):
        """Cut a file, as a full disk does, without a newer time."""
        times = path.stat().st_atime, path.stat().st_mtime
        path.write_bytes(path.read_bytes()[:1000])
        os.utime(path, times)

    def test_the_sweep_goes_on_and_killed_trials_are_resumed(self, swept):
        folder, _, code = swept
        assert code != 0
        log = (folder / "snakemake.log").read_text()
        done = {n: (folder / self.trials.format(n) / "metrics.json").exists() for n in range(1, 6)}
        assert done == {1: True, 2: False, 3: False, 4: True, 5: True}, log
        for trial in (4, 5):
            path = folder / self.trials.format(trial)
            (after,) = read_reconstruction(path / "reconstruction.h5").provenance["resumed"]
            assert after >= 2
            lines = (path / "reconstruction.progress.jsonl").read_text().splitlines()
            assert [json.loads(line)["iteration"] for line in lines] == list(range(26))

    @pytest.mark.usefixtures("swept")
    def test_slurm_says_what_happened(self):
        def known():
            out = call("sacct", "-n", "-P", "--format=JobID,State,NTasks,Comment")
            return [line.split("|") for line in out.splitlines()]

        def states(trial):
            ending = f"reconstruct_wildcards_flux_1e20_{trial:02d}"
            return [s.split()[0] for _, s, _, c in known() if c.endswith(ending)]

        assert states(1) == ["COMPLETED"]
        assert states(2) == ["FAILED", "FAILED"]
        assert states(3) == ["CANCELLED", "CANCELLED"]
        assert states(4) == ["TIMEOUT", "COMPLETED"]
        assert states(5) == ["FAILED", "COMPLETED"]

    def test_the_page_lists_the_failed_ones(self, swept):
        folder, _, _ = swept
        page = (folder / "results/trials.html").read_text()
        assert page.startswith("<!DOCTYPE html>")
        listed = re.findall(r"<tr><td>(results/\S+)</td><td>(\w+)</td><td>(.*?)</td>", page)
        names = [(trial, step, bool(kept)) for trial, step, kept in listed]
        assert names == [
            (self.trials.format(2), "reconstruct", False),
            (self.trials.format(3), "reconstruct", True),
        ]
        assert "support.h5" in page
        assert "3 trials, 2 without a result" in page

    def test_figures_are_drawn_without_them_only_when_asked(self, swept):
        folder, configuration, _ = swept
        figure = folder / "results/figures/fig4.png"
        assert not figure.exists()
        asked = ["--config", "figures={missing_trials: skip}", "--cores", "2"]
        run = snakemake(folder, *configuration, *asked, "--", "fig4")
        assert run.returncode == 0, run.stdout + run.stderr
        assert figure.exists()
        with (folder / "results/flux/trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(r["trial"], r["trials_planned"]) for r in rows] == [(n, "5") for n in "145"]

    def test_one_command_does_them_and_what_hangs_on_them(self, swept):
        folder, configuration, _ = swept
        (folder / self.trials.format(2) / "support.h5").unlink()
        use = ["--profile", profile(folder, slurm_partition="both"), *configuration]
        one = f"{self.trials.format(2)}/metrics.json"
        only = snakemake(folder, *use, "--dry-run", "--", one)
        assert rules_of(only) == {"support": 1, "reconstruct": 1, "evaluate": 1}
        run = snakemake(folder, *use, "--", "fig4")
        assert run.returncode == 0, run.stdout + run.stderr
        expected = {"support": 1, "reconstruct": 2, "evaluate": 2, "resolution": 1, "table": 1}
        ran = rules_of(run)
        assert {r: ran.pop(r, 0) for r in expected} == expected
        assert ran == {"draw_fig4": 1, "fig4": 1}
        page = (folder / "results/trials.html").read_text()
        assert "5 trials" in page
        assert "Without a result" not in page
        again = f"{self.trials.format(1)}/reconstruction.h5"
        forced = snakemake(folder, *use, "--dry-run", "--forcerun", again, "--", "fig4")
        assert rules_of(forced)["reconstruct"] == rules_of(forced)["evaluate"] == 1
        assert "support" not in rules_of(forced)


@pytest.mark.slow
class TestStorm:
    """Sixty trials in twelve jobs; six are killed whenever they start, and one job is cancelled."""

    accounting = False
    trials = tuple(f"results/flux/{f}e19/trial-{n:02d}" for f in range(1, 5) for n in range(1, 16))
    doomed = trials[4::10]
    jobs = 4

    def kill(self, folder, sweep):
        """Kill until the sweep ends; return the most jobs that SLURM had at once, and the job."""
        most, cancelled = 0, None
        while sweep.poll() is None:
            for trial in self.doomed:
                for pid in ranks_of(folder, trial):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            listed = call("squeue", "-h", "-o", "%i %T %k").split("\n")
            most = max(most, len([job for job in listed if job]))
            for job in listed:
                if "0002" in job and "RUNNING" in job and not cancelled:
                    if (folder / self.trials[5] / "metrics.json").exists():
                        cancelled = job.split()[0]
                        call("scancel", cancelled)
            time.sleep(0.1)
        return most, cancelled

    @pytest.fixture(scope="class")
    @classmethod
    def stormed(cls, slurm, tmp_path_factory):
        """Return the folder, the command line, what became of the sweep, and when trials ended."""
        folder = tmp_path_factory.mktemp("storm").resolve()
        study = {
            "name": "storm",
            "batch": 5,
            "samples": {"small": {"kind": "bulk", "atoms": 60, "seed": 5}},
            "measurement": {"points": 10},
            "studies": {
                "flux": {
                    "kind": "flux",
                    "sample": "small",
                    "flux": [f"{f}e19" for f in range(1, 5)],
                    "trials": 15,
                    "preset": "paper",
                    "settings": ["max_iterations=10", "patience=100"],
                }
            },
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        path = profile(folder, "slurm-one-rank", slurm_partition="both")
        use = ["--profile", path, "--configfile", folder / "study.yaml", "--jobs", cls.jobs]
        use += ["--set-resources", "batch:mem_mb=500", "--", "results/batches/flux.done"]
        with (folder / "snakemake.log").open("w") as log:
            sweep = subprocess.Popen(command(folder, *use), cwd=ROOT, stdout=log, stderr=log)
            try:
                most, cancelled = cls().kill(folder, sweep)
            finally:
                if sweep.poll() is None:
                    sweep.send_signal(signal.SIGINT)
                    sweep.wait(60)
        return folder, use, sweep.returncode, most, cancelled, cls.ends(folder)

    @classmethod
    def ends(cls, folder):
        paths = {trial: folder / trial / "metrics.json" for trial in cls.trials}
        return {trial: path.stat().st_mtime for trial, path in paths.items() if path.exists()}

    def test_every_other_trial_is_done(self, stormed):
        folder, _, code, _, cancelled, ends = stormed
        assert code != 0
        assert cancelled is not None
        assert ends.keys() == set(self.trials) - set(self.doomed), (
            folder / "snakemake.log"
        ).read_text()

    def test_slurm_has_few_jobs(self, stormed):
        _, _, _, most, _, _ = stormed
        assert most <= self.jobs
        ran = [r for r in records() if r["Comment"].startswith("rule_batch_")]
        # Six have a killed trial, one is cancelled; each of these is tried once more.
        assert len(ran) == 12 + len(self.doomed) + 1

    def test_the_page_says_which_failed(self, stormed):
        folder, *_ = stormed
        page = (folder / "results/trials.html").read_text()
        assert re.findall(r"<tr><td>(results/\S+)</td><td>reconstruct</td>", page) == [*self.doomed]

    def test_the_same_command_does_only_those_and_one_table_has_all(self, stormed):
        folder, use, _, _, _, before = stormed
        run = snakemake(folder, *use)
        assert run.returncode == 0, run.stdout + run.stderr
        assert rules_of(run) == {"batch": len(self.doomed), "batches_of_study": 1}
        after = self.ends(folder)
        assert {t: after[t] for t in before} == before
        assert after.keys() == set(self.trials)
        run = snakemake(folder, *use[:-1], "results/flux/trials.csv")
        assert rules_of(run) == {"resolution": 4, "table": 1}
        with (folder / "results/flux/trials.csv").open() as file:
            assert len(list(csv.DictReader(file))) == len(self.trials)
