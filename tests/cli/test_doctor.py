"""The installation as doctor sees it."""

from __future__ import annotations

from prammol.cli import doctor_checks as doctor
from prammol.cli.commands import doctor as doctor_verb


def test_doctor_finds_this_installation_well(prammol):
    done = prammol("doctor")
    assert done.returncode == 0, done.stdout
    assert "BAD" not in done.stdout
    assert "-3.3600 eV" in done.stdout


def test_doctor_says_what_is_wrong(monkeypatch, capsys):
    def broken():
        msg = "no such library"
        raise OSError(msg)

    monkeypatch.setattr(doctor, "_mpiexec", broken)
    monkeypatch.setattr(doctor, "POTENTIAL_SHA1", "0")
    assert doctor_verb.run(None) == 1
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines() if line.startswith("BAD")] == [
        "mpiexec",
        "potential",
    ]
    assert "OSError: no such library" in out
    assert err.startswith("prammol: something is wrong with mpiexec, potential")
