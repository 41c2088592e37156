"""Progress: lines, JSON, a bar on a terminal."""

from __future__ import annotations

import argparse
import io
import json

import numpy as np

from prammol.cli import messages
from prammol.cli.progress import HEADER, Progress, line

RECORD = {
    "iteration": 3, "log_likelihood": -1.5e9, "atoms": 4679, "added": 12, "removed": 7,
    "selected": np.bool_(True), "scale": np.float64(1.892), "energy": -14e3,
    "energy_per_atom": -3.21, "seconds": 1.5, "stages": {"estimate": 0.5}, "excess": 12.34,
}  # fmt: skip


def test_progress_prints_a_line_and_writes_json(tmp_path):
    stream = io.StringIO()
    with Progress(tmp_path / "p.jsonl", stream=stream) as progress:
        progress.show(RECORD)
        # before the end: it can be watched
        assert json.loads((tmp_path / "p.jsonl").read_text())["atoms"] == 4679
    header, row = stream.getvalue().splitlines()
    assert header == HEADER
    assert row.split() == [
        "3",
        "-1.5e+09",
        "12.3",
        "σ",
        "4679",
        "+12",
        "-7",
        "1.892",
        "-3.2100",
        "1.50",
    ]
    assert len(row) == len(header)


def test_a_preset_without_a_verdict_has_no_misfit():
    row = line({k: v for k, v in RECORD.items() if k != "excess"})
    assert row.split()[2] == "-"
    assert len(row) == len(HEADER)


def stages_of_a_start(progress):
    for k, name in enumerate(("phase_patches", "choose_sites"), start=1):
        progress.entered(name, k, 2)


def test_the_stages_of_a_start_are_lines_those_of_an_iteration_details(tmp_path):
    stream = io.StringIO()
    with Progress(None, stream=stream) as progress:
        stages_of_a_start(progress)
        stages_of_a_start(progress)  # the first wasn't good
        progress.show(RECORD)
        stages_of_a_start(progress)
    assert stream.getvalue().splitlines()[1:-1] == [
        "start: phase patches, stage 1 of 2",
        "start: choose sites, stage 2 of 2",
        "start 2: phase patches, stage 1 of 2",
        "start 2: choose sites, stage 2 of 2",
    ]
    stream = io.StringIO()
    verbose = messages.said(argparse.Namespace(verbose=True), "x")
    with verbose, Progress(None, stream=stream) as progress:
        progress.show(RECORD)
        progress.entered("anneal", 1, 5)
    assert stream.getvalue().splitlines()[-2:] == [
        "stages: estimate 0.5 s; 0 MiB",
        "iteration 4: anneal, stage 1 of 5",
    ]


def test_progress_draws_a_bar_of_the_stages_on_a_terminal(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(None, stream=stream) as progress:
        stages_of_a_start(progress)
        progress.show(RECORD)
        messages.warn("careful")  # above the bar
    text = stream.getvalue()
    assert "4679" in text
    assert "prammol: warning: careful" in text
    assert "\x1b[" in text
    assert "start: choose sites, stage 2 of 2" in text
    assert "━" in text


def test_progress_of_other_ranks_is_silent(tmp_path):
    stream = io.StringIO()
    with Progress(tmp_path / "p.jsonl", active=False, stream=stream) as progress:
        progress.entered("anneal", 1, 5)
        progress.show(RECORD)
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []
