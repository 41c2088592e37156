"""Writing: whole or not at all, and nothing is replaced unasked."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError, OutputExistsError
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.io import (
    read_atoms,
    replacing,
    require_absent,
    write_atoms,
    write_diffraction,
    write_lammps_data,
    write_reconstruction,
    write_support,
)
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

RNG = np.random.default_rng(0)

N = 37


@pytest.fixture
def atoms() -> Atoms:
    return Atoms(
        RNG.normal(scale=20, size=(N, 3)),
        "Al",
        columns={
            "energy": RNG.normal(size=N),
            "truth_index": np.arange(N),
            "error": RNG.normal(size=(N, 3)),
            "surface": RNG.random(N) < 0.5,
            "how": np.array(["kept", "made"] * (N // 2) + ["kept"]),
        },
        info={
            "potential": "Al99.eam.alloy",
            "seed": 3,
            "energy": -12.5,
            "note": 'a "quoted" note, with = and \\',
            "shift": [1.0, 2.5, -3.0],
            "relaxed": True,
        },
    )


@pytest.fixture
def data() -> Diffraction:
    patches = paper_patches(points=6)
    skew = BraggPatch([1, 2, 3], [[0.1, 0.01, 0], [0, 0.1, 0.02], [0.03, 0, 0.1]], (4, 5, 6))
    patches = [*patches, skew]
    counts = [RNG.poisson(40, p.shape).astype(float) for p in patches]
    counts[3] += 0.25
    valid = [RNG.random(p.shape) < 0.9 for p in patches]
    meta = {
        "element": "Al",
        "flux": 1e20,
        "scale": 0.19,
        "seed": 5,
        "temperature": None,
        "thermal": True,
        "lattice": np.array([4.05, 4.05]),
        "nested": {"a": [1, "x"]},
    }
    return Diffraction(patches, counts, valid, meta)


@pytest.fixture
def result(atoms) -> Reconstruction:
    history = [
        {
            "iteration": i,
            "log_likelihood": -1e6 / (i + 1),
            "atoms": 30 + i,
            "selected": i == 1,
            "scale": 0.2,
            "stages": {"relax": 0.5 * i},
        }
        for i in range(4)
    ]
    return Reconstruction(
        Atoms(atoms.positions, "Al", {"energy": atoms.columns["energy"]}, {"a": 1}),
        scale=0.19,
        history=history,
        converged=True,
        reason="patience",
        wall_s=3.5,
        core_s=7.0,
        ranks=2,
        seed=9,
        preset="paper",
        settings={"fit_positions.fraction": np.float64(0.005), "stop": {"patience": 100}},
        provenance={"command": "prammol reconstruct"},
    )


def test_nothing_is_overwritten_without_force(tmp_path, atoms, data, result):
    support = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2)))
    path = tmp_path / "x"
    path.write_text("precious")
    for write, thing in (
        (write_atoms, atoms),
        (write_diffraction, data),
        (write_support, support),
        (write_reconstruction, result),
    ):
        with pytest.raises(OutputExistsError, match="--force"):
            write(path, thing)
    with pytest.raises(OutputExistsError):
        write_lammps_data(path, atoms, 27.0)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    write_atoms(path, atoms, force=True)
    assert len(read_atoms(path)) == N


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail():
        with replacing(path, force=True) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failure_inside_a_writer_leaves_nothing_behind(tmp_path, atoms):
    bad = Atoms(atoms.positions, "Al", columns={"bad name": np.zeros(N)})
    with pytest.raises(InputError, match="bad name"):
        write_atoms(tmp_path / "a.xyz", bad)
    cube = Atoms(atoms.positions, "Al", columns={"x": np.array([object()] * N)})
    with pytest.raises(TypeError):
        write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms=cube, scale=1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "x"

    def write():
        with replacing(path) as temporary:
            temporary.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError):
        write()
    assert path.read_text() == "theirs"


def test_outputs_are_looked_for_before_work_begins(tmp_path):
    assert require_absent(tmp_path / "a" / "b" / "x.h5").parent.is_dir()
    with pytest.raises(InputError, match="directory"):
        require_absent(tmp_path, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be made"):
        require_absent(tmp_path / "file" / "x.h5")
