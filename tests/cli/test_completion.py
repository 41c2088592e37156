"""What Tab writes, asked of a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from processes import run

from prammol.cli.main import VERBS


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script for bash."""
    import sys

    path = tmp_path_factory.mktemp("completion") / "prammol.bash"
    done = run([sys.executable, "-m", "prammol", "completion", "bash"])
    assert done.returncode == 0, done.stderr
    path.write_text(done.stdout)
    return path


@pytest.fixture
def completed(script, tmp_path):
    """``completed(words...)``: what bash offers for the last word."""
    bash = shutil.which("bash")
    assert bash is not None
    for name in ("data.h5", "data.xyz"):
        (tmp_path / name).touch()

    def call(*words):
        listed = " ".join(f"'{w}'" for w in words)
        text = f"""
source {script}
COMP_WORDS=(prammol {listed}); COMP_CWORD={len(words)}
spec=$(complete -p prammol)
name=$(sed -E 's/.*-F ([^ ]+).*/\\1/' <<< "$spec")
$name prammol '{words[-1]}' '{words[-2] if len(words) > 1 else "prammol"}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        done = subprocess.run(
            [bash, "--norc", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return {word.strip() for word in done.stdout.splitlines()} - {""}

    return call


def test_verbs_options_choices_and_files(completed):
    assert completed("") >= set(VERBS)
    assert completed("rec") == {"reconstruct"}
    assert {"--support", "--seed", "--preset"} <= completed("reconstruct", "--")
    assert completed("simulate", "--form-factor", "") == {"q", "constant"}
    assert completed("reconstruct", "--structure", "da") == {"data.h5", "data.xyz"}
    assert completed("reconstruct", "--support", "da") == {"data.h5", "data.xyz"}
    assert completed("plot", "data.") == {"data.h5", "data.xyz"}
