"""Progress: lines, JSON, a bar on a terminal."""

from __future__ import annotations

import io
import json

import numpy as np

from prammol.cli.progress import HEADER, Progress

RECORD = {
    "iteration": 3, "log_likelihood": -1.5e9, "atoms": 4679, "added": 12, "removed": 7,
    "selected": np.bool_(True), "scale": np.float64(1.892), "energy": -14e3,
    "energy_per_atom": -3.21, "seconds": 1.5, "stages": {"estimate": 0.5},
}  # fmt: skip


def test_progress_prints_a_line_and_writes_json(tmp_path):
    stream = io.StringIO()
    with Progress(tmp_path / "p.jsonl", stream=stream) as progress:
        progress.show(RECORD)
        # before the end: it can be watched
        assert json.loads((tmp_path / "p.jsonl").read_text())["atoms"] == 4679
    header, row = stream.getvalue().splitlines()
    assert header == HEADER
    assert row.split() == ["3", "-1.5e+09", "4679", "+12", "-7", "1.892", "-3.2100", "1.50"]
    assert len(row) == len(header)


def test_progress_draws_a_bar_on_a_terminal(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(None, stream=stream) as progress:
        progress.show(RECORD)
    assert "4679" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


def test_progress_of_other_ranks_is_silent(tmp_path):
    stream = io.StringIO()
    with Progress(tmp_path / "p.jsonl", active=False, stream=stream) as progress:
        progress.show(RECORD)
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []
