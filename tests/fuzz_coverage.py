"""Hostile files guided by coverage: ``python tests/fuzz_coverage.py`` (part of ``make fuzz``).

Atheris (libFuzzer) keeps the changed files that reach new lines of prammol and changes those
further. Which readers, and what counts as a finding, is said in ``tests/fuzzing.py``. Where
atheris can't be installed it says so and does nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

try:
    import atheris
except ImportError:
    print("fuzz_coverage: no atheris here, NOTHING was fuzzed by coverage", file=sys.stderr)
    sys.exit(0)

with atheris.instrument_imports(include=["prammol"]):
    import fuzzing


def main() -> None:
    """Fuzz until the inputs are used up; libFuzzer ends the process, with 77 at a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(fuzzing.TARGETS))
    parser.add_argument("--keep", default="fuzz-finding-", help="beginning of names of findings")
    parser.add_argument(
        "--folder", type=Path, help="for the corpus, which a later run goes on with"
    )
    options = parser.parse_args()
    names = options.only or list(fuzzing.TARGETS)
    folder = options.folder
    if folder is None:  # libFuzzer ends the process as it is: another one has to clean up
        with tempfile.TemporaryDirectory() as own:
            again = [sys.executable, *sys.argv, "--folder", own]
            sys.exit(subprocess.run(again, check=False).returncode)
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own:
        valid = fuzzing.examples(Path(own))
    for name in names:
        for number, data in enumerate(valid[name]):
            chosen = bytes([names.index(name)])  # the first byte chooses the reader
            (folder / "corpus" / f"{name}-{number}").write_bytes(chosen + data)

    def reader(data: bytes) -> str:
        return names[data[0] % len(names) if data else 0]

    def one(data: bytes) -> None:
        target = fuzzing.TARGETS[reader(data)]
        path = folder / f"input{target.suffix}"
        path.write_bytes(data[1:])
        fuzzing.attempt(target, path)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        """Half of the changes are those of tests/fuzzing.py, which know words and numbers."""
        if seed % 2:
            return atheris.Mutate(data, longest)
        rng = np.random.default_rng(seed)
        return (data[:1] + fuzzing.mutated(data[1:], valid[reader(data)], rng))[:longest]

    limits = ["-timeout=60", "-rss_limit_mb=4096", "-max_len=30000", f"-seed={options.seed}"]
    run = [f"-runs={options.inputs}", f"-artifact_prefix={options.keep}", "-print_final_stats=1"]
    corpus = str(folder / "corpus")
    atheris.Setup([sys.argv[0], *limits, *run, corpus], one, custom_mutator=change)
    warnings.simplefilter("error")  # a finding, too
    atheris.Fuzz()


if __name__ == "__main__":
    main()
