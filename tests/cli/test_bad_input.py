"""Whatever is wrong with the input: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pytest
from small_crystal import Rank

from prammol.cli.commands.checkpointing import Checkpointing
from prammol.cli.commands.common import warn_of_tasks
from prammol.io import read_atoms, read_diffraction, write_atoms
from prammol.structure.atoms import Atoms

DATA = "entry_2/image_1/data"


@pytest.fixture
def refused(prammol_here, tmp_path):
    """``refused(arguments, *texts)``: the command fails with one sentence and writes nothing."""

    def contents():
        return {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    def check(arguments, *texts):
        before = contents()
        done = prammol_here(*arguments)
        assert done.returncode == 2, (done.returncode, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("prammol: ")
        assert len(done.stderr.splitlines()) == 1
        for text in texts:
            assert text in done.stderr
        assert contents() == before

    return check


@pytest.fixture
def reconstruct(refused, small):
    """``reconstruct(text, ..., d=, u=, options=)``: a reconstruction that is refused."""

    def check(*texts, d=small / "d.h5", u=small / "u.h5", options=()):
        arguments = ["reconstruct", d, "--support", u, "-o", "r.h5", "--preset", "paper", *options]
        refused(arguments, *texts)

    return check


@pytest.fixture
def damaged(small, tmp_path):
    """``damaged(name, change)``: a copy of one of the small crystal's files, changed."""

    def make(name, change):
        path = tmp_path / f"bad-{name}"
        shutil.copy(small / name, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def put(name, value):
    """A change that replaces a dataset."""

    def change(file):
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize("name", ["d.h5", "u.h5"])
def test_a_missing_file_is_named(reconstruct, name):
    reconstruct("nowhere.h5", "no such file", **{name[0]: "nowhere.h5"})


@pytest.mark.parametrize("name", ["d.h5", "u.h5"])
def test_a_truncated_file_is_named(reconstruct, small, tmp_path, name):
    path = tmp_path / f"half-{name}"
    whole = (small / name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    reconstruct(path.name, **{name[0]: path})


def test_a_file_that_is_no_hdf5_is_named(reconstruct, small):
    reconstruct("s.xyz", "HDF5", d=small / "s.xyz")


def test_data_and_support_exchanged_are_told(reconstruct, small):
    reconstruct("u.h5", d=small / "u.h5")
    reconstruct("d.h5", u=small / "d.h5")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put(DATA, np.ones((16, 16))), DATA),
        (put("entry_2/image_1/mask", np.zeros((16, 16, 15), np.uint32)), "mask"),
        (put("entry_2/image_1/reciprocal_grid/step", np.eye(2)), "step"),
        (put("entry_2/image_1/reciprocal_grid/step", np.zeros((3, 3))), "steps"),
        (put("entry_2/image_1/reciprocal_grid/origin", np.ones(2)), "origin"),
        (put(DATA, np.full((16, 16, 16), -1.0)), "negative"),
        (put(DATA, np.full((16, 16, 16), np.nan)), "NaN"),
        (put(DATA, np.full((16, 16, 16), b"many")), DATA),
    ],
    ids=["counts", "mask", "step", "flat", "origin", "negative", "nan", "text"],
)
def test_wrong_diffraction_is_one_sentence(reconstruct, damaged, change, text):
    reconstruct("bad-d.h5", text, d=damaged("d.h5", change))


def test_an_inverted_mask_is_a_warning(prammol_here, small, damaged):
    def invert(file):
        for k in (1, 2, 3):
            counts = file[f"entry_{k}/image_1/data"][...]
            file[f"entry_{k}/image_1/mask"][...] = counts > 0
            file[f"entry_{k}/image_1/mask"][0] = 0

    d = damaged("d.h5", invert)
    done = prammol_here("support", d, "--from-truth", small / "s.xyz", "-o", "u.h5")
    assert done.returncode == 0
    assert "prammol: warning:" in done.stderr
    assert "% of patch 1" in done.stderr
    assert "in CXI 0 is a good point, is it inverted?" in done.stderr


def test_data_without_photons_are_refused(reconstruct, damaged):
    def clear(file):
        for k in (1, 2, 3):
            file[f"entry_{k}/image_1/data"][...] = 0

    reconstruct("bad-d.h5", "not one photon", d=damaged("d.h5", clear))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put("entry_1/image_1/support", np.zeros((4, 4, 4), np.uint8)), "empty"),
        (put("entry_1/image_1/support", np.ones((4, 4), np.uint8)), "support"),
        (put("entry_1/image_1/real_grid/voxel", np.zeros((3, 3))), "voxel"),
    ],
    ids=["empty", "shape", "voxel"],
)
def test_a_wrong_support_is_one_sentence(reconstruct, damaged, change, text):
    reconstruct("bad-u.h5", text, u=damaged("u.h5", change))


