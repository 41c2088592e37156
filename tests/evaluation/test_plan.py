"""A plan, against simulated counts on the same patches."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from processes import ROOT, run
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.diffraction.beamline import beamline_of
from prammol.evaluation.plan import plan
from prammol.plotting import plot_plan
from prammol.potentials.choose import choose_potential
from prammol.potentials.potential import aluminium
from prammol.simulation.counts import simulate
from prammol.structure.atoms import Atoms

VALUES = {
    "energy": 10.0, "flux_density": 1e15, "distance": 0.1, "pixel": 300.0, "pixels": 80,
    "rocking_step": 0.7, "images": 80, "exposure": 10.0,
}  # fmt: skip
BEAMLINE = beamline_of(VALUES, "b")
POTENTIAL = aluminium()


def test_photons_are_those_of_a_simulation():
    x = fcc_ball(15.0)
    found = plan(POTENTIAL, BEAMLINE, atoms=len(x))
    unit = 2 * np.pi / 4.05
    for scan in found.patches:
        patch = BEAMLINE.patch(unit * np.array(scan.hkl))
        data = simulate(
            Atoms(x, "Al"), BEAMLINE.flux, 1, [patch], wavelength=BEAMLINE.wavelength,
            form_factor="constant",
        )  # fmt: skip
        assert scan.photons == pytest.approx(data.total_counts, rel=0.1)
        edges = 0.5 * np.linalg.norm(patch.step, axis=1) * np.array(patch.shape)
        assert scan.half_width == pytest.approx(edges / unit)
    assert found.flux == pytest.approx(1e16)
    assert found.time_s == pytest.approx(3 * 80 * 10)
    assert found.diameter_nm == pytest.approx(3.0, rel=0.02)


def test_a_plan_as_json_and_picture(prammol, tmp_path):
    (tmp_path / "my.yaml").write_text("\n".join(f"{k}: {v:g}" for k, v in VALUES.items()))
    words = ["plan", "--size", "3", "--beamline", "my.yaml", "--set", "exposure=20"]
    done = prammol(*words, "-o", "p.png", "--json", "p.json")
    assert done.returncode == 0, done.stderr
    for text in ("3 nm", "[1, 1, 1] 15.37°", "decided", "Gy", "single atoms from"):
        assert text in done.stdout
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["beamline"]["exposure"] == 20
    assert found["prospects"]["verdict"] in done.stdout
    wrong = [c["wrong_atoms"] for c in found["curve"]]
    assert wrong == sorted(wrong, reverse=True)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--beamline", "ID02"], "there is no beamline 'ID02'"),
        (["--beamline", "NanoMAX", "--set", "exposure=long"], "isn't KEY=VALUE with a number"),
        (["--beamline", "NanoMAX", "--peak=1,0,0"], "extinct"),
        (["--beamline", "NanoMAX", "--peak=1,1,1"], "undetermined"),
        (["--beamline", "NanoMAX"], "the rocking scan covers"),
    ],
)
def test_what_cant_be_planned_is_refused(prammol, words, text):
    done = prammol("plan", "--size", "5", *words)
    assert done.returncode == 2
    assert text in done.stderr


def test_crystals_of_a_wrong_size_are_refused():
    with pytest.raises(InputError, match="either the diameter or the number of atoms"):
        plan(POTENTIAL, BEAMLINE)
    with pytest.raises(InputError, match="expected 13 "):
        plan(POTENTIAL, BEAMLINE, atoms=2)
    with pytest.raises(InputError, match="the beam bathes"):
        plan(POTENTIAL, beamline_of({**VALUES, "beam": 0.002}, "b"), atoms=4679)


@pytest.mark.parametrize("name", ["Mg_mm.eam.fs", "Si.sw"])
def test_structures_with_a_basis(name):
    potential = choose_potential(element=name[:2], file=name)
    lattice = potential.lattice
    found = plan(potential, BEAMLINE, atoms=1000)
    assert [p.hkl for p in found.patches] == [tuple(map(float, h)) for h in lattice.peaks]
    assert all(np.isfinite(p.photons) and p.photons > 0 for p in found.patches)


def test_compounds_are_refused():
    compound = choose_potential(element="CoAl", file="CoAl.eam.alloy")
    with pytest.raises(InputError, match="for Al, Co, expected one element"):
        plan(compound, BEAMLINE, atoms=1000)


def test_picture_needs_a_known_format(tmp_path):
    with pytest.raises(InputError, match=r"expected \.png"):
        plot_plan(plan(POTENTIAL, BEAMLINE, atoms=1000), tmp_path / "p.doc")


@pytest.mark.slow
def test_the_gallery_keeps_what_it_plans(tmp_path):
    """Counts on the planned patches: every atom is found, and as exactly as was planned."""
    done = run([sys.executable, str(ROOT / "docs/gallery/plot_5_plan.py")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = float(re.search(r"wrong atoms, (\S+) pm", done.stdout)[1])
    found = re.search(r"(\d+) missing, (\d+) extra, (\S+) pm", done.stdout)
    assert found[1] == found[2] == "0"
    assert 0.3 < float(found[3]) / planned < 2
