"""The trajectory of a reconstruction: what other programs read, killed runs, refusals."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import ase.io
import numpy as np
import pytest
from processes import run

from prammol.io import read_atoms
from prammol.io.trajectory import read_trajectory, whole_frames

# Killed in the middle of the frame whose number is the first argument.
DIE_IN_FRAME = """
    import os, signal, sys
    import prammol.cli.commands.trajectory_writer as trajectory
    append, left = trajectory.append_frame, [int(sys.argv[1])]
    def mortal(path, atoms):
        append(path, atoms)
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, os.path.getsize(path) - 100)
            os.kill(os.getpid(), signal.SIGKILL)
    trajectory.append_frame = mortal
    from prammol.cli.main import run
    sys.exit(run(sys.argv[2:]))
"""


def command(small: Path, *more: str) -> list[str | Path]:
    """A reconstruction of three iterations, which doesn't converge: exit code 3."""
    return [
        "reconstruct", small / "d.h5", "--support", small / "u.h5", "--preset", "paper",
        "--set", "max_iterations=3", "-o", "r.h5", "--trajectory", "t.xyz", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """An unbroken run and its trajectory."""
    folder = tmp_path_factory.mktemp("trajectory")
    done = run([sys.executable, "-m", "prammol", *command(small)], cwd=folder)
    assert done.returncode == 3, done.stderr
    return folder


def test_ase_reads_a_frame_for_the_start_and_each_iteration(folder):
    frames = ase.io.read(folder / "t.xyz", index=":")
    lines = (folder / "r.progress.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [f.info["iteration"] for f in frames] == [0, 1, 2, 3]
    assert [len(f) for f in frames] == [r["atoms"] for r in records]
    assert [f.info["log_likelihood"] for f in frames] == [r["log_likelihood"] for r in records]
    last = ase.io.read(folder / "r.xyz")
    np.testing.assert_allclose(frames[-1].positions, last.positions, atol=1e-9)
    assert set(frames[0].symbols) == {"Al"}


def test_our_own_reader_sees_what_ase_sees(folder):
    ours, theirs = read_trajectory(folder / "t.xyz"), ase.io.read(folder / "t.xyz", index=":")
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.columns["occupancy"], b.arrays["occupancy"])


@pytest.mark.parametrize("frame", [1, 3])
def test_a_killed_run_leaves_a_trajectory_that_resume_completes(small, folder, tmp_path, frame):
    """Frame 1 is written before there is a checkpoint, frame 3 before the third one."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DIE_IN_FRAME))
    died = run([sys.executable, script, str(frame), *command(small)], cwd=tmp_path)
    assert died.returncode == -9, died.stderr
    assert len(whole_frames(tmp_path / "t.xyz")) == frame - 1
    done = run([sys.executable, "-m", "prammol", *command(small, "--resume")], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "t.xyz").read_text() == (folder / "t.xyz").read_text()


def test_the_default_preset_shows_its_start(small, prammol, tmp_path):
    done = prammol(
        "reconstruct", small / "d.h5", "--support", small / "u.h5", "--set", "max_iterations=1",
        "--set", "starts=1", "-o", "r.h5", "--trajectory", "t.xyz",
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    frames = read_trajectory(tmp_path / "t.xyz")
    stages = [f.info["stage"] for f in frames]
    start = ["phase_patches", "choose_sites", "join_grains", "relax_and_align"]
    assert stages[:5] == [*start, "iteration"]
    sites = frames[0].columns["occupancy"]
    assert len(sites) >= len(frames[1])
    assert 0 <= sites.min() < 0.5 < sites.max() <= 1
    assert (frames[1].columns["occupancy"] == 1).all()


@pytest.mark.parametrize(
    ("name", "more", "text", "complaint"),
    [
        ("t.xyz", [], "a dear file\n", "exists already"),
        ("t.xyz", ["--resume"], "a dear file\n", "isn't a trajectory by prammol"),
        ("t.xyz", ["--resume"], "2\nAl\nAl 0 0 0\nAl 2 0 0\n", "isn't a trajectory by prammol"),
        ("r.xyz", [], None, "is another output of this run"),
    ],
)
def test_other_files_are_not_replaced(small, prammol, tmp_path, name, more, text, complaint):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    done = prammol(*command(small, "--trajectory", name, *more))
    assert done.returncode == 2
    assert complaint in done.stderr
    if text is not None:
        assert path.read_text() == text
    assert not (tmp_path / "r.h5").exists()


def test_a_trajectory_is_a_file_of_atoms(folder):
    """The first frame, for every program that takes one."""
    assert len(read_atoms(folder / "t.xyz")) == len(read_trajectory(folder / "t.xyz")[0])