def test_one_independent_peak_is_refused_where_no_other_is_known(reconstruct, prammol, small):
    for peaks in (["-1,1,1"], ["1,1,1", "-1,-1,-1"]):
        done = prammol(
            "simulate", small / "s.xyz", "--flux", "1e20", "--points", 8, "-o", "two.h5", "--force",
            *(f"--peak={p}" for p in peaks),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        reconstruct("two.h5: only 1 of its", "displacements along", "--known-peak", d="two.h5")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--potential", "Cu_mishin1.eam.alloy", "--element", "Al"], "has no Al"),
        (["--potential", "Cu_mishin1.eam.alloy"], "has no Al"),
        (["--element", "Cu"], "for Cu give --potential"),
        (["--element", "Cu", "--potential", "Cu_mishin1.eam.alloy"], "is about Al"),
        (["--potential", "nowhere.eam.alloy"], "no such potential file"),
        (["--potential", "Cu.meam", "--pair-style", "meam; shell rm"], "isn't allowed"),
        (["--preset", "papre"], "did you mean 'paper'"),
        (["--set", "fit_positions.iteration=5"], "did you mean 'fit_positions.iterations'"),
        (["--set", "fit_positions.iterations=many"], "should be a valid integer"),
        (["--set", "fit_positions.fraction=2"], "should be less than 1"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "1.5"], "--seed"),
        (["--threads", "0"], "--threads"),
        (["--thredas", "2"], "--thredas"),
    ],
)
def test_wrong_options_of_reconstruct_are_one_sentence(reconstruct, options, text):
    if "meam; shell rm" in options:
        options = [*options, "--mass", "1", "--structure", "fcc", "--lattice-constant", "4"]
        options += ["--element", "Al", "--potential", "library.meam"]
    reconstruct(text, options=options)


@pytest.mark.parametrize("name", ["r.h5", "r.xyz", "r.lammps"])
def test_reconstruct_replaces_no_output(reconstruct, tmp_path, name):
    (tmp_path / name).write_text("precious")
    reconstruct(f"{name}: exists already", "--force")


def test_other_verbs_replace_no_output(refused, small, tmp_path):
    for name in ("o.xyz", "o.h5", "o.json", "o.png"):
        (tmp_path / name).write_text("precious")
    s, d, r = small / "s.xyz", small / "d.h5", small / "r.h5"
    text = "exists already"
    refused(["crystal", "bulk", "-o", "o.xyz"], text)
    refused(["simulate", s, "--flux", "1e20", "-o", "o.h5"], text)
    refused(["support", d, "--from-truth", s, "-o", "o.h5"], text)
    refused(["evaluate", r, "--truth", s, "--json", "o.json"], text)
    refused(["evaluate", r, "--truth", s, "--atoms", "o.xyz", "--json", "new.json"], text)
    refused(["plot", r, "-o", "o.png"], text)


def test_a_missing_input_comes_before_an_output_that_exists(refused, small, tmp_path):
    for name in ("o.xyz", "o.h5", "o.json", "o.png", "o.npz", "o.html"):
        (tmp_path / name).write_text("precious")
    d, r, x = small / "d.h5", small / "r.h5", "nowhere"
    text = "nowhere: no such file"
    refused(["simulate", x, "--flux", "1e20", "-o", "o.h5"], text)
    refused(["simulate", small / "s.xyz", "--flux", "1", "--amplitude", x, "-o", "o.h5"], text)
    refused(["dynamics", x, "--temperature", "300", "-o", "o.npz"], text)
    refused(["support", x, "--from-truth", small / "s.xyz", "-o", "o.h5"], text)
    refused(["support", d, "--from-truth", x, "-o", "o.h5"], text)
    refused(["support", d, "--from-file", x, "-o", "o.h5"], text)
    refused(["reconstruct", x, "--support", small / "u.h5", "-o", "o.h5"], text)
    refused(["reconstruct", d, "--support", x, "-o", "o.h5"], text)
    refused(["evaluate", x, "--truth", small / "s.xyz", "--json", "o.json"], text)
    refused(["evaluate", r, "--truth", x, "--json", "o.json"], text)
    refused(["plot", x, "-o", "o.png"], text)
    refused(["plot", r, "--truth", x, "-o", "o.png"], text)
    refused(["compare", r, x, "--json", "o.json"], text)
    refused(["view", x, "-o", "o.html"], text)
    refused(["view", r, "--trajectory", x, "-o", "o.html"], text)
    crystal = ["crystal", "bulk", "--potential", "x.eam.alloy", "-o", "o.xyz"]
    refused(crystal, "x.eam.alloy: no such potential file")


