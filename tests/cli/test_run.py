"""A run in one file: what is refused, what runs, what is left out when it is resumed."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib

import pytest
import yaml

from prammol.cli.main import build_parser, parsed
from prammol.cli.run_file import READS, actions_of, read_run
from prammol.core.errors import InputError
from prammol.io import read_reconstruction

WHOLE = """\
reconstruct:
  diffraction: d.h5
  support: u.h5
  output: r.h5
  preset: paper
  seed: 4
  set: {max_iterations: 0}
evaluate: {result: r.h5, truth: s.xyz, json: m.json}
support: {diffraction: d.h5, from-truth: s.xyz, resolution: 5, output: u.h5}
simulate: {crystal: s.xyz, flux: 1e20, points: 16, seed: 1, output: d.h5}
crystal: {kind: bulk, atoms: 150, seed: 5, no-relax: true, output: s.xyz}
"""


@pytest.fixture
def read(tmp_path):
    """``read(text)``: the steps of a file with this text."""

    def call(text, name="run.yaml"):
        (tmp_path / name).write_text(text)
        return read_run(tmp_path / name)

    return call


def test_a_file_stands_for_command_lines(read):
    text = """
reconstruct:
  diffraction: d.h5
  support: u.h5
  output: r.h5
  set: {significance: 4, max_iterations: 3}
  pixel-box: [1, 1, 0.5]
  offset-uncertainty: 1e-3
  mask-flaws: true
simulate:
  {crystal: s.xyz, flux: 1e18, peak: [[-1, 1, 1], [1, -1, 1]], background: 2.5, output: d.h5}
"""
    by_hand = [
        "simulate s.xyz --flux 1e18 --peak=-1,1,1 --peak=1,-1,1 --background 2.5 -o d.h5",
        "reconstruct d.h5 --support u.h5 -o r.h5 --set significance=4 "
        "--set max_iterations=3 "
        "--pixel-box 1,1,0.5 --offset-uncertainty 0.001 --mask-flaws",
    ]

    assert [step.options for step in read(text)] == [parsed(shlex.split(c)) for c in by_hand]


def test_toml_says_the_same(read):
    toml = """
[reconstruct]
diffraction = "d.h5"
support = "u.h5"
output = "r.h5"
set = {significance = 4}
blur = [0.5, 0.5, 0.3]
"""
    yaml_text = """
reconstruct: {diffraction: d.h5, support: u.h5, output: r.h5, set: {significance: 4},
  blur: [0.5, 0.5, 0.3]}
