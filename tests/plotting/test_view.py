"""The page of atoms in three dimensions: complete in one file, drawn by a real browser."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from browser import Browser, program
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.evaluation.metrics import evaluate
from prammol.io import write_atoms, write_reconstruction
from prammol.plotting.view import write_view
from prammol.reconstruction.result import Reconstruction
from prammol.structure import LATTICES, Atoms, crystal_fields

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
def pages(tmp_path_factory):
    """A folder with plain.html and truth.html."""
    folder = tmp_path_factory.mktemp("view")
    truth = Atoms(np.delete(X, np.linalg.norm(X, axis=1).argmax(), axis=0), "Al")
    film = [Atoms(X[:40], "Al", {}, {"stage": "iteration", "iteration": 7})]
    write_view(folder / "plain.html", crystal(), trajectory=film)
    metrics = evaluate(crystal(), truth, with_resolution=False)
    write_view(folder / "truth.html", crystal(), truth, metrics)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if program() is None:
        pytest.skip("no Chromium to draw with (Debian: apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("profile"), 1000, 700) as made:
        yield made


@pytest.fixture
def shots(browser, pages):
    """``shots(page, *views)``: how Chromium draws each, (700, 1000, 3), panel and picture."""

    def draw(page, *views):
        found = []
        for view in views:
            browser.open(pages / page, view)
            found.append(browser.picture())
        return found

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


def test_a_browser_draws_what_is_asked_for(browser, pages):
    browser.open(pages / "plain.html", "column=energy&turn=0,0&plane=x&cutlow=0")
    half = browser.picture()
    browser.run("at('cutlow').value = at('cutlow').min; trim()")
    energy = browser.picture()
    browser.run("across('001'); at('cutlow').value = -1; at('cuthigh').value = 1.5; trim()")
    layer = browser.picture()
    browser.run("across('z'); at('column').value = 'structure_type'; at('column').onchange()")
    other = browser.picture()
    browser.run("pick(3); pick(40)")
    measured = browser.picture()
    everyone = f"{len(X)} atoms shown"
    assert browser.run("at('shown').textContent") == f"{len(X)} of {everyone}"
    browser.run("at('by').value = 'occupancy_confidence'; at('by').onchange()")
    browser.run("at('least').value = 0.5; hide()")
    assert browser.run("at('shown').textContent") == f"{(X[:, 1] > 0).sum()} of {everyone}"
    browser.run("at('play').click(); at('play').click(); go(1)")
    assert browser.run("at('shown').textContent") == "40 of 40 atoms shown"
    assert browser.run("at('label').textContent") == "iteration 7 (2 of 2)"
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
    panel = np.abs(measured - other)[:, :PANEL]
    assert (panel.max(axis=2) > 0.3).sum() > 200  # places and distance are written
    yellow = [1.0, 0.85, 0.0]
    assert near(measured, yellow) > 50 > near(other, yellow)


def test_a_browser_marks_what_differs_from_the_truth(shots):
    extra = X[np.linalg.norm(X, axis=1).argmax()]
    # turned so that the extra atom faces the viewer
    turn = f"column=structure_type&turn={-np.degrees(np.arctan2(extra[0], extra[2]))},"
    turn += f"{np.degrees(np.arcsin(extra[1] / np.linalg.norm(extra)))}"
    marked, bare, dots = shots("truth.html", turn, turn + "&marks=0", turn + "&dots=1")
    magenta, green = [0.71, 0.09, 0.43], [0.0, 0.62, 0.45]
    assert near(marked, magenta) > 50
    assert near(bare, magenta) == 0
    assert near(dots, green) > 300 > near(marked, green)


def test_a_mouse_measures_and_turns(browser, pages):
    atom = int(np.linalg.norm(X, axis=1).argmax())
    turn = f"{-np.degrees(np.arctan2(X[atom, 0], X[atom, 2]))},"
    turn += f"{np.degrees(np.arcsin(X[atom, 1] / np.linalg.norm(X[atom])))}"
    browser.open(pages / "plain.html", f"column=structure_type&turn={turn}")
    before = browser.picture()
    place = browser.run(
        f"(() => {{ const v = place({atom}).project(camera), r = at('gl').getBoundingClientRect();"
        " return [r.left + (v.x + 1) * r.width / 2, r.top + (1 - v.y) * r.height / 2]; })()"
    )
    browser.mouse(("mousePressed", *place), ("mouseReleased", *place))
    said = browser.run("at('picked').textContent")
    assert said.startswith(f"atom {atom} at " + " ".join(f"{v:.3f}" for v in X[atom]))
    assert near(browser.picture(), [1.0, 0.85, 0.0]) > 50
    browser.run("pick(3)")
    expected = np.linalg.norm(X[3] - X[atom])
    assert f"distance {expected:.3f} Å" in browser.run("at('picked').textContent")
    browser.run("pick(-1)")
    path = [("mouseMoved", place[0] + d, place[1]) for d in (20, 60, 120)]
    browser.mouse(("mousePressed", *place), *path, ("mouseReleased", place[0] + 120, place[1]))
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert (np.abs(stage(browser.picture()) - stage(before)).max(axis=2) > 0.2).mean() > 0.02


def test_atoms_that_move_are_drawn_in_part_and_all_of_them_at_rest(browser, pages):
    browser.open(pages / "plain.html", "column=structure_type")
    whole = browser.picture()
    browser.run("share = 0.1; move(); clearTimeout(rest)")
    part = browser.picture()
    white = near(part, [1, 1, 1]) - near(whole, [1, 1, 1])
    # one in ten: most of what the others covered is white, and the rest is spread over the crystal
    assert white > 0.3 * len(coloured(whole))
    rows, columns = (np.ptp(stage(part), axis=2) > 0.1).nonzero()
    of_all = (np.ptp(stage(whole), axis=2) > 0.1).nonzero()
    for some, every in zip((rows, columns), of_all, strict=True):
        assert np.ptp(some) > 0.6 * np.ptp(every)
    browser.run("move(); new Promise(done => setTimeout(done, RESTS + 50))")
    assert np.array_equal(browser.picture(), whole)
