"""The page of atoms in three dimensions: complete in one file, drawn by a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.evaluation.metrics import evaluate
from prammol.io import write_atoms, write_reconstruction
from prammol.plotting.view import write_view
from prammol.reconstruction.result import Reconstruction
from prammol.structure import LATTICES, Atoms, crystal_fields

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# The wrapper of Debian starts this program.
PROGRAM = Path("/usr/lib/chromium/chromium")
PANEL = 280  # pixels
X = fcc_ball(9.0)


def crystal():
    fields, info = crystal_fields(X, LATTICES["fcc"])
    rng = np.random.default_rng(1)
    columns = {
        "energy": np.where(X[:, 0] > 0, -3.3, -2.9),
        "occupancy_confidence": np.where(X[:, 1] > 0, 1.0, 0.2),
        "position_sigma": rng.random((len(X), 3)),
    }
    return Atoms(X, "Al", columns | fields, info)


def data_of(page):
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def numbers(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_the_page_holds_all_columns_with_units(tmp_path):
    write_view(tmp_path / "v.html", crystal())
    (frame,) = data_of(tmp_path / "v.html")["frames"]
    np.testing.assert_allclose(numbers(frame["positions"]), X.ravel(), rtol=1e-6)
    units = {name: column["unit"] for name, column in frame["columns"].items()}
    assert units["energy"] == "eV"
    assert units["displacement"] == units["displacement_x"] == units["position_sigma_z"] == "Å"
    assert units["centro_symmetry"] == "Å²"
    assert units["strain_xy"] == units["coordination"] == ""
    assert frame["columns"]["structure_type"]["labels"] == ["other", "fcc", "hcp", "bcc"]


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    write_view(tmp_path / "v.html", crystal())
    text = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(|XMLHttpRequest", text)


def test_truth_and_trajectory_are_in_one_frame(tmp_path):
    truth = Atoms(np.concatenate([np.delete(X, 0, axis=0), [[0, 0, 14.0]]]), "Al")
    found = Atoms(X + [1.0, 2.0, 3.0], "Al", crystal().columns)
    metrics = evaluate(found, truth, with_resolution=False)
    film = [Atoms(found.positions[:50], "Al", {}, {"stage": "iteration", "iteration": 7})]
    write_view(tmp_path / "v.html", found, truth, metrics, film)
    data = data_of(tmp_path / "v.html")
    first, second = data["frames"]
    assert data["truth"] == {"missing": 1, "extra": 1}
    kind = numbers(first["kind"])
    assert kind[0] == 1
    assert kind[-1] == 2
    assert np.count_nonzero(kind) == 2
    assert first["atoms"] == len(X)
    x = numbers(first["positions"]).reshape(-1, 3)
    np.testing.assert_allclose(x[:-1], X, atol=1e-5)
    np.testing.assert_allclose(x[-1], [0, 0, 14.0], atol=1e-5)
    assert first["columns"]["error_pm"]["unit"] == "pm"
    assert second["title"] == "iteration 7"
    np.testing.assert_allclose(numbers(second["positions"]).reshape(-1, 3), X[:50], atol=1e-5)


def test_the_verb_names_its_file_and_refuses_bad_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_reconstruction("r.h5", Reconstruction(crystal(), 1.0))
    write_atoms("s.xyz", Atoms(X, "Al"))
    write_atoms("cu.xyz", Atoms(X, "Cu"))
    assert run(["view", "r.h5", "--truth", "s.xyz", "--trajectory", "s.xyz"]) == 0
    assert capsys.readouterr().out == "r.html\n"
    assert len(data_of(tmp_path / "r.html")["frames"]) == 2
    for words, said in (
        (["view", "r.h5"], "r.html"),
        (["view", "r.h5", "--truth", "cu.xyz", "-o", "w.html"], "made of Cu"),
        (["view", "none.h5"], "no such file"),
    ):
        assert run(words) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "w.html").exists()
    with pytest.raises(InputError, match="expected at least 2"):
        write_view("few.html", Atoms(X[:1], "Al"))


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    """``shot(view)``: the page as Chromium draws it, (700, 1000, 3), panel and picture."""
    program = str(PROGRAM) if PROGRAM.exists() else CHROMIUM
    if program is None:
        pytest.skip("no Chromium to draw with (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("view")
    truth = Atoms(np.delete(X, np.linalg.norm(X, axis=1).argmax(), axis=0), "Al")
    write_view(folder / "plain.html", crystal())
    write_view(
        folder / "truth.html",
        crystal(),
        truth,
        evaluate(crystal(), truth, with_resolution=False),
    )
    options = "--headless --no-sandbox --no-zygote --use-gl=angle --use-angle=swiftshader "
    options += "--enable-unsafe-swiftshader --hide-scrollbars --no-first-run "
    options += "--window-size=1000,700 --virtual-time-budget=1000"

    def draw(view, page="plain.html"):
        picture = folder / "shot.png"
        picture.unlink(missing_ok=True)
        place = f"file://{folder / page}#{view}"
        command = [program, *options.split(), f"--user-data-dir={folder / 'profile'}"]
        done = subprocess.run(
            [*command, f"--screenshot={picture}", place],
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert picture.exists(), done.stderr.decode(errors="replace")
        return imread(picture)[:, :, :3]

    return draw


def coloured(picture):
    """Pixels of the stage that are neither white nor grey, without axes and scale at the edges."""
    stage = picture[20:600, PANEL + 20 : -20]
    return stage[np.ptp(stage, axis=2) > 0.1]


def test_a_browser_draws_the_atoms(shot):
    picture = shot("column=energy&turn=0,0")
    pixels = coloured(picture)
    # a ball as wide as the diagonal of its box is high leaves 1 / 3 of that square's inner circle
    stage = 580 * (1000 - PANEL - 40)
    assert 0.12 < len(pixels) / stage < 0.5
    # the two energies have the two ends of viridis: yellow on the left, purple on the right
    x = picture[20:600, PANEL + 20 : -20]
    left, right = x[:, : x.shape[1] // 2 - 30], x[:, x.shape[1] // 2 + 30 :]
    left, right = (part[np.ptp(part, axis=2) > 0.1].mean(axis=0) for part in (left, right))
    assert left[1] > 2 * left[2]
    assert right[2] > 1.5 * right[1]


def test_colours_cuts_and_limits_change_the_picture(shot):
    energy = coloured(shot("column=energy&turn=0,0"))
    other = coloured(shot("column=structure_type&turn=0,0"))
    assert np.abs(energy.mean(axis=0) - other.mean(axis=0)).max() > 0.1
    half = coloured(shot("column=energy&turn=0,0&xlow=0"))
    assert 0.35 < len(half) / len(energy) < 0.65
    assert half.mean(axis=0)[2] > 1.5 * half.mean(axis=0)[1]  # the purple half is left
    sure = coloured(shot("column=energy&turn=0,0&by=occupancy_confidence&least=0.5"))
    assert 0.35 < len(sure) / len(energy) < 0.65


def test_marks_of_the_truth_and_a_measured_distance(shot):
    def magenta(picture):
        stage = picture[20:600, PANEL + 20 : -20]
        return int((np.abs(stage - [0.71, 0.09, 0.43]).max(axis=2) < 0.03).sum())

    view = "column=structure_type&turn="
    extra = X[np.linalg.norm(X, axis=1).argmax()]
    # turned so that the extra atom faces the viewer
    turn = f"{-np.degrees(np.arctan2(extra[0], extra[2]))},"
    turn += f"{np.degrees(np.arcsin(extra[1] / np.linalg.norm(extra)))}"
    with_marks = magenta(shot(view + turn, "truth.html"))
    assert with_marks > 50
    assert magenta(shot(view + turn + "&marks=0", "truth.html")) == 0
    plain, measured = shot(view + "0,0"), shot(view + "0,0&pick=3,40")
    panel = np.abs(measured - plain)[:, :PANEL]
    assert (panel.max(axis=2) > 0.3).sum() > 200  # places and distance are written
