"""Results say where they come from: every table its commit, every picture what draws it."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys

import pytest
from processes import ROOT

RUN = {"commit": "1234567", "date": "2026-01-31", "command": "python x.py"}


@pytest.fixture
def scripts(monkeypatch):
    """Make the scripts of benchmarks importable."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def copy(scripts, monkeypatch, tmp_path):
    """Return results_index, at work on a copy of all that it reads."""
    import provenance
    import results_index

    for name in ("docs/results", "docs/notebook/data", "docs/images", "benchmarks", "tests/slurm"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "workflow" / "rules", tmp_path / "workflow" / "rules")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for module in (provenance, results_index):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return results_index


@pytest.mark.usefixtures("scripts")
def test_every_table_has_its_origin_and_every_picture_a_maker():
    from results_index import problems

    assert problems() == []


@pytest.mark.usefixtures("scripts")
def test_the_index_is_up_to_date():
    from results_index import stale

    assert stale() == []


def test_a_table_without_its_origin_is_found(copy, tmp_path):
    assert copy.problems() == []
    table = tmp_path / "docs/results/growth.csv"
    rows = [row[:-3] for row in csv.reader(table.read_text(encoding="utf-8").splitlines())]
    table.write_text("".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    assert [p for p in copy.problems() if "growth.csv: the last columns" in p]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("commit", "yesterday's", "isn't a commit"), ("date", "May", "isn't a date")],
)
def test_an_origin_that_is_none_is_found(copy, tmp_path, column, value, words):
    from provenance import read_rows, write_rows

    table = tmp_path / "docs/results/growth.csv"
    rows = read_rows(table)
    rows[2][column] = value
    write_rows(table, rows, RUN)
    (problem,) = copy.problems()
    assert words in problem
    assert "growth.csv, row 4" in problem


def test_a_picture_that_nothing_makes_is_found(copy, tmp_path):
    (tmp_path / "docs/results/new.png").touch()
    (problem,) = copy.problems()
    assert problem.startswith("docs/results/new.png: not in results.toml")
    (tmp_path / "docs/results/new.png").unlink()
    (tmp_path / "benchmarks/growth.py").unlink()
    assert "docs/results/growth.png: benchmarks/growth.py doesn't exist" in copy.problems()


def test_a_new_table_has_to_be_explained_with_its_columns(copy, tmp_path):
    from provenance import write_rows

    write_rows(tmp_path / "docs/results/new.csv", [{"seed": 1}], RUN)
    (problem,) = copy.problems()
    assert problem.startswith("docs/results/new.csv: not in results.toml")
    write_rows(tmp_path / "docs/results/growth.csv", [{"what": "kernel", "colour": 1}], RUN)
    assert "docs/results/growth.csv: column colour is explained nowhere" in copy.problems()


def test_another_row_makes_the_index_stale(copy, tmp_path):
    from provenance import read_rows, write_rows

    assert copy.stale() == []
    table = tmp_path / "docs/results/growth.csv"
    write_rows(table, read_rows(table)[1:], RUN)
    assert copy.stale() == ["docs/results/index.md"]


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *name, "-C", folder, *words], check=True, capture_output=True)


@pytest.mark.usefixtures("scripts")
def test_a_commit_is_dirty_where_the_program_was_changed_not_its_tables(tmp_path):
    from provenance import commit

    (tmp_path / "prammol").mkdir()
    assert commit(tmp_path) == "unknown"
    git(tmp_path, "init")
    source, table = tmp_path / "prammol" / "a.py", tmp_path / "t.csv"
    source.touch()
    table.touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    clean = commit(tmp_path)
    assert len(clean) == 7
    table.write_text("x\n")
    assert commit(tmp_path) == clean
    source.write_text("x = 1\n")
    assert commit(tmp_path) == f"{clean}-dirty"
    assert commit(tmp_path / "prammol") == "unknown"  # a copy inside of a repository


@pytest.mark.usefixtures("scripts")
def test_a_command_tells_nothing_of_the_machine(tmp_path, monkeypatch):
    from provenance import command_line

    monkeypatch.chdir(tmp_path)
    script = str(ROOT / "benchmarks" / "growth.py")
    files = [f"flux/trial-{n:02d}" for n in range(1, 21)]
    words = ["--truth=/home/someone/my s.xyz", str(tmp_path / "t.csv"), "--kernel", "10", *files]
    assert command_line([script, *words], ranks=2) == (
        "mpiexec -n 2 python benchmarks/growth.py '--truth=my s.xyz' t.csv --kernel"
        " 10 ... flux/trial-20"
    )
    assert command_line(["/opt/elsewhere/x.py", str(ROOT / "docs")]) == "python x.py docs"


@pytest.mark.usefixtures("scripts")
def test_rows_keep_the_origin_they_have(tmp_path):
    from provenance import read_rows, write_rows

    now = {**RUN, "commit": "7654321"}
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    (old,) = read_rows(table)
    write_rows(table, [old, {"a": 2, **RUN}, {"a": 3}], now)
    assert [r["commit"] for r in read_rows(table)] == ["unknown", "1234567", "7654321"]


def test_the_pictures_are_drawn_from_the_tables_alone(tmp_path):
    script = ROOT / "benchmarks" / "results_pictures.py"
    subprocess.run([sys.executable, script, "-o", tmp_path], check=True)
    drawn = {p.name for p in tmp_path.iterdir()}
    expected = "flux", "temperature-2fs", "growth", "load", "paper-preset-convergence"
    assert drawn == {f"{name}.png" for name in expected}
