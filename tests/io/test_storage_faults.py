"""Disks that are full, folders that move, runs that meet: one sentence, earlier files intact."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from states import altered, state_of

from prammol.cli.commands.checkpointing import Checkpointing, fresh
from prammol.cli.progress import HEADER, Progress
from prammol.cli.sigterm import Termination
from prammol.core.errors import InputError, OutputExistsError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.io import (
    read_support,
    replacing,
    require_absent,
    write_atoms,
    write_diffraction,
    write_lammps_data,
    write_reconstruction,
    write_support,
)
from prammol.io.checkpoint import read_checkpoint
from prammol.io.trajectory import append_frame
from prammol.plotting.reconstruction import plot_reconstruction
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

RECORD = {
    "iteration": 1, "log_likelihood": 1.0, "atoms": 1, "added": 0, "removed": 0,
    "scale": 1.0, "energy_per_atom": -3.0, "seconds": 1.0, "stages": {},
}  # fmt: skip

X = np.random.default_rng(1).random((4000, 3))

ATOMS = Atoms(X, "Al")

PATCHES = paper_patches(20)

COUNTS = [np.random.default_rng(2).poisson(1e9, p.shape).astype(float) for p in PATCHES]

INSIDE = np.random.default_rng(3).random((64, 64, 64)) > 0.5

RESULT = Reconstruction(ATOMS, 1.0, [RECORD], False, "patience", 1.0, 1.0, 1, 0, "default")

WRITERS = {
    "atoms.xyz": lambda path: write_atoms(path, ATOMS, force=True),
    "atoms.lammps": lambda path: write_lammps_data(path, ATOMS, 27.0, force=True),
    "d.h5": lambda path: write_diffraction(path, Diffraction(PATCHES, COUNTS), force=True),
    "u.h5": lambda path: write_support(path, Support(np.zeros(3), np.eye(3), INSIDE), force=True),
    "r.h5": lambda path: write_reconstruction(path, RESULT, force=True),
    "p.png": lambda path: plot_reconstruction(RESULT, path, force=True),
}


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 kB, for root; mounted read-only by ``disk.read_only()``."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; LEFT OUT")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount; LEFT OUT")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk):
    """Leave no more than a few bytes free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def checkpointing(path, saved=None):
    comm = Communicator()
    state = state_of(X, 1.0, iteration=1)
    return Checkpointing(path, saved or fresh({"seed": "1"}, False), comm, Termination(comm)), state


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_full_disk_leaves_the_old_file_and_no_other(disk, name):
    (disk / name).write_text("precious")
    fill(disk)
    with pytest.raises(InputError) as error:
        WRITERS[name](disk / name)
    assert str(error.value).startswith(f"{disk / name}: can't be written (No space left on device)")
    assert "\n" not in str(error.value)
    assert (disk / name).read_text() == "precious"
    assert sorted(p.name for p in disk.iterdir()) == sorted([name, "filler"])
    (disk / "filler").unlink()
    if name in ("atoms.lammps", "p.png"):
        WRITERS[name](disk / name)
        assert (disk / name).stat().st_size > 1000


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(disk):
    keep, state = checkpointing(disk / "r.checkpoint.h5")
    small = state.moved(X[:10])
    keep.iterated(small, [RECORD])
    before = (disk / "r.checkpoint.h5").read_bytes()
    fill(disk)
    with pytest.raises(InputError, match=r"r\.checkpoint\.h5: can't be written \(No space"):
        keep.iterated(altered(state, iteration=2), [RECORD, RECORD | {"iteration": 2}])
    assert (disk / "r.checkpoint.h5").read_bytes() == before
    assert read_checkpoint(disk / "r.checkpoint.h5").state.status.iteration == 1


def test_progress_and_trajectory_on_a_full_disk(disk, capsys):
    fill(disk)
    with (
        Progress(disk / "p.jsonl") as progress,
        pytest.raises(InputError, match=r"p\.jsonl: can't be written \(No space"),
    ):
        progress.show(RECORD)
    assert HEADER in capsys.readouterr().err
    with pytest.raises(InputError, match=r"t\.xyz: can't be written \(No space"):
        append_frame(disk / "t.xyz", ATOMS)


def test_a_read_only_disk_is_noticed_before_anything_is_computed(disk):
    (disk / "s.xyz").write_text("precious")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(InputError, match=r"s\.xyz: its directory can't be"):
        require_absent(disk / "s.xyz", force=True)
    with (
        pytest.raises(InputError, match=r"p\.jsonl: can't be written \(Read-only"),
        Progress(disk / "p.jsonl"),
    ):
        pass
    assert (disk / "s.xyz").read_text() == "precious"


