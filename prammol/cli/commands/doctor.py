"""Check that this installation works: versions, MPI, LAMMPS, the potential, the transforms.

Exits with 1 and a sentence if something is wrong."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """\
example:
  prammol doctor
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb: none."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Run all checks, print them."""
    del options
    from prammol.cli.doctor_checks import examine

    findings = examine()
    width = max(len(f.name) for f in findings)
    for finding in findings:
        mark = "ok " if finding.ok else "BAD"
        print(f"{mark}  {finding.name:<{width}}  {finding.text}")
    bad = [f for f in findings if not f.ok]
    if bad:
        names = ", ".join(f.name for f in bad)
        print(f"prammol: something is wrong with {names}, see above", file=sys.stderr)
        return 1
    return 0
