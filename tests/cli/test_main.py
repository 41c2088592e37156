"""The command line as a person uses it: real processes, real files."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from importlib import import_module

import ase.io
import numpy as np
import pytest
from processes import ROOT

import prammol as package
from prammol.__main__ import THREAD_VARIABLES, set_threads
from prammol.cli.cost_estimate import warn_of_oversubscription
from prammol.cli.main import EPILOG, HELP, VERBS, build_parser
from prammol.cli.progress import HEADER
from prammol.cli.settings import parse_settings
from prammol.core.parallel import Communicator
from prammol.evaluation.mean_scattering import ScatteringAverage
from prammol.io import (
    read_atoms,
    read_diffraction,
    read_reconstruction,
    read_support,
    write_atoms,
)
from prammol.io.mean_scattering import write_mean_scattering
from prammol.reconstruction.presets import PRESETS
from prammol.structure.atoms import Atoms

METRICS = {
    "n_atoms", "n_true", "n_missing", "n_extra", "mae_pm", "rmse_pm", "max_error_pm",
    "resolution_angstrom", "scale_ratio", "iterations", "converged", "wall_s", "core_s",
    "ranks", "seed", "preset", "misfit_sigma", "cause",
}  # fmt: skip


def test_help_is_a_page_with_verbs_units_examples_and_exit_codes(prammol):
    done = prammol("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
    for text in ("photons/um^2", "mpiexec -n 4 prammol", "exit codes:", "--force"):
        assert text in done.stdout
    assert prammol().stdout == done.stdout


def test_help_loads_no_numerical_library(tmp_path):
    from processes import run

    done = run([sys.executable, "-X", "importtime", "-m", "prammol", "--help"], cwd=tmp_path)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "prammol.cli.main" in loaded
    assert not loaded & {"numpy", "scipy", "h5py", "pydantic", "mpi4py", "matplotlib", "rich"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(prammol, verb):
    done = prammol(verb, "--help")
    assert done.returncode == 0
    assert f"usage: prammol {verb}" in done.stdout
    assert f"  prammol {verb}" in done.stdout.partition("example")[2]


def pages():
    """README and the pages of the documentation that say how things are done."""
    folders = ("tutorials", "how-to", "reference", "explanation")
    return [ROOT / "README.md", *(p for f in folders for p in ROOT.glob(f"docs/{f}/**/*.md"))]


def commands_in(text):
    """The prammol command lines in a text, without comments: indented, after $, in sh blocks."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    text += "".join("\n" + re.sub("^", "  ", block, flags=re.MULTILINE) for block in blocks)
    found = re.findall(r"^(?: {2,}|\$ )(?:mpiexec -n \d+ )?prammol (\w.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found if "..." not in line]


def test_every_command_of_the_documentation_is_accepted():
    texts = [HELP + EPILOG, *(page.read_text() for page in pages())]
    texts += [import_module(f"prammol.cli.commands.{verb}").EXAMPLES for verb in VERBS]
    lines = [line for text in texts for line in commands_in(text)]
    assert len(lines) > 30
    assert {line[0] for line in lines if line[0] in VERBS} == set(VERBS)
    for line in lines:
        options = build_parser(line[0]).parse_args(line)
        if line[0] == "reconstruct":
            parse_settings(options.preset, options.set)


def test_the_version_is_printed(prammol):
    assert prammol("--version").stdout.split() == ["prammol", package.__version__]


def test_crystal_simulate_and_support_write_what_they_say(small):
    atoms, data = read_atoms(small / "s.xyz"), read_diffraction(small / "d.h5")
    assert len(atoms) == 150
    assert [p.shape for p in data.patches] == [(16, 16, 16)] * 3
    assert data.meta["flux"] == 1e20
    assert data.meta["seed"] == 1
    support = read_support(small / "u.h5")
    assert support.contains(atoms.positions).all()
    np.testing.assert_allclose(support.voxel, 5 * np.eye(3))


def test_reconstruct_writes_hdf5_xyz_lammps_and_json_lines(small):
    result = read_reconstruction(small / "r.h5")
    assert (result.preset, result.iterations, result.converged) == ("paper", 2, False)
    assert result.settings["max_iterations"] == 2
    assert result.provenance["command"].startswith("prammol reconstruct d.h5")
    assert result.provenance["diffraction"]["flux"] == 1e20
    xyz = ase.io.read(small / "r.xyz")
    assert set(xyz.get_chemical_symbols()) == {"Al"}
    np.testing.assert_allclose(xyz.positions, result.atoms.positions, atol=1e-8)
    lammps = ase.io.read(small / "r.lammps", format="lammps-data", atom_style="atomic")
    np.testing.assert_allclose(lammps.positions, result.atoms.positions, atol=1e-8)
    lines = (small / "r.progress.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["iteration"] for r in records] == [0, 1, 2]
    assert records[-1]["atoms"] == len(result.atoms)
    for record in records:
        assert 10 < record["memory_mib"] <= record["memory_peak_mib"] < 10_000
    assert records[-1]["log_likelihood"] == pytest.approx(result.history[-1]["log_likelihood"])


def test_not_converged_is_exit_code_3_and_a_sentence(prammol, small, tmp_path):
    arguments = ["--preset", "paper", "--set", "max_iterations=0", "--seed", 4]
    (tmp_path / "new").mkdir()
    done = prammol(
        "reconstruct", small / "d.h5", "--support", small / "u.h5", "-o", "new/x.h5", *arguments
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("prammol: not converged (max_iterations)")
    assert HEADER in done.stderr
    assert "GB per rank" in done.stderr
    assert {p.name for p in (tmp_path / "new").iterdir()} == {
        "x.h5", "x.xyz", "x.lammps", "x.progress.jsonl",
    }  # fmt: skip
    assert read_reconstruction(tmp_path / "new" / "x.h5").seed == 4


def test_evaluate_writes_all_promised_keys(prammol, small, tmp_path):
    done = prammol(
        "evaluate",
        small / "r.h5",
        "--truth",
        small / "s.xyz",
        "--json",
        "m.json",
        "--atoms",
        "e.xyz",
    )
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "m.json").read_text())
    assert set(values) == METRICS
    assert values["n_true"] == 150
    assert values["n_atoms"] - values["n_extra"] == 150 - values["n_missing"]
    result, data = read_reconstruction(small / "r.h5"), read_diffraction(small / "d.h5")
    assert values["scale_ratio"] == pytest.approx(result.scale / data.meta["scale"])
    atoms = ase.io.read(tmp_path / "e.xyz")
    partner = atoms.arrays["truth_index"]
    assert (partner < 0).sum() == values["n_extra"]
    found, truth = partner >= 0, read_atoms(small / "s.xyz").positions
    distance = 100 * np.linalg.norm(atoms.positions[found] - truth[partner[found]], axis=1)
    np.testing.assert_allclose(distance, atoms.arrays["error_pm"][found], atol=1e-5)
    assert np.mean(distance) == pytest.approx(values["mae_pm"])


def test_evaluate_tells_atoms_that_hop_where_the_truth_moves(prammol, small, tmp_path):
    truth = read_atoms(small / "s.xyz")
    motion = np.full(len(truth), 0.01)
    motion[:3] = 0.5
    moving = Atoms(truth.positions, "Al", {"mean_square_displacement": motion})
    write_atoms(tmp_path / "mean.xyz", moving)
    done = prammol("evaluate", small / "r.h5", "--truth", "mean.xyz", "--json", "m.json")
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "m.json").read_text())
    more = {"n_hopping", "n_missing_staying", "resolution_staying_angstrom"}
    assert set(values) == METRICS | more
    assert values["n_hopping"] == 3
    assert values["n_missing"] - 3 <= values["n_missing_staying"] <= values["n_missing"]
    assert "3 true atoms" in done.stdout + done.stderr
    spheres = ScatteringAverage(truth.positions)
    spheres.add(truth.positions)
    write_mean_scattering(tmp_path / "s.npz", spheres.mean())
    known = ["evaluate", small / "r.h5", "--truth", "mean.xyz", "--scattering"]
    done = prammol(*known, "s.npz", "--json", "n.json")
    assert done.returncode == 0, done.stderr
    with_spheres = json.loads((tmp_path / "n.json").read_text())
    found = with_spheres.pop("resolution_of_scattering_angstrom")
    assert with_spheres == values
    # Here mean positions are all of the truth; shells end at 0.5 Å.
    assert found == pytest.approx(max(values["resolution_angstrom"], 0.5), rel=0.05)
    done = prammol(*known, "m.json", "--json", "o.json")
    assert done.returncode == 2
    assert re.search(r"m\.json.*expected the mean scattering", done.stderr)
    assert not (tmp_path / "o.json").exists()


