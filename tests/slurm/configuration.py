"""The configuration files of the private SLURM; what each line is for, where it isn't plain."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

_SLURM = """\
ClusterName=prammol
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
# listen on the loopback address only
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
# processes are followed through /proc: no cgroups, no systemd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
# a node may claim more cores and memory than there are
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
# never the same numbers again: MPICH names its shared memory after the job, and what a
# killed one has left of that ends the next of this name when it starts
FirstJobId={first}
# few jobs: each is scheduled when it arrives
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
# how long a finished job is remembered without accounting [s]
MinJobAge=7200
# between SIGTERM and SIGKILL [s]
KillWait=10
CompleteWait=0
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
"""
# AccountingStorageEnforce stays unset: jobs are recorded and need no account.
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
# slurmdbd is talked to through this socket, AuthInfo isn't asked
AccountingStoragePass={folder}/run/munge.socket
# the comment of a job says which rule and trial it is
AccountingStoreFlags=job_comment
"""
_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"
    " RealMemory={memory} State=UNKNOWN\n"
)
# The default is one node: MPI ranks wait for each other at full speed, and more of them than
# there are cores take minutes for seconds.
_PARTITIONS = """\
PartitionName=one Nodes=n1 Default=YES MaxTime=1-00:00:00 DefaultTime=00:30:00 State=UP
PartitionName=both Nodes=ALL MaxTime=1-00:00:00 DefaultTime=00:30:00 State=UP
"""
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
CommunicationParameters=NoInAddrAny
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""


def slurm_conf(folder: Path, nodes: int, cpus: int, ports: Sequence[int], accounting: bool) -> str:
    """Return slurm.conf.

    Parameters
    ----------
    folder : Path
        Folder of the cluster.
    nodes, cpus : int
        Number of nodes, and how many cores each claims.
    ports : sequence of int
        Of slurmctld, of the database, of slurmdbd, then one for each node.
    accounting : bool
        With slurmdbd or without.
    """
    host = socket.gethostname().split(".")[0]
    first = 1 + secrets.randbelow(60_000_000)
    text = _SLURM.format(host=host, port=ports[0], folder=folder, first=first)
    text += _ACCOUNTING.format(port=ports[2], folder=folder) if accounting else _NO_ACCOUNTING
    # Memory is counted but not enforced; enough for two trials on each node of a small machine.
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    memory = max(there // nodes, 8000)
    for number, port in enumerate(ports[3 : 3 + nodes], start=1):
        text += _NODE.format(name=f"n{number}", host=host, port=port, cpus=cpus, memory=memory)
    return text + _PARTITIONS


def slurmdbd_conf(folder: Path, port: int, database_port: int, password: str) -> str:
    """Return slurmdbd.conf."""
    host = socket.gethostname().split(".")[0]
    return _SLURMDBD.format(
        folder=folder, host=host, port=port, database_port=database_port, password=password
    )


def mariadb_options(folder: Path, port: int) -> list[str]:
    """Return the options of mariadbd: small, and on the loopback address only."""
    return [
        "--no-defaults",
        "--user=root",
        f"--datadir={folder}/database",
        f"--socket={folder}/run/mysql.socket",
        f"--pid-file={folder}/run/mariadbd.pid",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",  # slurmdbd complains about less
        "--skip-log-bin",
    ]