def test_a_folder_without_permission_to_write(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "s.xyz").write_text("precious")
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:  # whom permissions don't stop
        for parent in [tmp_path, *list(tmp_path.parents)[:-2]]:
            parent.chmod(parent.stat().st_mode | 0o055)
        os.setresuid(65534, 65534, 0)
    try:
        with pytest.raises(InputError, match=r"s\.xyz: its directory can't be written to"):
            require_absent(folder / "s.xyz", force=True)
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o755)
    assert (folder / "s.xyz").read_text() == "precious"


def test_a_limit_on_the_size_of_files_through_the_command_line(tmp_path):
    """As a quota; needs no root. HDF5 itself would bring the process down."""
    write_atoms(tmp_path / "s.xyz", Atoms(100 * ATOMS.positions, "Al"))
    write_diffraction(tmp_path / "d.h5", Diffraction(PATCHES, COUNTS))
    (tmp_path / "u.h5").write_text("precious")
    done = subprocess.run(
        [sys.executable, "-m", "prammol", "support", "d.h5", "--from-truth", "s.xyz",
         "-o", "u.h5", "--force"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("prammol: u.h5: can't be written (File too large)")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "u.h5").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.h5", "s.xyz", "u.h5"]


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_another_program_has_open(tmp_path, version):
    """Locks don't keep us from reading; a file that says it is half-written does."""
    path = tmp_path / "u.h5"
    code = (
        "import h5py, sys, time\n"
        f"with h5py.File({str(path)!r}, 'r+', libver={version!r}) as file:\n"
        "    print('open', flush=True); time.sleep(100)\n"
    )
    write_support(path, Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2))))
    if version == "latest":
        with h5py.File(path, "w", libver="latest") as file:
            file["entry_1/image_1/support"] = np.ones((2, 2, 2))
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "open\n"
        if version == "earliest":
            assert read_support(path).inside.all()
        else:
            with pytest.raises(InputError, match="another program has it open for writing"):
                read_support(path)
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("what", ["moved", "replaced"])
def test_a_results_folder_that_moves_during_a_run(tmp_path, what):
    folder = tmp_path / "results"
    folder.mkdir()
    keep, state = checkpointing(folder / "r.checkpoint.h5")
    keep.iterated(state, [RECORD])
    folder.rename(tmp_path / "elsewhere")
    if what == "replaced":
        folder.mkdir()
    for write in (lambda: keep.iterated(state, [RECORD]), keep.writing):
        with pytest.raises(InputError, match=r"moved or replaced .* continue with --resume"):
            write()
    assert read_checkpoint(tmp_path / "elsewhere/r.checkpoint.h5").state.status.iteration == 1
    assert not folder.exists() or not list(folder.iterdir())


def test_of_many_writers_of_one_file_one_wins(tmp_path):
    """Also when all of them have seen that there is no such file."""
    path = tmp_path / "x"
    together = threading.Barrier(8)
    outcome = []

    def write(number):
        try:
            with replacing(path) as temporary:
                temporary.write_text(f"{number}")
                together.wait()
            outcome.append(number)
        except OutputExistsError:
            pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcome) == 1
    assert path.read_text() == f"{outcome[0]}"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_progress_belongs_to_one_run(tmp_path, capsys):
    path = tmp_path / "p.jsonl"
    with Progress(path) as first:
        first.show(RECORD)
        before = path.read_text()
        with pytest.raises(InputError, match="another run writes it now"), Progress(path):
            pass
        assert path.read_text() == before != ""
        with Progress(path, take_over=True):  # the one that was resumed last goes on
            assert path.read_text() == ""
    with Progress(path):
        pass


def test_a_second_run_with_the_same_output_does_no_harm(small, tmp_path):
    command = [
        sys.executable, "-m", "prammol", "reconstruct", small / "d.h5", "--support", small / "u.h5",
        "-o", "r.h5", "--preset", "paper", "--set", "max_iterations=2",
    ]  # fmt: skip
    first = subprocess.Popen(
        [str(c) for c in command], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "r.progress.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = subprocess.run(
        [str(c) for c in command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    _, errors = first.communicate(timeout=200)
    assert second.returncode == 2, second.stderr
    assert "r." in second.stderr.splitlines()[-1]
    assert first.returncode == 3, errors
    assert len((tmp_path / "r.progress.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "r.h5").read_bytes()[1:4] == b"HDF"
