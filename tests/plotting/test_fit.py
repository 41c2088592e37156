"""The fit view: which planes and numbers it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from small_crystal import fcc_ball, simulate

from prammol.cli.main import run
from prammol.diffraction.calibration import Calibration
from prammol.io import write_diffraction, write_reconstruction
from prammol.plotting.fit import fit_figure, frame_of, peak_name
from prammol.reconstruction.fit import fit_of
from prammol.reconstruction.result import Reconstruction
from prammol.simulation.averages import innermost_patches
from prammol.structure.atoms import Atoms

X = fcc_ball(6.0)


@pytest.fixture(scope="module")
def data():
    return simulate(X, points=12)


def test_frames_pass_through_the_peaks_and_show_counts_model_and_residual(data):
    wrong = Reconstruction(Atoms(np.delete(X, [3, 9], axis=0), "Al"), 1.9)
    fit = fit_of(wrong, data)
    figure = fit_figure(fit)
    panels = [axes for axes in figure.axes if axes.collections and axes.get_aspect() == 1.0]
    assert len(panels) == 9
    for k in range(3):
        number = frame_of(fit, k)
        assert number == np.unravel_index(data.counts[k].argmax(), data.counts[k].shape)[0]
        counts, model, residual = (
            np.asarray(panels[3 * k + i].collections[0].get_array()).ravel() for i in range(3)
        )
        np.testing.assert_allclose(counts, np.maximum(fit.counts[k][number], 0.25).ravel())
        np.testing.assert_allclose(model, np.maximum(fit.expected[k][number], 0.25).ravel())
        np.testing.assert_allclose(residual, fit.residual(k)[number].ravel())
    places = panels[0].collections[0].get_coordinates()
    assert np.ptp(places[..., 0]) == pytest.approx(12 * np.linalg.norm(data.patches[0].step[2]))


def test_the_picture_says_what_its_residuals_lack_where_diffuse_scattering_was_fitted(data):
    terms = {"diffuse": np.ones(3)}
    fitted = replace(Calibration.nominal(3), terms=terms)
    said = "without the error of the diffuse scattering"
    for calibration, lacks in ((None, False), (fitted, True)):
        found = Reconstruction(Atoms(X, "Al"), 1.9, calibration=calibration)
        figure = fit_figure(fit_of(found, data))
        assert (said in figure.get_suptitle()) == lacks


@pytest.mark.parametrize(("structure", "name"), [("fcc", r"($\bar{1}$11)"), ("bcc", "(011)")])
def test_bragg_peaks_are_named_by_their_indices_if_these_are_clear(structure, name):
    patches = innermost_patches(Atoms([[0.0] * 3], "Al", info={"structure": structure}), 6)
    assert peak_name(patches[0].middle) == name
    assert peak_name(np.array([2.0, 1.3, 0.2])).startswith("q = (2.00, 1.30, 0.20)")


def test_the_verb_draws_the_fit_and_refuses_other_data(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_reconstruction("r.h5", Reconstruction(Atoms(X, "Al"), 1.9))
    write_reconstruction("cu.h5", Reconstruction(Atoms(X, "Cu"), 1.9))
    write_diffraction("d.h5", data)
    assert run(["plot", "r.h5", "--data", "d.h5", "-o", "fit.png"]) == 0
    assert capsys.readouterr().out == "fit.png\n"
    assert min(imread("fit.png").shape[:2]) > 500
    for words, said in (
        (["plot", "cu.h5", "--data", "d.h5", "-o", "no.png"], "scattered by Al"),
        (["plot", "r.h5", "--data", "none.h5", "-o", "no.png"], "no such file"),
        (["plot", "r.h5", "--planes", "xyz", "-o", "no.png"], "is no plane"),
        (["plot", "r.h5", "--colour", "taste", "-o", "no.png"], "taste"),
    ):
        assert run(words) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()