def test_a_name_that_promises_another_kind_of_file_is_refused(refused, small):
    s, d, r = small / "s.xyz", small / "d.h5", small / "r.h5"
    start = ["reconstruct", d, "--support", small / "u.h5", "-o"]
    refused([*start, "r2.xyz"], "ends with .xyz, but HDF5 is written, such as x.h5")
    refused([*start, "r2.lammps"], "ends with .lammps")
    refused([*start, "r2.h5", "--trajectory", "t.h5"], "ends with .h5, but XYZ is written")
    refused(["crystal", "bulk", "-o", "s.h5"], "ends with .h5, but XYZ is written")
    refused(["simulate", s, "--flux", "1", "-o", "d.xyz"], "ends with .xyz, but HDF5")
    refused(["support", d, "--from-truth", s, "-o", "u.npz"], "ends with .npz, but HDF5")
    refused(["dynamics", s, "--temperature", "1", "-o", "a.h5"], "ends with .h5, but NPZ")
    refused(["evaluate", r, "--truth", s, "--json", "m.xyz"], "ends with .xyz, but JSON")
    refused(["evaluate", r, "--truth", s, "--atoms", "m.json"], "ends with .json, but XYZ")
    refused(["plot", r, "-o", "p.h5"], "ends with .h5, but a picture is written")
    refused(["compare", r, r, "--json", "c.h5"], "ends with .h5, but JSON")
    refused(["compare", r, r, "--atoms", "c.json"], "ends with .json, but XYZ")
    refused(["view", r, "-o", "v.png"], "ends with .png, but HTML")


def test_a_folder_that_is_not_there_is_not_made(refused, small, tmp_path):
    text = "its directory nowhere doesn't exist, make it first"
    s = small / "s.xyz"
    refused(["crystal", "bulk", "-o", "nowhere/s.xyz"], text)
    refused(["simulate", s, "--flux", "1e20", "-o", "nowhere/d.h5"], text)
    refused(["support", small / "d.h5", "--from-truth", s, "-o", "nowhere/u.h5"], text)
    start = ["reconstruct", small / "d.h5", "--support", small / "u.h5", "-o"]
    refused([*start, "nowhere/r.h5"], text)
    refused(["evaluate", small / "r.h5", "--truth", s, "--json", "nowhere/m.json"], text)
    refused(["view", small / "r.h5", "-o", "nowhere/v.html"], text)
    refused(["init", "nowhere/run.yaml"], text)
    assert not (tmp_path / "nowhere").exists()


def test_peaks_that_leave_a_direction_open_are_a_warning(prammol_here, small):
    start = ["simulate", small / "s.xyz", "--flux", "1e20", "--points", 8, "--force", "-o", "o.h5"]
    done = prammol_here(*start, "--peak=1,1,1")
    assert done.returncode == 0
    assert "prammol: warning: o.h5: only 1 of its 1 Bragg peaks" in done.stderr
    assert "displacements along" in done.stderr
    done = prammol_here(*start, "--peak=1,1,1", "--peak=1,-1,1", "--peak=-1,1,1")
    assert (done.returncode, done.stderr) == (0, "")
    done = prammol_here(*start, "--peak=1,1,1", "--known-peak=1,-1,1", "--known-peak=-1,1,1")
    assert (done.returncode, done.stderr) == (0, "")
    known = read_diffraction("o.h5").unmeasured * 4.05 / (2 * np.pi)
    assert known == pytest.approx(np.array([(1, -1, 1), (-1, 1, 1)]))


def test_one_process_of_several_tasks_is_a_warning(monkeypatch, capsys):
    for tasks, rank, size, warned in (
        ("4", None, 1, True), ("4", "0", 1, True), ("4", "1", 1, False), ("4", "0", 4, False),
        ("1", "0", 1, False), ("", None, 1, False),
    ):  # fmt: skip
        monkeypatch.setenv("SLURM_NTASKS", tasks)
        monkeypatch.delenv("SLURM_PROCID", raising=False)
        if rank is not None:
            monkeypatch.setenv("SLURM_PROCID", rank)
        warn_of_tasks(Rank(0, size))
        said = capsys.readouterr().err
        assert said.startswith("prammol: warning: SLURM gives 4 tasks") == warned
        assert bool(said) == warned


@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupt_says_how_to_go_on(prammol_here, small, monkeypatch, after):
    """Ctrl-C before the first iteration has ended, and after it."""
    keep = Checkpointing.iterated

    def interrupt(self, state, history):
        if after:
            keep(self, state, history)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpointing, "iterated", interrupt)
    done = prammol_here(
        "reconstruct", small / "d.h5", "--support", small / "u.h5", "--preset", "paper",
        "-o", "r.h5",
    )  # fmt: skip
    assert done.returncode == 130
    end = "no iteration was finished"
    if after:
        end = "the same command with --resume continues from r.checkpoint.h5"
    assert done.stderr.endswith(f"prammol: interrupted; {end}\n")


