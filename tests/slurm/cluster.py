"""A private SLURM on this machine, for the tests and for trying the workflow.

    python tests/slurm/cluster.py up [--accounting] [--install]
    . $(python tests/slurm/cluster.py env)
    sinfo; snakemake --profile profiles/slurm ...
    python tests/slurm/cluster.py down

Several slurmd on one host, all listening on 127.0.0.1 only, without systemd and with
their own munge; with --accounting also slurmdbd and a MariaDB of their own. Everything lies
in one directory, except the link /etc/slurm/slurm.conf: job steps lose SLURM_CONF.
`up` starts what isn't running; `down` ends what `up` started and removes all of it. Needs root.
A machine that has a SLURM of its own is not touched.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from configuration import mariadb_options, slurm_conf, slurmdbd_conf

DEFAULT = Path(tempfile.gettempdir()) / "prammol-slurm"
OF_TESTS = DEFAULT.with_name("prammol-slurm-test")
LINK = Path("/etc/slurm/slurm.conf")
POLICY = Path("/usr/sbin/policy-rc.d")
PROGRAMS = ("munged", "slurmctld", "slurmd")
ACCOUNTING_PROGRAMS = ("mariadbd", "slurmdbd")
DAEMONS = PROGRAMS + ACCOUNTING_PROGRAMS
PACKAGES = ("slurm-wlm", "munge")
ACCOUNTING_PACKAGES = ("slurmdbd", "mariadb-server")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


class ClusterError(Exception):
    """The cluster can't be started or stopped; the text says why."""


class UnsuitableError(ClusterError):
    """This machine isn't one to start a cluster on."""


