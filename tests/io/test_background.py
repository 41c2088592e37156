"""Backgrounds in files and on the command line."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from on_background import few_atoms
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.diffraction.background import background_arrays
from prammol.diffraction.dataset import Diffraction
from prammol.io import read_diffraction, write_atoms, write_diffraction
from prammol.structure.atoms import Atoms


@pytest.fixture
def data(rng):
    """A few atoms, weak against a background that varies over each patch; some points masked."""
    return few_atoms(rng)


@pytest.mark.parametrize("kind", ["constant", "array"])
def test_files_keep_the_background(tmp_path, data, kind):
    _, measured = data
    background = measured.background
    if kind == "constant":
        background = [np.full(p.shape, 2.5) for p in measured.patches]
    given = Diffraction(measured.patches, measured.counts, measured.valid, background=background)
    write_diffraction(tmp_path / "d.h5", given)
    back = read_diffraction(tmp_path / "d.h5")
    for a, b in zip(back.background, background, strict=True):
        assert np.array_equal(a, b)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        assert (file["entry_1/image_1/background"].shape == ()) == (kind == "constant")
        del file["entry_1/image_1/background"], file["entry_2/image_1/background"]
    assert not read_diffraction(tmp_path / "d.h5").background
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["entry_2/image_1/background"] = -1.0
    with pytest.raises(InputError, match="background of patch 2 contains"):
        read_diffraction(tmp_path / "d.h5")


def test_wrong_backgrounds_are_refused(data):
    _, measured = data
    args = (measured.patches, measured.counts)
    with pytest.raises(InputError, match="2 patches and 1 arrays of background"):
        Diffraction(*args, background=measured.background[:1])
    with pytest.raises(InputError, match="background of patch 1 has shape"):
        Diffraction(*args, background=[np.ones((2, 2, 2)), measured.background[1]])
    nan = [b * np.nan for b in measured.background]
    with pytest.raises(InputError, match="background of patch 1 contains NaN"):
        Diffraction(*args, background=nan)
    for bad in (-1.0, np.inf, [np.ones((2, 2, 2))]):
        with pytest.raises(InputError, match="background"):
            background_arrays(bad, measured.patches)


def test_the_command_line_takes_numbers_and_files(tmp_path, rng, capsys):
    write_atoms(tmp_path / "s.xyz", Atoms(fcc_ball(6.0), "Al"))
    for k in range(3):
        np.save(tmp_path / f"b{k}.npy", rng.uniform(0, 9, (7, 7, 7)))
    command = ["simulate", str(tmp_path / "s.xyz"), "--flux", "1e17", "--points", "7", "-o"]
    number = ["--background", "4.5"]
    files = [t for k in range(3) for t in ("--background", str(tmp_path / f"b{k}.npy"))]
    assert run([*command, str(tmp_path / "n.h5"), *number]) == 0
    assert run([*command, str(tmp_path / "f.h5"), *files]) == 0
    for b in read_diffraction(tmp_path / "n.h5").background:
        assert np.array_equal(b, np.full((7, 7, 7), 4.5))
    for k, b in enumerate(read_diffraction(tmp_path / "f.h5").background):
        assert np.array_equal(b, np.load(tmp_path / f"b{k}.npy"))
    capsys.readouterr()
    np.save(tmp_path / "b0.npy", np.ones((2, 7, 7)))
    for wrong, match in (
        (files[:4], "2 backgrounds for 3 patches"),
        (files, "b0.npy: its background has shape (2, 7, 7)"),
        (["--background", "none"], "none: no such file"),
        (["--background", "nan"], "NaN"),
    ):
        assert run([*command, str(tmp_path / "w.h5"), *wrong]) == 2
        assert match in capsys.readouterr().err
