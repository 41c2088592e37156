"""Hostile files guided by coverage: ``python tests/fuzz_coverage.py`` (part of ``make fuzz``).

Atheris (libFuzzer) keeps the changed files that reach new lines of prammol and changes those
further. Which readers, and what counts as a finding, is said in ``tests/fuzzing.py``. Where
atheris can't be installed it says so and does nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

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
    options = parser.parse_args()
    names = options.only or list(fuzzing.TARGETS)
    folder = Path(tempfile.mkdtemp())
    (folder / "examples").mkdir()
    (folder / "corpus").mkdir()
    for name, files in fuzzing.examples(folder / "examples").items():
        if name in names:
            for number, data in enumerate(files):
                chosen = bytes([names.index(name)])  # the first byte chooses the reader
                (folder / "corpus" / f"{name}-{number}").write_bytes(chosen + data)

    def one(data: bytes) -> None:
        target = fuzzing.TARGETS[names[data[0] % len(names) if data else 0]]
        path = folder / f"input{target.suffix}"
        path.write_bytes(data[1:])
        fuzzing.attempt(target, path)

    limits = ["-timeout=60", "-rss_limit_mb=4096", "-max_len=30000", f"-seed={options.seed}"]
    run = [f"-runs={options.inputs}", f"-artifact_prefix={options.keep}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *run, str(folder / "corpus")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
