"""Blocks and notebooks of the documentation run by themselves; ``prammol example`` feeds them."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
from processes import ROOT

import prammol as package
from prammol.phasing.support_agreement import agreement

FOLDERS = ("tutorials", "how-to", "reference", "explanation")
PAGES = [ROOT / "README.md", *(p for f in FOLDERS for p in sorted(ROOT.glob(f"docs/{f}/**/*.md")))]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
BLOCKS = [
    (f"{page.name}-{number}", text)
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    )
]


def cells(path):
    """The code cells of a notebook, as they are stored."""
    book = json.loads(path.read_text())
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def unbound(text):
    """Names that a piece of code uses and nothing in it makes."""
    tree = ast.parse(text)
    made = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id not in made}
    return sorted(used)


def test_a_name_that_is_missing_is_found():
    assert unbound("a = 1\nb = np.zeros(a)") == ["np"]
    assert unbound("import numpy as np\nb = [np.zeros(k) for k in range(3)]") == []


@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_a_block_needs_no_other(name, text):
    assert unbound(text) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs_and_needs_nothing_else(path):
    code = cells(path)
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert unbound("\n".join("".join(cell["source"]) for cell in code)) == []


def test_the_blocks_that_take_no_time_run(small, tmp_path, monkeypatch):
    for name in ("d.h5", "r.h5"):
        shutil.copy(small / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    pages = ("bad-data.md", "support.md")
    quick = [(name, text) for name, text in BLOCKS if name.startswith(pages)]
    assert len(quick) == 4
    for name, text in quick:
        exec(compile(text, name, "exec"), {})
    assert package.read_support("own.h5").inside.sum() == 729
    assert len(package.read_diffraction("masked.h5").patches) == 3


needs_xrayutilities = pytest.mark.skipif(
    importlib.util.find_spec("xrayutilities") is None, reason="xrayutilities isn't installed"
)


@needs_xrayutilities
def test_the_scans_of_the_tutorials(prammol_here, tmp_path):
    done = prammol_here("example", "scans")
    assert done.returncode == 0, done.stderr
    data = package.read_diffraction(tmp_path / "scans.cxi")
    truth = package.read_atoms(tmp_path / "s.xyz")
    spacing = 2 * np.pi / np.linalg.norm(data.peaks(), axis=1)
    np.testing.assert_allclose(spacing, 4.05 / 3**0.5, rtol=0.02)
    assert all(0.9 < valid.mean() < 0.97 for valid in data.valid)  # hot pixels and a gap
    support = package.support_from_file(tmp_path / "modes.cxi", data, patch=1)
    assert agreement(support, data) > 0.95
    # A cube of fcc has a quarter of its volume for each atom.
    assert 1 < support.volume / (len(truth) * 4.05**3 / 4) < 2.5
    again = prammol_here("example", "scans")
    assert again.returncode == 2
    assert "s.xyz: exists already" in again.stderr
    assert "nowhere" in prammol_here("example", "scans", "nowhere").stderr


def test_the_instrument_is_the_one_that_simulate_reads(prammol_here, tmp_path):
    from prammol.io import read_instrument

    assert prammol_here("example", "instrument").returncode == 0
    assert read_instrument(tmp_path / "instrument.yaml").beam.flux == 1e18


@needs_xrayutilities
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_finds_every_atom(path, monkeypatch, capsys):
    """In this process; ``make docs`` runs them in Jupyter's."""
    import os

    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names: dict[str, object] = {}
    before = os.getcwd()
    try:
        for cell in cells(path):
            exec(compile("".join(cell["source"]), path.name, "exec"), names)
    finally:
        os.chdir(before)
    printed = capsys.readouterr().out
    assert "0 missing, 0 extra" in printed
    assert "converged: True" in printed