def test_force_replaces(prammol, tmp_path):
    (tmp_path / "o.xyz").write_text("old")
    done = prammol("crystal", "bulk", "--atoms", 50, "--no-relax", "-o", "o.xyz", "--force")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.xyz").read_text().startswith("50\n")


def test_a_truth_of_another_element_is_refused(refused, small, tmp_path):
    gold = tmp_path / "gold.xyz"
    gold.write_text((small / "s.xyz").read_text().replace("Al ", "Au "))
    texts = "gold.xyz", "Au", "Al"
    refused(["evaluate", small / "r.h5", "--truth", gold, "--json", "m.json"], *texts)
    refused(["plot", small / "r.h5", "--truth", gold, "-o", "p.png"], *texts)
    refused(["support", small / "d.h5", "--from-truth", gold, "-o", "u.h5"], *texts)


def test_wrong_xyz_is_one_sentence(refused, tmp_path):
    for name, text in (
        ("short.xyz", "3\n\nAl 0 0 0\nAl 0 0 2\n"),
        ("words.xyz", "1\n\nAl here or there\n"),
        ("odd.xyz", "2\n\nAl 0 0 0\nXq 0 0 2\n"),
        ("empty.xyz", ""),
    ):
        (tmp_path / name).write_text(text)
        refused(["simulate", name, "--flux", "1e20", "-o", "d.h5"], name)
    refused(
        ["simulate", "nowhere.xyz", "--flux", "1e20", "-o", "d.h5"], "nowhere.xyz: no such file"
    )


def test_positions_in_nanometres_are_refused(refused, small, tmp_path):
    nm = tmp_path / "nm.xyz"
    atoms = read_atoms(small / "s.xyz")
    write_atoms(nm, Atoms(atoms.positions / 10, "Al"))
    text = "nm.xyz: nearest neighbours are 0.29 Å apart, expected Å; are positions in nanometres?"
    r = small / "r.h5"
    refused(["simulate", nm, "--flux", "1e20", "-o", "d.h5"], text)
    refused(["dynamics", nm, "--temperature", "300", "-o", "a.npz"], text)
    refused(["support", small / "d.h5", "--from-truth", nm, "-o", "u.h5"], text)
    refused(["evaluate", r, "--truth", nm, "--json", "m.json"], text)
    refused(["plot", r, "--truth", nm, "-o", "p.png"], text)


def test_counts_in_the_place_of_atoms_are_called_hdf5(refused, small):
    text = "d.h5: this is HDF5, expected atoms as XYZ"
    refused(["simulate", small / "d.h5", "--flux", "1e20", "-o", "o.h5"], text)


def test_a_flux_that_leaves_no_photon_is_refused(refused, small):
    refused(["simulate", small / "s.xyz", "--flux", "1e3", "-o", "d.h5"], "not one photon", "1000")


@pytest.mark.parametrize("flux", ["0", "-1e20", "nan", "inf", "much"])
def test_a_flux_that_is_no_number_is_refused(refused, small, flux):
    refused(["simulate", small / "s.xyz", f"--flux={flux}", "-o", "d.h5"], "--flux", flux)


def test_peaks_of_an_unknown_lattice_are_refused(refused, small, tmp_path):
    copper = tmp_path / "copper.xyz"
    text = (small / "s.xyz").read_text().replace("Al ", "Cu ")
    copper.write_text(re.sub(r"(structure|lattice_constant)=\S+ ?", "", text))
    refused(["simulate", copper, "--flux", "1e20", "-o", "d.h5"], "--lattice-constant")
    refused(
        ["simulate", copper, "--flux", "1e20", "-o", "d.h5", "--temperature", "300"], "--potential"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["reconstrct"], "did you mean 'reconstruct'"),
        (["xyzzy"], "the verbs are init, run, plan, crystal"),
        (["crystal", "vacncy", "-o", "s.xyz"], "did you mean 'vacancy'"),
        (["crystal", "vacancy", "--atoms", "5", "-o", "s.xyz"], "atoms"),
        (["crystal", "bulk"], "-o"),
        (["presets", "papre"], "did you mean 'paper'"),
        (["simulate", "s.xyz", "--flux", "1e20", "--peak=1,1", "-o", "d.h5"], "three numbers"),
        (
            ["reconstruct", "d.h5", "--support", "u.h5", "--known-peak=1,nan,1", "-o", "r.h5"],
            "three numbers",
        ),
    ],
)
def test_wrong_commands_are_one_sentence(refused, arguments, text):
    refused(arguments, text)