def test_plot_draws_a_picture(prammol, small, tmp_path):
    for arguments in (["-o", "alone.png"], ["-o", "p.png", "--truth", small / "s.xyz"]):
        assert prammol("plot", small / "r.h5", *arguments).returncode == 0
        image = (tmp_path / arguments[1]).read_bytes()
        assert image.startswith(b"\x89PNG")
        assert len(image) > 10_000


def test_presets_prints_every_setting(prammol):
    done = prammol("presets", "--json")
    assert {k: set(v) for k, v in json.loads(done.stdout).items()} == {
        name: set(preset.settings()) for name, preset in PRESETS.items()
    }
    text = prammol("presets", "paper", "--expert").stdout
    for name in PRESETS["paper"].settings():
        assert f"  {name} = " in text
    users = prammol("presets", "paper").stdout
    assert "  patience = 100" in users
    assert "fit_positions.fraction" not in users


@pytest.mark.parametrize(
    ("arguments", "before", "after"),
    [
        (["reconstruct", "--threads", "3"], None, "3"),
        (["reconstruct", "--threads=3"], "7", "3"),
        (["reconstruct"], None, "1"),
        (["reconstruct"], "7", "7"),
        (["reconstruct", "--threads"], None, "1"),
    ],
)
def test_the_option_threads_sets_those_of_the_libraries(monkeypatch, arguments, before, after):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        if before is not None:
            monkeypatch.setenv(name, before)
    set_threads(arguments)
    assert {os.environ[name] for name in THREAD_VARIABLES} == {after}
    for name in THREAD_VARIABLES:  # monkeypatch restores only what it set
        monkeypatch.setenv(name, after)


def test_more_threads_than_cores_are_warned_of(capsys):
    warn_of_oversubscription(Communicator(), 1)
    assert capsys.readouterr().err == ""
    warn_of_oversubscription(Communicator(), 100_000)
    assert "1 ranks x 100000 threads" in capsys.readouterr().err


def test_public_names_exist_and_are_not_hidden_by_their_modules():
    import prammol.evaluation.metrics
    import prammol.simulation.counts  # noqa: F401

    for name in package.__all__:
        assert getattr(package, name) is not None
    for name in ("evaluate", "reconstruct", "simulate"):
        assert callable(getattr(package, name))
    with pytest.raises(AttributeError, match="attribute xyzzy"):
        _ = package.xyzzy
