"""``prammol simulate --instrument`` and what reads its scans."""

from __future__ import annotations

import importlib.util

import h5py
import numpy as np
import pytest

from prammol.io import read_atoms, read_diffraction

needs_xrayutilities = pytest.mark.skipif(
    importlib.util.find_spec("xrayutilities") is None, reason="xrayutilities isn't installed"
)

SMALL = """\
beam: {flux: 1e20}
scans: {step: 4.2, images: 11, exposure: [1, 0.7, 1.6], offset: 0.003}
detector: {pixel_size: 3.7e-3, distance: 0.1, shape: [11, 11], fill: 0.3, zingers: 0.01}
"""


@pytest.fixture
def files(tmp_path):
    x = np.array([(0, 0, 0), (0, 2.025, 2.025), (2.025, 0, 2.025), (2.025, 2.025, 0)])
    lines = [str(len(x)), "", *(f"Al {a} {b} {c}" for a, b, c in x)]
    (tmp_path / "s.xyz").write_text("\n".join(lines) + "\n")
    (tmp_path / "i.yaml").write_text(SMALL)


@needs_xrayutilities
def test_scans_and_truth_are_written(prammol_here, files, tmp_path):
    arguments = ("simulate", "s.xyz", "--instrument", "i.yaml", "--seed", 1)
    done = prammol_here(*arguments, "-o", "scans.h5")
    assert done.returncode == 0, done.stderr
    assert "scans.h5: 3 scans" in done.stdout
    assert "scans.truth.h5" in done.stdout
    assert not (tmp_path / "scans.truth.xyz").exists()
    data = read_diffraction(tmp_path / "scans.h5")
    with h5py.File(tmp_path / "scans.truth.h5") as truth:
        for k, (counts, gain) in enumerate(zip(data.counts, data.gain, strict=True), start=1):
            signal = truth[f"entry_{k}/data_1/signal"][...]
            hit = truth[f"entry_{k}/data_1/zingers"][...] > 0
            assert ((counts - signal)[~hit] < 6 * np.sqrt(signal + 1)[~hit]).all()
            assert gain.mean() == pytest.approx((1, 0.7, 1.6)[k - 1], rel=0.15)
    again = prammol_here(*arguments, "-o", "scans.h5")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    (tmp_path / "scans.h5").unlink()
    again = prammol_here(*arguments, "-o", "scans.h5")
    assert (again.returncode, "scans.truth.h5: exists" in again.stderr) == (2, True)


def test_a_warm_crystal_has_a_mean(prammol_here, files, tmp_path):
    (tmp_path / "i.yaml").write_text(SMALL + "sample: {temperature: 50}\n")
    done = prammol_here(
        "simulate", "s.xyz", "--instrument", "i.yaml", "-o", "warm.h5",
        "--steps", 60, "--every", 10, "--equilibrate", 20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mean, still = read_atoms(tmp_path / "warm.truth.xyz"), read_atoms(tmp_path / "s.xyz")
    moved = np.linalg.norm(mean.positions - still.positions, axis=1)
    assert 0.001 < moved.max() < 1.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--instrument", "i.yaml", "--flux", "1e20"), "--flux: is the instrument's"),
        (("--instrument", "i.yaml", "--background", "1"), "--background: is the instrument's"),
        (("--instrument", "i.yaml", "--pixel-box", "1"), "--pixel-box: is the instrument's"),
        (("--instrument", "i.yaml", "--blur", "0.3"), "--blur: is the instrument's"),
        (("--instrument", "i.yaml", "--diffuse"), "--diffuse: is the instrument's"),
        (("--instrument", "i.yaml", "--wavelength", "1"), "--wavelength: is the instrument's"),
        (("--instrument", "none.yaml"), "none.yaml: no such file, expected an instrument"),
        (("--instrument", "s.xyz"), "s.xyz: the whole is"),
        ((), "--flux is missing, expected the flux of the beam, or --instrument"),
    ],
)
def test_wrong_options_are_one_sentence(prammol_here, files, tmp_path, options, text):
    done = prammol_here("simulate", "s.xyz", *options, "-o", "d.h5")
    assert done.returncode == 2
    assert text in done.stderr
    assert not list(tmp_path.glob("*.h5"))


def test_an_instrument_that_doesnt_fit_is_named(prammol_here, files, tmp_path):
    text = SMALL.replace("exposure: [1, 0.7, 1.6]", "exposure: [1, 2]")
    (tmp_path / "i.yaml").write_text(text)
    done = prammol_here("simulate", "s.xyz", "--instrument", "i.yaml", "-o", "d.h5")
    assert done.returncode == 2
    assert "i.yaml: exposure or scale is given for 2 scans, there are 3" in done.stderr
