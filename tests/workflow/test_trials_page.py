"""The page of all trials: which have failed, where, and why."""

from __future__ import annotations

import pytest
from processes import ROOT

TRIALS = [f"results/flux/1e18/trial-{n:02d}" for n in range(1, 6)]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "workflow" / "scripts")
    import trials_page

    return trials_page


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_a_trial_fails_at_the_first_file_that_is_not_there(page, tmp_path):
    trial = tmp_path / TRIALS[0]
    put(trial, "diffraction.h5", "support.h5", "metrics.json")
    log = tmp_path / "results/logs/flux/1e18/trial-01/reconstruct.log"
    put(log.parent, "support.log", "reconstruct.log")
    log.write_text("one\ntwo\n\nthree\nfour\n")
    failure = page.failure_of(str(trial))
    assert (failure.step, failure.checkpoint, failure.log) == ("reconstruct", None, str(log))
    assert "one" not in failure.text
    assert failure.text.endswith("three\nfour")
    # metrics.json is of an earlier reconstruction: it doesn't count.
    assert not page.is_done(str(trial))


def test_trials_are_sorted_into_failed_and_not_begun(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / TRIALS[1], "diffraction.h5")
    put(tmp_path / "results/logs/flux/1e18/trial-02", "support.log")
    page.write("trials.html", TRIALS)
    text = (tmp_path / "trials.html").read_text(encoding="utf-8")
    assert "0 trials, 1 without a result, 4 not begun" in text
    assert f"<td>{TRIALS[1]}</td><td>support</td>" in text
    assert TRIALS[2] not in text


def test_logs_are_not_read_as_html(page):
    failure = page.Failure(TRIALS[0], "support", 3, "a.log", "<script>alert(1)</script>")
    text = page.page([], [failure])
    assert "&lt;script&gt;alert(1)" in text
    assert "continues after iteration 3" in text
