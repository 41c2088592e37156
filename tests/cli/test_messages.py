"""How much is said, and the log."""

from __future__ import annotations

import argparse
import re

import pytest

from prammol.cli import messages
from prammol.core.errors import InputError

CRYSTAL = ["crystal", "bulk", "--atoms", "50", "--no-relax", "-o"]


def speak():
    messages.result("a table")
    messages.say("a line")
    messages.detail("a detail")
    messages.note("worth knowing")
    messages.warn("careful")


def said(**options):
    return messages.said(argparse.Namespace(**options), "prammol x")


def test_quiet_normal_and_verbose(capsys):
    speak()
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "a table\n",
        ["a line", "prammol: note: worth knowing", "prammol: warning: careful"],
    )
    with said(quiet=True):
        speak()
        with said():  # of a step: as around it
            speak()
    assert capsys.readouterr() == ("", "prammol: warning: careful\n" * 2)
    with said(verbose=True):
        speak()
    assert "a line\na detail\n" in capsys.readouterr().err
    messages.detail("again")
    assert capsys.readouterr().err == ""


def test_the_log_has_everything_with_the_time(prammol_here, tmp_path):
    for name in ("s.xyz", "t.xyz"):
        assert prammol_here(*CRYSTAL, name, "-q", "--log", "a.log").returncode == 0
    assert prammol_here(*CRYSTAL, "s.xyz", "--log", "a.log").returncode == 2
    lines = (tmp_path / "a.log").read_text().splitlines()
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ")
    assert all(stamp.match(line) for line in lines)
    texts = [stamp.sub("", line) for line in lines]
    assert "prammol crystal bulk --atoms 50" in texts[0]
    assert texts[1] == "s.xyz: 50 Al atoms"
    assert texts[3] == "t.xyz: 50 Al atoms"
    assert texts[5] == "error: s.xyz: exists already, give another name or --force to replace it"


def test_a_bug_is_in_the_log_with_its_traceback(tmp_path):
    def broken():
        with said(log=str(tmp_path / "a.log")):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    text = (tmp_path / "a.log").read_text()
    assert "bug: Traceback" in text
    assert "bug: ZeroDivisionError" in text


def test_nothing_but_a_log_is_appended_to(prammol_here, tmp_path):
    (tmp_path / "notes.txt").write_text("precious\n")
    for name, text in (
        ("notes.txt", "notes.txt: isn't a log of prammol"),
        ("r.h5", "r.h5: expected a name that ends with .log"),
        ("nowhere/a.log", "nowhere/a.log: can't be written (No such file or directory)"),
    ):
        done = prammol_here(*CRYSTAL, "s.xyz", "--log", name)
        assert done.returncode == 2
        assert text in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "precious\n"


def test_a_log_that_can_no_longer_be_written_is_given_up(capsys):
    with said(log="/dev/full"):
        messages.say("one")
        messages.say("two")
    err = capsys.readouterr().err
    assert "/dev/full: can't be written (No space left on device), the log ends here" in err
    assert err.count("the log ends here") == 1
    assert err.endswith("two\n")


def test_a_log_that_was_written_to_by_another_rank_only_is_checked(tmp_path):
    options = argparse.Namespace(log=str(tmp_path / "no" / "a.log"))
    with pytest.raises(InputError), messages.said(options, "x", active=False):
        pass
