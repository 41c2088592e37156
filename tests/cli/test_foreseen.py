"""What is said, or refused, before a reconstruction starts."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.cli.foreseen import foreseen
from prammol.core.errors import DataError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.io import read_reconstruction
from prammol.potentials.potential import aluminium
from prammol.simulation import make_crystal, simulate

PEAKS = [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]


def counts(half_width, points, flux):
    crystal = make_crystal("bulk", atoms=300, seed=5, relax=False)
    return simulate(crystal, flux, 1, paper_patches(points, 4.05, PEAKS, half_width))


def test_wide_patches_with_photons_decide_single_atoms(capsys):
    found = foreseen("d.h5", counts(0.6, 24, 1e18), 300.0, aluminium(), Communicator())
    assert found["verdict"] == "single atoms"
    assert found["photons"] == pytest.approx(counts(0.6, 24, 1e18).total_counts)
    said = capsys.readouterr().err
    assert "these data can decide single atoms" in said
    assert "warning" not in said


def test_few_photons_are_warned_of(capsys):
    found = foreseen("d.h5", counts(0.6, 24, 1e15), 300.0, aluminium(), Communicator())
    assert found["verdict"] != "single atoms"
    assert "limit: photons" in capsys.readouterr().err


def test_a_search_that_may_fail_is_warned_of(capsys):
    found = foreseen("d.h5", counts(0.3, 16, 1e19), 300.0, aluminium(), Communicator())
    assert found["verdict"] == "single atoms"
    assert found["width"] == pytest.approx(0.3 * 16 / 15 * 2 * np.pi / 2**0.5, rel=0.01)
    assert "the search has ended with wrong atoms" in capsys.readouterr().err


def test_narrow_patches_are_refused_unless_forced(capsys):
    data = counts(0.15, 10, 1e18)
    with pytest.raises(DataError, match=r"d\.h5: these data decide layers.*--anyway"):
        foreseen("d.h5", data, 300.0, aluminium(), Communicator())
    assert foreseen("d.h5", data, 300.0, aluminium(), Communicator(), forced=True)["atoms"] == 300
    assert "warning: d.h5: these data decide layers" in capsys.readouterr().err


def files(prammol):
    """Make narrow patches of 100 atoms; return the command that reconstructs them."""
    assert prammol("crystal", "bulk", "--atoms", "100", "-o", "s.xyz").returncode == 0
    narrow = ("--half-width", "0.15", "--points", "10")
    assert prammol("simulate", "s.xyz", "--flux", "1e18", *narrow, "-o", "d.h5").returncode == 0
    assert prammol("support", "d.h5", "--from-truth", "s.xyz", "-o", "u.h5").returncode == 0
    return "reconstruct", "d.h5", "--support", "u.h5", "-o", "r.h5", "--set", "max_iterations=1"


def test_the_command_refuses(prammol, tmp_path):
    done = prammol(*files(prammol))
    assert done.returncode == 2
    assert "--anyway" in done.stderr
    assert not (tmp_path / "r.h5").exists()


@pytest.mark.slow
def test_the_command_can_be_forced_and_records_what_it_said(prammol, tmp_path):
    done = prammol(*files(prammol), "--anyway")
    assert done.returncode in (0, 3), done.stderr
    origin = read_reconstruction(tmp_path / "r.h5").provenance
    assert origin["prospects"]["limit"] == "width of the patches"
