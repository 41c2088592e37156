"""Widths of pixels and blur in files and options."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from prammol.cli.commands.common import response_of
from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.diffraction.response import Response
from prammol.diffraction.support import Support
from prammol.io import read_diffraction, write_atoms, write_diffraction
from prammol.io.run_identity import identity
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.presets import get_preset
from prammol.structure.atoms import Atoms


@pytest.fixture
def response(data, rng):
    n = len(data.patches)
    return Response(rng.uniform(0, 3, (n, 3)), rng.uniform(0, 1, (n, 3)), 0.7)


def test_files_keep_the_response(tmp_path, data, response):
    write_diffraction(tmp_path / "d.h5", replace(data, response=response))
    found = read_diffraction(tmp_path / "d.h5").response
    assert_array_equal(found.box, response.box)
    assert_array_equal(found.blur, response.blur)
    assert found.uncertainty == response.uncertainty
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        for k in range(1, len(data.patches) + 1):
            del file[f"entry_{k}/image_1/response/box"]
            del file[f"entry_{k}/image_1/response/blur"]
            file[f"entry_{k}/image_1/response/blur"] = 0.5  # one number for all axes
    found = read_diffraction(tmp_path / "d.h5").response
    assert (found.blur == 0.5).all()
    assert not found.box.any()
    write_diffraction(tmp_path / "d.h5", data, force=True)
    assert read_diffraction(tmp_path / "d.h5").response is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "d.h5: the box of the response is -1, expected 0 to 20 steps"),
        (np.nan, "d.h5: the box of the response is nan"),
        (np.ones(2), r"response/box has shape \(2,\), expected \(3\)"),
        ("one", "response/box has type"),
    ],
)
def test_wrong_responses_are_refused(tmp_path, data, response, value, message):
    write_diffraction(tmp_path / "d.h5", replace(data, response=response))
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        del file["entry_2/image_1/response/box"]
        file["entry_2/image_1/response/box"] = value
    with pytest.raises(InputError, match=message):
        read_diffraction(tmp_path / "d.h5")


def test_a_checkpoint_is_of_one_response(data, response):
    box = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=bool))
    found = {
        identity(replace(data, response=r), box, aluminium(), get_preset("default"), 0)["counts"]
        for r in (None, response, Response(response.box, 2.0 * response.blur))
    }
    assert len(found) == 3


def test_the_paper_knows_no_response(data, response):
    box = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(InputError, match="preset paper knows no response"):
        reconstruct(replace(data, response=response), box, preset="paper")


def test_the_paper_knows_no_basis(data):
    box = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=bool))
    diamond = replace(aluminium(), structure="diamond")
    with pytest.raises(InputError, match="knows fcc and bcc crystals only, not diamond"):
        reconstruct(data, box, diamond, preset="paper")


def test_options_go_before_the_file(response):
    def given(known, box=None, blur=None, fit=None):
        options = Namespace(pixel_box=box, blur=blur, fit_blur=fit)
        return response_of(options, len(response.box), known)

    assert given(None) is None
    fitted = given(None, fit=2.0)
    assert fitted.uncertainty == 2.0
    assert not fitted.box.any()
    assert not fitted.blur.any()
    kept = given(response, box=(1.0,))
    assert (kept.box == 1.0).all()
    assert_array_equal(kept.blur, response.blur)
    assert kept.uncertainty == response.uncertainty
    known = given(response, blur=(0.5, 0.0, 0.2), fit=0.0)
    assert (known.blur == [0.5, 0.0, 0.2]).all()
    assert known.uncertainty == 0


def test_options_write_the_response_and_bad_ones_are_refused(tmp_path, capsys):
    x = np.array([[0.0, 0, 0], [2.0, 2, 0], [2.0, 0, 2], [0, 2.0, 2]])
    write_atoms(tmp_path / "s.xyz", Atoms(x, "Al", info={"lattice_constant": 4.05}))
    command = ["simulate", str(tmp_path / "s.xyz"), "--flux", "1e20", "--points", "6"]
    out = ["-o", str(tmp_path / "d.h5")]
    assert run([*command, "--pixel-box", "1", "--blur", "0.5,0,0.25", *out]) == 0
    found = read_diffraction(tmp_path / "d.h5").response
    assert (found.box == 1).all()
    assert (found.blur == [0.5, 0, 0.25]).all()
    capsys.readouterr()
    assert run([*command, "--blur", "1,2", *out]) == 2
    assert "isn't one number or three" in capsys.readouterr().err
    assert run([*command, "--pixel-box", "50", *out, "--force"]) == 2
    assert "the box of the response is 50, expected 0 to 20" in capsys.readouterr().err