def up(folder: Path, nodes: int, cpus: int, accounting: bool, install: bool) -> None:
    """Start what isn't running; return when every node takes jobs.

    The first call decides the shape; to change it, take the cluster down first.
    """
    refuse(folder)
    require_programs(accounting, install)
    for name in ("etc", "log", "run", "state", "spool", "munge"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged and slurmd refuse folders that others can write to
    (folder / "munge").chmod(0o700)
    conf = folder / "etc" / "slurm.conf"
    os.environ["SLURM_CONF"] = str(conf)
    start_munge(folder)
    if not conf.exists():
        ports = free_ports(3 + nodes)
        conf.write_text(slurm_conf(folder, nodes, cpus, ports, accounting))
        (folder / "etc" / "ports").write_text(" ".join(map(str, ports)))
    LINK.parent.mkdir(exist_ok=True)
    if not LINK.is_symlink():
        LINK.symlink_to(conf)
    if "slurmdbd" in conf.read_text():
        start_accounting(folder)
    start_slurm(folder)
    (folder / "env.sh").write_text(f"export SLURM_CONF={conf}\n")


def down(folder: Path, keep: bool = False) -> None:
    """End what :func:`up` started, the jobs first; remove its files unless told to keep them."""
    conf = folder / "etc" / "slurm.conf"
    os.environ["SLURM_CONF"] = str(conf)
    if LINK.is_symlink() and LINK.readlink() == conf:
        if quiet("scontrol", "ping"):
            end_jobs()
        LINK.unlink()
    for name in ("slurmd*", "slurmctld", "slurmdbd", "mariadbd", "munged"):
        for path in sorted((folder / "run").glob(f"{name}.pid")):
            stop(path)
    for pid in processes_of(conf):
        os.kill(pid, signal.SIGKILL)
    if conf.exists() and not keep:
        shutil.rmtree(folder)
    del os.environ["SLURM_CONF"]


def refuse(folder: Path) -> None:
    """Raise if this isn't root or if the machine has a SLURM that isn't ours."""
    if os.getuid() != 0:
        msg = "starting slurmd needs root"
        raise UnsuitableError(msg)
    conf = folder / "etc" / "slurm.conf"
    if (LINK.exists() or LINK.is_symlink()) and LINK.resolve() != conf.resolve():
        msg = f"{LINK} is not ours: this machine has a SLURM, which is left alone"
        raise UnsuitableError(msg)
    if "SLURM_JOB_ID" in os.environ:
        msg = "this is a job of a SLURM, which is left alone"
        raise UnsuitableError(msg)
    ours = {read_pid(p) for p in (folder / "run").glob("*.pid")} | {*processes_of(conf)}
    for pid, command in running_commands():
        if Path(command[0]).name in ("slurmctld", "slurmd", "slurmdbd") and pid not in ours:
            msg = f"{command[0]} (process {pid}) is not ours: this machine's SLURM is left alone"
            raise UnsuitableError(msg)


def require_programs(accounting: bool, install: bool) -> None:
    """Raise if programs are missing and can't or shan't be installed."""
    os.environ["PATH"] += os.pathsep + SYSTEM_PATH
    programs, packages = PROGRAMS, PACKAGES
    if accounting:
        programs, packages = programs + ACCOUNTING_PROGRAMS, packages + ACCOUNTING_PACKAGES
    missing = [p for p in programs if shutil.which(p) is None]
    if not missing:
        return
    if not install or shutil.which("apt-get") is None:
        msg = f"{', '.join(missing)} missing; on Debian: apt-get install {' '.join(packages)}"
        raise UnsuitableError(msg)
    print(f"installing {' '.join(packages)}", flush=True)
    # The packages must not start daemons of their own.
    guarded = POLICY.exists()
    if not guarded:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
        quiet("apt-get", "update", timeout=300)
        call(*command, timeout=900, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    except ClusterError as error:
        msg = f"{' '.join(packages)} can't be installed: {error}"
        raise UnsuitableError(msg) from error
    finally:
        if not guarded:
            POLICY.unlink()


def start_munge(folder: Path) -> None:
    """Start munged with a key and a socket of its own."""
    key, pid = folder / "munge" / "key", folder / "run" / "munged.pid"
    if alive(pid):
        return
    if not key.exists():
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
    call(
        "munged",
        f"--key-file={key}",
        f"--socket={folder}/run/munge.socket",
        f"--pid-file={pid}",
        f"--log-file={folder}/log/munged.log",
        f"--seed-file={folder}/munge/seed",
        "--num-threads=2",
    )


def start_accounting(folder: Path) -> None:
    """Start MariaDB and slurmdbd."""
    _, database_port, accounting_port, *_ = map(int, (folder / "etc/ports").read_text().split())
    data, run = folder / "database", folder / "run"
    if not (data / "mysql").exists():
        method = "--auth-root-authentication-method=socket"
        call(
            "mariadb-install-db",
            *("--no-defaults", "--user=root", "--skip-test-db", method, f"--datadir={data}"),
            timeout=120,
        )
    if not alive(run / "mariadbd.pid"):
        with (folder / "log" / "mariadbd.log").open("a") as log:
            subprocess.run(
                ["setsid", "--fork", "mariadbd", *mariadb_options(folder, database_port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )
    sql = ["mariadb", "--no-defaults", "-uroot", f"--socket={run}/mysql.socket", "-e"]
    wait("mariadbd", folder, lambda: quiet(*sql, "select 1"))
    if not alive(run / "slurmdbd.pid"):
        password = secrets.token_hex(16)
        for host in ("127.0.0.1", "localhost"):
            call(*sql, f"create or replace user slurm@'{host}' identified by '{password}'")
            call(*sql, f"grant all on slurm.* to slurm@'{host}'")
        call(*sql, "create database if not exists slurm")
        conf = folder / "etc" / "slurmdbd.conf"  # slurmdbd looks for it beside SLURM_CONF
        conf.touch(0o600)
        conf.write_text(slurmdbd_conf(folder, accounting_port, database_port, password))
        call("slurmdbd")
    wait("slurmdbd", folder, lambda: quiet("sacctmgr", "-n", "list", "cluster"))


def start_slurm(folder: Path) -> None:
    """Start slurmctld and a slurmd for each node."""
    if not alive(folder / "run" / "slurmctld.pid"):
        call("slurmctld")
    wait("slurmctld", folder, lambda: quiet("scontrol", "ping"))
    text = (folder / "etc" / "slurm.conf").read_text()
    names = [t.split()[0].split("=")[1] for t in text.splitlines() if t.startswith("NodeName=")]
    for name in names:
        if not alive(folder / "run" / f"slurmd-{name}.pid"):
            call("slurmd", "-N", name)

    def ready() -> bool:
        states = call("sinfo", "-h", "-N", "-p", "both", "-o", "%t").split()
        return len(states) == len(names) and {*states} <= {"idle", "mix", "alloc", "comp"}

    wait("slurmd", folder, ready)


def crash(folder: Path, name: str) -> None:
    """End a node as a power cut does: slurmd, and all of its jobs, by SIGKILL."""
    jobs = set(call("squeue", "-h", "-t", "RUNNING", "-w", name, "-o", "%A").split())
    doomed = [read_pid(folder / "run" / f"slurmd-{name}.pid")]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            title = (path / "cmdline").read_bytes()
        except OSError:
            continue
        step = title.startswith(b"slurmstepd: [") and title[13:].split(b".")[0].decode() in jobs
        if step or any(f"SLURM_JOB_ID={job}".encode() in environment for job in jobs):
            doomed.append(int(path.name))
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # slurmctld would notice after SlurmdTimeout, 300 s.
    call("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=crash")


def revive(folder: Path, name: str) -> None:
    """Start a crashed node again."""
    if not alive(folder / "run" / f"slurmd-{name}.pid"):
        call("slurmd", "-N", name)
    # It has come back by itself if it has registered already; then this is refused.
    quiet("scontrol", "update", f"NodeName={name}", "State=RESUME")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other test on this machine has a SLURM: there can be one at a time."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_jobs() -> None:
    """Cancel all jobs and wait until they are gone."""
    jobs = call("squeue", "-h", "-o", "%A").split()
    if jobs:
        quiet("scancel", *jobs)
    end = time.monotonic() + 30
    while time.monotonic() < end and call("squeue", "-h", "-o", "%A").split():
        time.sleep(0.2)


def stop(path: Path) -> None:
    """End the daemon of a pid file: politely, after 20 s by force."""
    if not alive(path):
        path.unlink(missing_ok=True)
        return
    pid = read_pid(path)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    while running(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    path.unlink(missing_ok=True)


def processes_of(conf: Path) -> list[int]:
    """Return the daemons of the cluster and what its jobs left behind."""
    found = []
    daemons = {p for p, c in running_commands() if Path(c[0]).name in DAEMONS}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        job = any(v.startswith(b"SLURM_JOB_ID=") for v in environment)
        ours = f"SLURM_CONF={conf}".encode() in environment
        if ours and (job or int(folder.name) in daemons):
            found.append(int(folder.name))
    return found


def alive(path: Path) -> bool:
    """Tell whether the process of a pid file runs, and is the program the file is named after."""
    pid = read_pid(path)
    program = path.stem.split("-")[0]
    return any(p == pid and Path(c[0]).name == program for p, c in running_commands())


def running(pid: int) -> bool:
    """Tell whether a process exists and isn't a zombie."""
    return any(p == pid for p, _ in running_commands())


def read_pid(path: Path) -> int:
    """Return the number in a pid file, 0 if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def running_commands() -> Iterable[tuple[int, list[str]]]:
    """Yield the number and the command line of all processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue
        if command[0]:
            yield int(folder.name), command


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on, below those the system gives to clients."""
    ports: list[int] = []
    for port in range(26817, 32000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
        if len(ports) == count:
            return ports
    msg = "no free ports on 127.0.0.1"
    raise ClusterError(msg)


def call(*command: str, timeout: float = 60, env: dict[str, str] | None = None) -> str:
    """Run a program, return what it printed; raise if it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=env,
    )
    if done.returncode:
        msg = f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise ClusterError(msg)
    return done.stdout


def quiet(*command: str, timeout: float = 20) -> bool:
    """Tell whether a program succeeds."""
    try:
        call(*command, timeout=timeout)
    except (ClusterError, subprocess.TimeoutExpired):
        return False
    return True


def wait(name: str, folder: Path, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is ready; if it never is, show its log."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            logs = [p.read_text()[-1500:] for p in sorted((folder / "log").glob(f"{name}*"))]
            msg = "\n".join([f"{name} isn't ready after {seconds:g} s", *logs])
            raise ClusterError(msg)
        time.sleep(0.2)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("up", "down", "env"))
    parser.add_argument("--dir", type=Path, default=DEFAULT, help=f"its files [{DEFAULT}]")
    parser.add_argument("--nodes", type=int, default=2, help="number of slurmd [2]")
    parser.add_argument("--cpus", type=int, default=2, help="cores each claims to have [2]")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd, for sacct")
    parser.add_argument("--install", action="store_true", help="missing packages, with apt-get")
    parser.add_argument("--keep", action="store_true", help="down: keep the files")
    options = parser.parse_args()
    folder = options.dir.resolve()
    try:
        if options.action == "up":
            up(folder, options.nodes, options.cpus, options.accounting, options.install)
        elif options.action == "down":
            down(folder, options.keep)
        else:
            print(folder / "env.sh")
    except ClusterError as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