"""
    assert read(toml, "run.toml") == read(yaml_text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected sections such as reconstruct"),
        ("- 1", "expected sections such as reconstruct"),
        ("reconstrct: {}", "there is no section 'reconstrct', did you mean 'reconstruct'?"),
        ("reconstruct: d.h5", "reconstruct: is 'd.h5', expected keys with values"),
        ("reconstruct: {suport: u.h5}", "reconstruct: there is no key 'suport', did you mean "
         "'support'?"),
        ("reconstruct: {pixel_box: 1}", "did you mean 'pixel-box'?"),
        ("reconstruct: {diffraction: d.h5}", "reconstruct: output is missing, expected HDF5"),
        (
            "reconstruct: {diffraction: d.h5, output: r.h5}",
            "reconstruct: --support is missing, expected the file that says where atoms may be",
        ),
        ("reconstruct: {seed: -1}", "reconstruct: seed: '-1' isn't a whole number"),
        ("reconstruct: {seed: 1.5}", "reconstruct: seed: '1.5' isn't a whole number"),
        ("reconstruct: {seed: [1, 2]}", "reconstruct: seed: '1,2' isn't a whole number"),
        ("reconstruct: {seed: true}", "reconstruct: seed: is True, expected a text, a number"),
        ("reconstruct: {seed: }", "reconstruct: seed: is None, expected"),
        ("reconstruct: {mask-flaws: 1}", "mask-flaws: is 1, expected true or false"),
        ("reconstruct: {output: r.xyz}", "output: 'r.xyz' ends with .xyz, but HDF5 is written"),
        ("reconstruct: {set: [1]}", "set: is [1], expected settings with values"),
        ("reconstruct: {structure: sc}", "structure: 'sc' is neither a file nor one of fcc, bcc"),
        ("reconstruct: {seed: 1, seed: 2}", "key 'seed' is there twice"),
        ("support: {diffraction: d.h5, output: u.h5}", "support: one of the arguments"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_file_section_and_key(read, text, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        read(text)
    assert "run.yaml: " in str(caught.value)


def test_a_wrong_setting_is_refused(read):
    start = "reconstruct: {diffraction: d.h5, support: u.h5, output: r.h5, "
    with pytest.raises(InputError, match=r"run\.yaml: reconstruct: .*did you mean 'significance'"):
        read(start + "set: {signifcance: 4}}")
    with pytest.raises(InputError, match=r"run\.yaml: reconstruct: there is no preset 'papr'"):
        read(start + "preset: papr}")


def test_the_keys_are_exactly_the_options():
    for verb in READS:
        (own,) = (
            a.choices[verb] for a in build_parser(verb)._actions if isinstance(a.choices, dict)
        )
        long = {o[2:] for a in own._actions for o in a.option_strings if o.startswith("--")}
        arguments = {a.dest for a in own._actions if not a.option_strings}
        assert set(actions_of(verb)) == (long | arguments) - {"help"}


@pytest.mark.parametrize("name", ["run.yaml", "run.toml"])
def test_init_writes_every_option_and_a_file_that_can_be_read(prammol_here, tmp_path, name):
    done = prammol_here("init", name, *READS)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / name).read_text()
    values = tomllib.loads(text) if name.endswith("toml") else yaml.safe_load(text)
    assert list(values) == list(READS)
    assert [step.verb for step in read_run(tmp_path / name)] == list(READS)
    heads = re.split(r"^\[?(\w+)(?:\]|:)$", text, flags=re.MULTILINE)
    for verb, section in zip(heads[1::2], heads[2::2], strict=True):
        keys = set(re.findall(r"^ *(?:# )?([a-z-]+)(?::| =) ", section, flags=re.MULTILINE))
        left_out = {"force", "resume", "verbose", "quiet", "log"}
        assert set(actions_of(verb)) - left_out <= keys
        told = [a for key, a in actions_of(verb).items() if key not in left_out]
        for action in told:  # what it is, in the words of --help
            assert action.help.partition(" ")[0].partition("%")[0] in section
    done = prammol_here("init", name)
    assert done.returncode == 2
    assert "exists already" in done.stderr


def test_init_refuses_what_is_no_run(prammol_here):
    done = prammol_here("init", "run.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "run.json: expected a name that ends with .yaml or .toml" in done.stderr
    done = prammol_here("init", "run.yaml", "reconstrct")
    assert done.returncode == 2
    assert "'reconstrct' has no section in a run, expected crystal" in done.stderr


def test_a_run_of_all_steps_in_a_folder_of_its_own(prammol_here, tmp_path):
    """Steps run in their order, in the folder of the file; the whole can be resumed."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "run.yaml").write_text(WHOLE)
    before = os.getcwd()
    done = prammol_here("run", "own/run.yaml")
    assert done.returncode == 3, done.stderr
    assert os.getcwd() == str(tmp_path) or os.getcwd() == before
    assert {p.name for p in tmp_path.iterdir()} == {"own"}
    assert json.loads((folder / "m.json").read_text())["n_true"] == 150
    result = read_reconstruction(folder / "r.h5")
    assert (result.preset, result.seed, result.settings["max_iterations"]) == ("paper", 4, 0)
    assert result.provenance["command"].startswith("prammol reconstruct d.h5 --support=u.h5")
    order = re.findall(r"^\$ prammol (\w+)", done.stderr, flags=re.MULTILINE)
    assert order == ["crystal", "simulate", "support", "reconstruct", "evaluate"]

    made = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    done = prammol_here("run", "own/run.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "prammol: s.xyz: exists already, give another name or --force to replace it\n"
    )
    assert prammol_here("run", "own/run.yaml", "--resume").returncode == 3
    (folder / "m.json").unlink()
    done = prammol_here("run", "own/run.yaml", "--resume", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    kept = {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != "m.json"}
    assert kept == {p: t for p, t in made.items() if p.name != "m.json"}

    later = made[folder / "d.h5"] + 10**9
    os.utime(folder / "s.xyz", ns=(later, later))
    done = prammol_here("run", "own/run.yaml", "--resume")
    assert done.returncode == 2
    assert "d.h5: s.xyz was changed since it was made" in done.stderr


def test_files_of_all_steps_are_checked_before_the_first(prammol_here, tmp_path):
    (tmp_path / "run.yaml").write_text(WHOLE)
    (tmp_path / "m.json").write_text("precious")
    done = prammol_here("run", "run.yaml")
    assert done.returncode == 2
    assert "m.json: exists already" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"run.yaml", "m.json"}
    text = WHOLE.replace("truth: s.xyz", "truth: nowhere.xyz").replace("m.json", "x/m.json")
    (tmp_path / "run.yaml").write_text(text)
    assert "nowhere.xyz: no such file" in prammol_here("run", "run.yaml").stderr
    text = WHOLE.replace("m.json", "x/m.json")
    (tmp_path / "run.yaml").write_text(text)
    assert "its directory x doesn't exist" in prammol_here("run", "run.yaml").stderr
    assert {p.name for p in tmp_path.iterdir()} == {"run.yaml", "m.json"}


def test_a_step_that_fails_ends_the_run(prammol_here, tmp_path):
    text = WHOLE.replace("flux: 1e20", "flux: 1e3")  # not one photon
    (tmp_path / "run.yaml").write_text(text)
    done = prammol_here("run", "run.yaml")
    assert done.returncode == 2
    assert "not one photon" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"run.yaml", "s.xyz"}


@pytest.mark.mpi
def test_a_run_on_two_ranks(parallel, small, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"support: {{diffraction: {small}/d.h5, from-truth: {small}/s.xyz, output: u.h5}}\n"
        f"reconstruct: {{diffraction: {small}/d.h5, support: u.h5, output: r.h5, preset: paper, "
        "set: {max_iterations: 0}}\n"
    )
    done = parallel(2, "-m", "prammol", "run", "run.yaml")
    assert done.returncode == 3, done.stderr
    assert read_reconstruction(tmp_path / "r.h5").ranks == 2
    (tmp_path / "run.yaml").write_text("reconstruct: {sead: 1}")
    done = parallel(2, "-m", "prammol", "run", "run.yaml")
    assert done.returncode == 2
    assert done.stderr.count("did you mean 'seed'") == 1
