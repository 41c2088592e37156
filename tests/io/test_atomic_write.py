"""Writing: whole or not at all, and nothing is replaced unasked."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError, OutputExistsError
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

N = 37


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
    assert require_absent(tmp_path / "x.h5") == tmp_path / "x.h5"
    with pytest.raises(InputError, match="a doesn't exist, make it first"):
        require_absent(tmp_path / "a" / "x.h5")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="directory"):
        require_absent(tmp_path, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="doesn't exist"):
        require_absent(tmp_path / "file" / "x.h5")
