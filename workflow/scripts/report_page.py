"""Have Snakemake write its report of what has run."""

import json
import subprocess
import sys
from pathlib import Path

from table_files import logged


def main(job) -> None:
    """Run `snakemake --report` with the configuration of this run."""
    config = Path("results/configuration.json")
    config.write_text(json.dumps(job.config, indent=2) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", job.params.snakefile]
    # This run holds the lock; the report only reads.
    command += ["--configfile", str(config), "--nolock", "--report", job.output[0]]
    command += ["--report-stylesheet", job.input.style, "--", "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    done.check_returncode()
    open_on_figures(Path(job.output[0]), Path(job.input.opening))


def open_on_figures(report: Path, opening: Path) -> None:
    """Add the script that shows figures and captions first to a report of Snakemake's."""
    head, end, tail = report.read_text(encoding="utf-8").rpartition("</body>")
    script = f"<script>{opening.read_text(encoding='utf-8')}</script>\n"
    report.write_text(head + script + end + tail, encoding="utf-8")


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
