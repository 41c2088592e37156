"""Other metals end to end, by the command line: every atom, from counts alone."""

from __future__ import annotations

import json

import pytest
import yaml
from forking import planned

METALS = {
    "Cu vacancy": ["vacancy", "--potential=Cu_mishin1.eam.alloy"],
    "Fe bulk": ["bulk", "--potential=Fe_mm.eam.fs"],
    "W vacancy": ["vacancy", "--potential=W_zhou.eam.alloy"],
    "Nb bulk": ["bulk", "--element=Nb", "--pair-style=uf3 3", "--pair-coeff=* * Nb.uf3 Nb"],
}


def require_exact(prammol, folder, kind, atoms, points, *potential):
    def call(*arguments):
        done = prammol(*arguments, timeout=1800)
        assert done.returncode == 0, done.stderr
        return done

    call("crystal", kind, "--atoms", atoms, "--seed", 5, *potential, "-o", "s.xyz")
    # Where the peaks are is in the crystal's file.
    call("simulate", "s.xyz", "--flux", "1e20", "--seed", 1, "--points", points, "-o", "d.h5")
    call("support", "d.h5", "--from-truth", "s.xyz", "--resolution", 5, "-o", "u.h5")
    call("reconstruct", "d.h5", "--support", "u.h5", "--seed", 1, *potential, "-o", "r.h5")
    call("evaluate", "r.h5", "--truth", "s.xyz", "--json", "m.json")
    found = json.loads((folder / "m.json").read_text())
    assert (found["n_true"], found["n_missing"], found["n_extra"]) == (atoms, 0, 0)
    assert found["max_error_pm"] < 0.1
    assert found["converged"]
    assert found["scale_ratio"] == pytest.approx(1, abs=1e-4)


def test_every_atom_of_tungsten(prammol, tmp_path):
    require_exact(prammol, tmp_path, "bulk", 400, 36, "--potential=W_zhou.eam.alloy")


@pytest.mark.slow
@pytest.mark.parametrize("metal", METALS)
def test_2500_atoms(prammol, tmp_path, metal):
    kind, *potential = METALS[metal]
    require_exact(prammol, tmp_path, kind, 2500, 50, *potential)


def test_a_note_says_that_the_peaks_leave_the_lattice_open(prammol, small, tmp_path):
    peaks = ("--peak=2,0,0", "--peak=0,2,0", "--peak=0,0,2")
    crystal, support = small / "s.xyz", small / "u.h5"
    made = prammol("simulate", crystal, "--flux", "1e20", "--points", 16, *peaks, "-o", "d.h5")
    assert made.returncode == 0, made.stderr
    run = ("reconstruct", "d.h5", "--support", support, "-o", "r.h5")
    few = ("--set", "max_iterations=1", "--set", "starts=1")
    done = prammol(*run, *few)
    assert done.returncode == 0, done.stderr  # converged, after one iteration
    assert "note: the Bragg peaks don't fix the lattice: 2 times as many sites" in done.stderr
    assert "taken is the fcc one of the potential" in done.stderr
    # A potential whose structure is none of those seven.
    bcc = ("--pair-style=lj/cut 8", "--pair-coeff=1 1 0.1 2.5", "--structure=bcc")
    lost = prammol(*run, "--force", *few, *bcc, "--element=Al", "--lattice-constant=3.2145")
    assert lost.returncode == 2
    assert "none of them is bcc as the potential" in lost.stderr


def plan(folder, **potential):
    """What the workflow would run for a tungsten crystal, as text."""
    sample = {"kind": "bulk", "atoms": 400, "potential": potential}
    study = {"kind": "samples", "samples": ["metal"], "flux": 1e20, "trials": 1}
    config = {"name": "metals", "samples": {"metal": sample}, "studies": {"metals": study}}
    (folder / "metals.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    options = ("--configfile", folder / "metals.yaml", "--printshellcmds")
    done = planned(folder, *options, "--", "results/metals/metal/trial-01/metrics.json")
    return done.returncode, done.stdout + done.stderr


def test_the_workflow_hands_the_potential_on(tmp_path):
    coefficients = ["1 1 zbl 73 73", "* * snap Ta06A.snapcoeff Ta06A.snapparam Ta"]
    style = "hybrid/overlay zbl 4 4.8 snap"
    code, text = plan(tmp_path, element="Ta", pair_style=style, pair_coeff=coefficients)
    assert code == 0, text
    options = (
        "--element=Ta --pair-style='hybrid/overlay zbl 4 4.8 snap' --pair-coeff='1 1 zbl 73 73'"
        " --pair-coeff='* * snap Ta06A.snapcoeff Ta06A.snapparam Ta'"
    )
    lines = [line for line in text.splitlines() if options in line]
    assert sum("prammol crystal" in line for line in lines) == 1
    assert sum("prammol reconstruct" in line for line in lines) == 1


def test_the_workflow_refuses_other_commands(tmp_path):
    code, text = plan(tmp_path, file="W_zhou.eam.alloy", pair_coeff="* * {file} W\nshell ls")
    assert code != 0
    assert "ValidationError" in text
