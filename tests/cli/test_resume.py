"""Killed and resumed: the result is that of the unbroken run, and no file is ever half written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from processes import mpiexec, run

from prammol.cli.commands.checkpointing import Checkpointing, fresh
from prammol.cli.sigterm import Termination
from prammol.core.errors import InputError, OutputExistsError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import support_from_truth
from prammol.io import read_reconstruction
from prammol.io.checkpoint import (
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal

ITERATIONS = 3

# A process that dies by SIGKILL at its n-th flush to disk. Each file takes two: before it is
# renamed, and after.
DIE_AT_FLUSH = """
    import os, signal, sys
    import prammol.io.atomic_write as files
    flush, left = files._flush, [int(sys.argv[1])]
    def mortal(path):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(path)
    files._flush = mortal
    from prammol.cli.main import run
    sys.exit(run(sys.argv[2:]))
"""

# One loaded interpreter whose forks run the command line and are killed after some time, so
# often. A run that lives to the end is put aside and another begun. MPI and LAMMPS are loaded
# by the forks.
DIE_ANYTIME = """
    import os, signal, sys, time
    import numpy as np, scipy.optimize, scipy.spatial, scipy.stats, ducc0, h5py, pydantic
    import prammol.cli.settings, prammol.cli.cost_estimate, prammol.io
    import prammol.reconstruction.presets
    from prammol.cli.main import run
    rng, kills, arguments = np.random.default_rng(int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:]
    killed = ended = 0
    while True:
        child = os.fork()
        if child == 0:
            os._exit(run(arguments))
        if killed < kills:
            time.sleep(rng.uniform(0.1, 1.2))
            # The first time when there is something to resume, however slow the machine.
            running = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while killed == 0 and os.waitid(os.P_PID, child, running) is None:
                if os.path.exists("r.checkpoint.h5"):
                    break
                time.sleep(0.01)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        assert os.WEXITSTATUS(status) == 3
        for kind in ("h5", "xyz", "lammps", "progress.jsonl"):
            os.rename(f"r.{kind}", f"ended{ended}.{kind}")
        ended += 1
        if killed == kills:
            print(killed)
            sys.exit()
"""

# The command line; every checkpoint is also kept as "<iteration>.<file name>".
KEEP_ALL = """
    import os, shutil, sys
    import prammol.cli.commands.checkpointing as checkpointing
    write = checkpointing.write_checkpoint
    def kept(path, saved, force=False):
        write(path, saved, force)
        shutil.copy(path, path.with_name(f"{saved.state.status.iteration}.{path.name}"))
    checkpointing.write_checkpoint = kept
    from prammol.cli.main import run
    sys.exit(run(sys.argv[1:]))
"""


def arguments(folder: Path, output: str = "r.h5", *more: str) -> list[str]:
    """A reconstruction of a few quick iterations, which doesn't converge: exit code 3."""
    return [
        "reconstruct", str(folder / "d.h5"), "--support", str(folder / "u.h5"), "--seed", "2",
        "--preset", "paper", "--set", f"max_iterations={ITERATIONS}", "-o", output, *more,
    ]  # fmt: skip


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return path


def require_same_result(found: Path, expected: Path) -> None:
    """The same bits in everything but times and memory."""
    a, b = read_reconstruction(found), read_reconstruction(expected)
    np.testing.assert_array_equal(a.atoms.positions, b.atoms.positions)
    np.testing.assert_array_equal(a.atoms.columns["energy"], b.atoms.columns["energy"])
    assert (a.scale, a.reason, a.converged) == (b.scale, b.reason, b.converged)
    times = ("seconds", "stages", "memory_mib", "memory_peak_mib")
    assert [{k: v for k, v in r.items() if k not in times} for r in a.history] == [
        {k: v for k, v in r.items() if k not in times} for r in b.history
    ]
    assert found.with_suffix(".xyz").read_text() == expected.with_suffix(".xyz").read_text()


