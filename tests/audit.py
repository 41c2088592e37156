"""Look the installed packages up among the known vulnerabilities: a part of ``make check``.

pip-audit asks a database online. Without one it either fails or calls every package unknown
and the result good, so this says in one line what was looked up, and LEFT OUT for nothing.
Only a vulnerability that a newer version mends is an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 60  # a network that drops everything would hold the check up for many minutes


def left_out(why: str) -> int:
    """Say that nothing was looked up; no error."""
    print(f"audit: LEFT OUT, {why}", file=sys.stderr)
    return 0


def judged(packages: list[dict]) -> int:
    """Print what a list of packages of pip-audit says; return 1 for what can be mended."""
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return left_out("the database of vulnerabilities knows none of the packages here")
    mended = 0
    for package in known:
        for hole in package["vulns"]:
            name = f"{package['name']} {package['version']}: {hole['id']}"
            newer = ", ".join(hole["fix_versions"])
            print(f"audit: {name}, " + (f"mended in {newer}" if newer else "not mended yet"))
            mended += bool(newer)
    print(f"audit: {len(known)} packages looked up, {len(packages) - len(known)} not known")
    return int(mended > 0)


def main() -> int:
    """Audit what is installed beside this Python, pip itself excepted."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    freeze = [*pip, "freeze", "--exclude-editable"]
    installed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    lines = [line for line in installed.splitlines() if "==" in line]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "packages.txt"
        listed.write_text("\n".join(lines))
        ask = [sys.executable, "-m", "pip_audit", "--requirement", str(listed), "--no-deps"]
        ask += ["--disable-pip", "--format", "json", "--timeout", "5", "--progress-spinner", "off"]
        try:
            done = subprocess.run(ask, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return left_out(f"no answer from the database of vulnerabilities in {SECONDS} s")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        why = (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1]
        return left_out(f"the database of vulnerabilities can't be reached ({why[:100]})")
    return judged(packages)


if __name__ == "__main__":
    sys.exit(main())
