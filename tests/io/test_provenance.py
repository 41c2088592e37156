"""What a run writes tells nothing of the person and the machine that provenance doesn't need."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.resources import files

import h5py
import numpy as np
import pytest
from forking import prammol_in
from PIL import Image

from prammol.core.errors import InputError
from prammol.io.provenance import provenance, recorded
from prammol.potentials.potential import aluminium

SECRET = "planted-c0ffee-5ecret"

COMMANDS = """
crystal bulk --atoms 150 --seed 5 --no-relax -o s.xyz
simulate {home}/s.xyz --flux 1e20 --points 16 --seed 1 -o d.h5
support d.h5 --from-truth s.xyz --resolution 5 -o u.h5
reconstruct d.h5 --support u.h5 --preset paper --set max_iterations=1 --trajectory t.xyz
 --potential {home}/my.eam.alloy -o r.h5
evaluate r.h5 --truth s.xyz --json m.json --atoms e.xyz
plot r.h5 -o p.png
plot r.h5 -o p.svg
plot r.h5 -o p.pdf
"""


def texts(path):
    """All bytes of a file, and the texts that may be packed in it."""
    yield path.read_bytes().decode("latin-1")
    if path.suffix == ".png":
        with Image.open(path) as picture:
            yield str(picture.info)
    if path.suffix == ".h5":
        found = []

        def visit(name, thing):
            found.append(str(dict(thing.attrs)))
            if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "OS":
                found.append(str(thing[()]))

        with h5py.File(path) as file:
            visit("/", file)
            file.visititems(visit)
        yield from found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder in which a person called ann-secretive ran all commands."""
    home = tmp_path_factory.mktemp("home") / "ann-secretive"
    work = tmp_path_factory.mktemp("work")
    home.mkdir()
    environment = {
        "HOME": str(home), "USER": "ann-secretive", "LOGNAME": "ann-secretive",
        "HOSTNAME": SECRET, "PRAMMOL_TOKEN": SECRET,
    }  # fmt: skip
    shipped = files("prammol") / "data/Al99.eam.alloy"
    (home / "my.eam.alloy").write_bytes(shipped.read_bytes())
    for line in COMMANDS.replace("\n ", " ").split("\n"):
        words = shlex.split(line.format(home=home))
        if not words:
            continue
        done = prammol_in(work, *words, **environment)
        (work / f"{words[0]}.log").write_text(done.stdout + done.stderr)
        assert done.returncode in (0, 3), done.stderr
        if words[0] == "crystal":
            (home / "s.xyz").write_bytes((work / "s.xyz").read_bytes())
    return work


def test_no_secret_and_no_path_of_the_machine_in_what_a_run_writes(written):
    work = written
    paths = [p for p in work.rglob("*") if p.is_file()]
    assert {p.suffix for p in paths} > {".h5", ".xyz", ".lammps", ".jsonl", ".json", ".png"}
    told = [str(work), SECRET, "ann-secretive", sys.prefix, os.getcwd()]
    node = os.uname().nodename
    for path in paths:
        for text in texts(path):
            assert not [word for word in told if word in text], path
            if len(node) > 5:  # shorter ones turn up in packed numbers
                assert node not in text, path


def test_the_command_in_a_file_has_a_tilde_for_the_home_directory(written):
    with h5py.File(written / "d.h5") as file:
        command = file["entry_1/process_1/command"][()].decode()
    assert command.startswith("prammol simulate ~/s.xyz --flux 1e20 ")


def test_recorded_commands_can_be_given_to_a_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    words = ["/home/ann/my data", "/home/anna/x", "--a=/home/ann/p", "* /home/ann/x Al", "", "~"]
    command = recorded("prammol", [*words, "/home/ann", "/data/home/ann"])
    assert command == (
        "prammol ~/'my data' /home/anna/x '--a=~/p' '* ~/x Al' '' '~' ~ /data/home/ann"
    )
    shell = ["bash", "-c", command.replace("prammol", "printf '%s\\n'")]
    lines = subprocess.check_output(shell, text=True).split("\n")
    assert lines[:2] == words[:2]


def test_without_a_home_the_command_stays(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert recorded("prammol", ["/a/b", "c d"]) == "prammol /a/b 'c d'"


def test_provenance_has_no_kernel_and_no_machine():
    kernel, node = os.uname().release, os.uname().nodename
    assert kernel not in str(provenance("x"))
    assert not re.search(rf"\b{re.escape(node)}\b", str(provenance("x")))


def test_provenance_names_potential_and_versions():
    potential = aluminium()
    p = provenance("prammol simulate", {"noise": 4}, potential)
    assert p["command"] == "prammol simulate"
    assert p["seeds"] == {"noise": 4}
    assert p["packages"]["numpy"] == np.__version__
    assert p["potential"]["sha1"] == hashlib.sha1(potential.file.read_bytes()).hexdigest()
    assert p["potential"]["file"] == potential.file.name
    json.dumps(p)
    with pytest.raises(InputError, match="can't be read"):
        provenance(potential=potential.file.with_name("nothing"))
