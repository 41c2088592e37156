"""docs/tutorials/own-data.md, block by block, on a file of scans that is written here."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
import rocking
from forking import prammol_in
from processes import ROOT
from rocking import MOUNTED

from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.evaluation.metrics import evaluate
from prammol.io import read_diffraction, read_reconstruction
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms

PAGE = ROOT / "docs" / "tutorials" / "own-data.md"

SHAPE = (26, 26, 24)


def write_scans(path, scans, rng):
    """What a beamline would write: images with hot pixels, a gap and a mask that says so."""
    with h5py.File(path, "w") as file:
        for k, scan in enumerate(scans, start=1):
            mask = np.where(rng.random(SHAPE[1:]) < 0.02, 0x4, 0).astype(np.uint32)  # hot
            mask[:, 3] = 0x200  # a gap between modules: missing
            images = np.where(mask == 0x4, 10**7, scan.counts)
            images = np.where(mask == 0x40, 0, images)
            entry = file.create_group(f"entry_{k}")
            camera = entry.create_group("instrument_1/detector_1")
            camera["data"], camera["mask"] = images.astype(np.uint32), mask
            camera["distance"] = rocking.DISTANCE
            camera["x_pixel_size"] = camera["y_pixel_size"] = rocking.PIXEL
            camera["beam_centre"] = scan.centre
            camera["nu"], camera["delta"] = scan.nu, scan.delta
            entry["instrument_1/beam_1/incident_wavelength"] = 1e-10 * rocking.WAVELENGTH
            entry["sample_1/element"] = "Al"
            for circle in ("eta", "chi", "phi"):
                entry[f"sample_1/{circle}"] = getattr(scan, circle)


def write_modes(path, scan, x):
    """The object of the first scan on the detector's grid, as PyNX writes its modes."""
    patch = CurvedPatch(scan.q).affine
    q = patch.q()
    window = np.exp(-0.5 * (np.linalg.norm(q - patch.middle, axis=1) / 0.45) ** 2)
    wave = (window * direct_structure_factor(q, x)).reshape(SHAPE)
    obj = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(wave)))
    with h5py.File(path, "w") as file:
        image = file.create_group("entry_1/image_1")
        image["data"] = obj[None]
        image["data_space"] = "real"
        image["process_1/configuration/iobs_shape"] = SHAPE
        file["entry_last"] = h5py.SoftLink("/entry_1")


@pytest.mark.skipif(
    importlib.util.find_spec("xrayutilities") is None, reason="xrayutilities isn't installed"
)
def test_every_block_of_the_page(tmp_path, monkeypatch, capsys):
    truth = make_crystal("bulk", atoms=300, seed=6)
    sample = Atoms(truth.positions @ MOUNTED.T, "Al")  # as it is mounted
    scans = rocking.scans(truth.positions, 1.9, SHAPE, background=3.0, factors=True)
    write_scans(tmp_path / "scans.cxi", scans, np.random.default_rng(3))
    write_modes(tmp_path / "modes.cxi", scans[0], sample.positions)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "python", "sh", "sh", "python"]
    names: dict[str, object] = {}
    printed = ""
    for kind, text in blocks:
        if kind == "python":
            own: dict[str, object] = {}  # each block runs when it is pasted alone
            exec(compile(text, str(PAGE), "exec"), own)
            names |= own
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "prammol"
            done = prammol_in(tmp_path, *arguments)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    printed += capsys.readouterr().out

    data = read_diffraction("d.h5")
    for patch, scan in zip(data.patches, scans, strict=True):
        assert isinstance(patch, CurvedPatch)
        assert patch.bend > 3
        np.testing.assert_allclose(patch.points, scan.q, atol=1e-10)
    np.testing.assert_allclose(names["turn"] @ MOUNTED, np.eye(3), atol=0.03)
    np.testing.assert_allclose(names["spacing"], 4.05 / 3**0.5, rtol=0.02)
    assert "300 atoms, converged" in printed
    agreement = float(re.search(r"agreement .* ([\d.]+)", printed).group(1))
    assert agreement > 0.95

    result = read_reconstruction("r.h5")
    metrics = evaluate(result.atoms, sample, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.5  # the page doesn't say that the geometry is known
    # C is that at the peaks, where the form factor is taken: known to a part of a point.
    assert result.scale == pytest.approx(1.9, rel=1e-2)
    assert Path("p.png").stat().st_size > 10_000