def require_nothing_left(folder: Path) -> None:
    assert not list(folder.glob("*checkpoint*"))
    assert not list(folder.glob(".*.tmp"))


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The unbroken run, ``r.h5``, and the checkpoint of each of its iterations."""
    folder = tmp_path_factory.mktemp("whole")
    done = run([sys.executable, script(folder, KEEP_ALL), *arguments(small)], cwd=folder)
    assert done.returncode == 3, done.stderr
    assert not (folder / "r.checkpoint.h5").exists()
    return folder


def put_checkpoint(whole: Path, folder: Path, iteration: int = 2) -> Path:
    path = folder / "r.checkpoint.h5"
    shutil.copy(whole / f"{iteration}.r.checkpoint.h5", path)
    return path


@pytest.mark.parametrize(
    ("flush", "iteration"),
    [
        (5, 1),  # while the third one is written: the second is whole
        (2 * ITERATIONS + 7, ITERATIONS),  # between r.h5 and r.xyz
    ],
)
def test_a_run_killed_while_writing_can_be_resumed(small, whole, tmp_path, flush, iteration):
    done = run([sys.executable, script(tmp_path, DIE_AT_FLUSH), flush, *arguments(small)],
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = tmp_path / "r.checkpoint.h5"
    assert read_checkpoint(left).state.status.iteration == iteration
    command = [sys.executable, "-m", "prammol", *arguments(small, "r.h5", "--resume")]
    done = run(command, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert f"resuming after iteration {iteration} from" in done.stderr
    require_same_result(tmp_path / "r.h5", whole / "r.h5")
    require_nothing_left(tmp_path)
    lines = (tmp_path / "r.progress.jsonl").read_text().splitlines()
    assert len(lines) == ITERATIONS + 1
    assert read_reconstruction(tmp_path / "r.h5").provenance["resumed"] == [iteration]


@pytest.mark.parametrize("kills", [10, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_can_be_resumed(small, whole, tmp_path, kills):
    command = [sys.executable, script(tmp_path, DIE_ANYTIME), 7, kills]
    # --force: one may be killed when its result is there and its checkpoint removed.
    # The limit only ends what hangs: up to twenty starts, beside other tests.
    again = [*command, *arguments(small, "r.h5", "--resume", "--force")]
    done = run(again, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == f"{kills}"
    assert "resuming after iteration" in done.stderr
    for result in tmp_path.glob("ended*.h5"):
        require_same_result(result, whole / "r.h5")
    require_nothing_left(tmp_path)


def ended_by_sigterm(command: list[str | Path], folder: Path) -> subprocess.Popen[str]:
    """Start it, send it SIGTERM in its second iteration, and wait until it has ended."""
    process = subprocess.Popen(
        [str(c) for c in command], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.split()[:1] == ["1"]:
            process.send_signal(signal.SIGTERM)
            break
    process.said = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    return process


def test_sigterm_ends_after_the_iteration(small, whole, tmp_path):
    command = [sys.executable, "-m", "prammol"]
    process = ended_by_sigterm([*command, *arguments(small)], tmp_path)
    assert process.returncode == 143
    last = read_checkpoint(tmp_path / "r.checkpoint.h5").state.status.iteration
    assert last < ITERATIONS
    assert process.said.splitlines()[-1] == (
        f"prammol: ended by SIGTERM after iteration {last}, --resume continues from r.checkpoint.h5"
    )
    assert not (tmp_path / "r.h5").exists()
    done = run([*command, *arguments(small, "r.h5", "--resume")], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    require_same_result(tmp_path / "r.h5", whole / "r.h5")
    assert read_reconstruction(tmp_path / "r.h5").wall_s > 0
    require_nothing_left(tmp_path)


@pytest.mark.mpi
def test_two_ranks_one_killed_then_all_ended_by_sigterm(small, tmp_path):
    two = [mpiexec(), "-n", "2", sys.executable]
    done = run([*two, "-m", "prammol", *arguments(small, "whole.h5")], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    # Only rank 0 writes, so only rank 0 dies.
    done = run([*two, script(tmp_path, DIE_AT_FLUSH), 3, *arguments(small)], cwd=tmp_path)
    assert done.returncode not in (0, 3)
    assert read_checkpoint(tmp_path / "r.checkpoint.h5").state.status.iteration == 0
    again = [*two, "-m", "prammol", *arguments(small, "r.h5", "--resume")]
    assert ended_by_sigterm(again, tmp_path).returncode == 143
    assert read_checkpoint(tmp_path / "r.checkpoint.h5").ranks == 2
    done = run(again, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    require_same_result(tmp_path / "r.h5", tmp_path / "whole.h5")
    require_nothing_left(tmp_path)


def test_preset_default_resumed_is_the_unbroken_run(tmp_path):
    """Scales, offsets and rotations are part of the state."""
    truth = make_crystal("bulk", atoms=300, seed=6)
    nominal, counts = paper_patches(22), []
    for k, (patch, size) in enumerate(zip(nominal, (1.0, 0.7, 1.6), strict=True)):
        there = patch.moved(np.eye(3), 0.004 * np.roll([1.0, -1.0, 0.5], k))
        grids = [there, *nominal[:k]]
        one = simulate(truth, size * 2e18, k, grids, form_factor="constant")
        counts.append(one.counts[0])
    data = Diffraction(nominal, counts, meta={"element": "Al", "form_factor": "constant"})
    support = support_from_truth(truth)

    class Keeps(Observer):
        def iterated(self, state, history):
            path = tmp_path / f"{state.status.iteration}.h5"
            write_checkpoint(path, Checkpoint(state, history, {}))

    unbroken = reconstruct(data, support, seed=1, observer=Keeps())
    assert unbroken.iterations >= 1
    saved = read_checkpoint(tmp_path / "0.h5")
    assert saved.state.model.calibration is not None
    resumed = reconstruct(data, support, seed=1, resume=(saved.state, saved.history))
    np.testing.assert_array_equal(resumed.atoms.positions, unbroken.atoms.positions)
    np.testing.assert_array_equal(resumed.atoms.columns["energy"], unbroken.atoms.columns["energy"])
    for name in ("amplitude", "offset", "rotation"):
        found, expected = (getattr(r.calibration, name) for r in (resumed, unbroken))
        np.testing.assert_array_equal(found, expected)
    assert (resumed.scale, resumed.reason) == (unbroken.scale, unbroken.reason)
    np.testing.assert_allclose(unbroken.calibration.amplitude**2 / [1.0, 0.7, 1.6], 1.0, rtol=0.1)
    assert unbroken.converged


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seed", "9", "--resume"], "a run with another seed, it can't be continued"),
        (["--set", "patience=7", "--resume"], "a run with another settings, it can't"),
        ([], "an interrupted run left it, --resume continues from it and --force starts again"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(prammol, small, whole, tmp_path, more, message):
    path = put_checkpoint(whole, tmp_path)
    before = path.read_bytes()
    done = prammol(*arguments(small, "r.h5", *more))
    assert done.returncode == 2
    assert done.stderr.startswith("prammol: r.checkpoint.h5: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_checkpoint_is_refused_and_force_starts_again(prammol, small, whole, tmp_path):
    path = put_checkpoint(whole, tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    done = prammol(*arguments(small, "r.h5", "--resume"))
    assert done.returncode == 2
    assert done.stderr.startswith("prammol: r.checkpoint.h5: can't be read")
    assert done.stderr.endswith("; --force starts again\n")
    assert path.stat().st_size == 3000
    done = prammol(*arguments(small, "r.h5", "--resume", "--force"))
    assert done.returncode == 3, done.stderr
    assert "starting again because of --force" in done.stderr
    require_same_result(tmp_path / "r.h5", whole / "r.h5")


def test_a_result_without_checkpoint_is_not_replaced_by_resume(prammol, small, whole, tmp_path):
    shutil.copy(whole / "r.h5", tmp_path)
    before = (tmp_path / "r.h5").read_bytes()
    done = prammol(*arguments(small, "r.h5", "--resume"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("prammol: r.h5: exists already")
    # Nor one that appeared after the run was interrupted: its checkpoint gives no right to it.
    put_checkpoint(whole, tmp_path)
    assert prammol(*arguments(small, "r.h5", "--resume")).returncode == 2
    assert (tmp_path / "r.h5").read_bytes() == before


def test_a_run_whose_checkpoint_was_taken_over_ends(whole, tmp_path):
    path = put_checkpoint(whole, tmp_path)
    saved = read_checkpoint(path)
    comm = Communicator()
    old = Checkpointing(path, saved, comm, Termination(comm))
    old.begin()
    new = Checkpointing(path, read_checkpoint(path), comm, Termination(comm))
    new.begin()
    with pytest.raises(InputError, match="another run writes it now, this one ends"):
        old.iterated(saved.state, saved.history)
    new.iterated(saved.state, saved.history)
    # A run that starts afresh doesn't replace what has appeared since.
    third = Checkpointing(path, fresh(saved.identity, False), comm, Termination(comm))
    with pytest.raises(OutputExistsError):
        third.iterated(saved.state, saved.history)
