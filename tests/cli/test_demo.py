"""The verb that runs all others."""

import json
import sys

import pytest
from processes import run as start

from prammol.cli.main import run


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(["demo", str(tmp_path / "file" / "demo")]) == 2
    assert "file/demo" in capsys.readouterr().err
    assert run(["demo", str(tmp_path / "nowhere" / "demo")]) == 2
    assert "nowhere/demo: can't be written" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_the_demo_finds_every_atom_of_the_vacancy_crystal(tmp_path):
    done = start([sys.executable, "-m", "prammol", "demo", "demo"], timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean error" in done.stdout
    found = json.loads((tmp_path / "demo/metrics.json").read_text())
    assert (found["n_atoms"], found["n_missing"], found["n_extra"]) == (4679, 0, 0)
    for name in ("reconstruction.h5", "atoms.xyz", "demo.png"):
        assert (tmp_path / "demo" / name).exists()
