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
    # the browser itself refuses whatever isn't in the file
    assert "Content-Security-Policy\" content=\"default-src 'none';" in text
    assert not re.search(r"(src|href)=|@import|url\(|fetch\(|XMLHttpRequest|@[A-Z]+@", text)
    assert set(re.findall(r"https?://[^\"'`]*", text)) == {"http://www.w3.org/1999/xhtml"}


def test_truth_and_trajectory_are_in_one_frame(tmp_path):
    truth = Atoms(np.concatenate([np.delete(X, 0, axis=0), [[0, 0, 14.0]]]), "Al")
    found = Atoms(X + [1.0, 2.0, 3.0], "Al", crystal().columns)
    metrics = evaluate(found, truth, with_resolution=False)
    film = [Atoms(found.positions[:50], "Al", {}, {"stage": "iteration", "iteration": 7})]
    write_view(tmp_path / "v.html", found, truth, metrics, film)
    data = data_of(tmp_path / "v.html")
    first, second = data["frames"]
    assert (data["truth"]["missing"], data["truth"]["extra"]) == (1, 1)
    np.testing.assert_allclose(
        numbers(data["truth"]["positions"]), truth.positions.ravel(), rtol=1e-6
    )
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
def shots(tmp_path_factory):
    """``shots(page, *views)``: how Chromium draws each, (700, 1000, 3), panel and picture."""
    program = str(PROGRAM) if PROGRAM.exists() else CHROMIUM
    if program is None:
        pytest.skip("no Chromium to draw with (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("view")
    truth = Atoms(np.delete(X, np.linalg.norm(X, axis=1).argmax(), axis=0), "Al")
    film = [Atoms(X[:40], "Al", {}, {"stage": "iteration", "iteration": 7})]
    write_view(folder / "plain.html", crystal(), trajectory=film)
    write_view(
        folder / "truth.html",
        crystal(),
        truth,
        evaluate(crystal(), truth, with_resolution=False),
    )
    options = "--headless --no-sandbox --no-zygote --use-gl=angle --use-angle=swiftshader "
    options += "--enable-unsafe-swiftshader --hide-scrollbars --no-first-run "
    options += "--virtual-time-budget=2000"

    def draw(page, *views):
        picture = folder / "shot.png"
        picture.unlink(missing_ok=True)
        # All in one window: a browser takes long to start.
        style = "display:block;border:0;width:1000px;height:700px"
        inside = "".join(f'<iframe src="{page}#{view}" style="{style}"></iframe>' for view in views)
        (folder / "all.html").write_text(f'<body style="margin:0">{inside}</body>')
        command = [program, *options.split(), f"--user-data-dir={folder / 'profile'}"]
        command += [f"--window-size=1000,{700 * len(views)}", f"--screenshot={picture}"]
        done = subprocess.run(
            [*command, f"file://{folder / 'all.html'}"],
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert picture.exists(), done.stderr.decode(errors="replace")
        return np.split(imread(picture)[:, :, :3], len(views))

    return draw


def stage(picture):
    """The part with the atoms, without axes and scale at the edges."""
    return picture[20:600, PANEL + 20 : -20]


def coloured(picture):
    """Pixels of the stage that are neither white nor grey."""
    return stage(picture)[np.ptp(stage(picture), axis=2) > 0.1]


def near(picture, colour):
    """How many pixels of the stage have a colour."""
    return int((np.abs(stage(picture) - colour).max(axis=2) < 0.03).sum())


def test_a_browser_draws_what_is_asked_for(shots):
    energy, other, half, layer, sure, film, measured = shots(
        "plain.html",
        "column=energy&turn=0,0",
        "column=structure_type&turn=0,0",
        "column=energy&turn=0,0&plane=x&cutlow=0",
        "column=energy&turn=0,0&plane=001&cutlow=-1&cuthigh=1.5",
        "column=energy&turn=0,0&by=occupancy_confidence&least=0.5",
        "turn=0,0&frame=1",
        "column=structure_type&turn=0,0&pick=3,40",
    )
    pixels = coloured(energy)
    # a ball as wide as the diagonal of its box is high leaves 1 / 3 of that square's inner circle
    assert 0.12 < len(pixels) / (580 * (1000 - PANEL - 40)) < 0.5
    # the two energies have the two ends of viridis: yellow on the left, purple on the right
    x = stage(energy)
    left, right = x[:, : x.shape[1] // 2 - 30], x[:, x.shape[1] // 2 + 30 :]
    left, right = (part[np.ptp(part, axis=2) > 0.1].mean(axis=0) for part in (left, right))
    assert left[1] > 2 * left[2]
    assert right[2] > 1.5 * right[1]
    assert np.abs(pixels.mean(axis=0) - coloured(other).mean(axis=0)).max() > 0.1
    assert 0.35 < len(coloured(half)) / len(pixels) < 0.65
    kept = coloured(half).mean(axis=0)
    assert kept[2] > 1.5 * kept[1]  # the purple half is left
    # a single layer seen from above shows white between its atoms
    assert 0.4 < len(coloured(layer)) / len(pixels) < 0.95
    assert near(layer, [1, 1, 1]) > near(energy, [1, 1, 1])
    assert 0.35 < len(coloured(sure)) / len(pixels) < 0.65
    assert 100 < (stage(film).min(axis=2) < 0.9).sum() < len(pixels) / 2  # 40 grey atoms
    panel = np.abs(measured - other)[:, :PANEL]
    assert (panel.max(axis=2) > 0.3).sum() > 200  # places and distance are written
    yellow = [1.0, 0.85, 0.0]
    assert near(measured, yellow) > 50 > near(other, yellow)


def test_a_browser_marks_what_differs_from_the_truth(shots):
    extra = X[np.linalg.norm(X, axis=1).argmax()]
    # turned so that the extra atom faces the viewer
    turn = f"column=structure_type&turn={-np.degrees(np.arctan2(extra[0], extra[2]))},"
    turn += f"{np.degrees(np.arcsin(extra[1] / np.linalg.norm(extra)))}"
    marked, bare, dots, clicked = shots(
        "truth.html", turn, turn + "&marks=0", turn + "&dots=1", turn + "&click=360,350"
    )
    magenta, green, yellow = [0.71, 0.09, 0.43], [0.0, 0.62, 0.45], [1.0, 0.85, 0.0]
    assert near(marked, magenta) > 50
    assert near(bare, magenta) == 0
    assert near(dots, green) > 300 > near(marked, green)
    # a click into the middle takes the atom that faces the viewer
    assert near(clicked, yellow) > 50
    assert (np.abs(clicked - marked)[:, :PANEL].max(axis=2) > 0.3).sum() > 200
