"""The main job from end to end, by the commands a person would type: ``make demo``.

``python -m prammol.cli.demo FOLDER`` simulates the paper's vacancy crystal at 1e20
photons/um^2, reconstructs it, and leaves ``reconstruction.h5``, ``atoms.xyz``,
``demo.png`` and ``metrics.json`` in the folder. Earlier ones are replaced.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prammol.__main__ import set_threads

COMMANDS = """\
crystal vacancy -o {0}/truth.xyz
simulate {0}/truth.xyz --flux 1e20 --seed 1 -o {0}/diffraction.h5
support {0}/diffraction.h5 --from-truth {0}/truth.xyz --resolution 5 -o {0}/support.h5
reconstruct {0}/diffraction.h5 --support {0}/support.h5 --seed 1 -o {0}/reconstruction.h5
evaluate {0}/reconstruction.h5 --truth {0}/truth.xyz --json {0}/metrics.json --atoms {0}/atoms.xyz
plot {0}/reconstruction.h5 --truth {0}/truth.xyz -o {0}/demo.png
"""
NOT_CONVERGED = 3


def main(arguments: list[str]) -> int:
    """Run the commands one after the other; return the exit code of the first that fails.

    Parameters
    ----------
    arguments : list of str
        The folder, and options to add to the reconstruction (``--preset``, ``--set``,
        ``--threads``).
    """
    set_threads(arguments)
    from prammol.cli.main import run

    folder, *extra = arguments or ["results/demo"]
    worst = 0
    for command in COMMANDS.splitlines():
        words = [w.format(folder) for w in command.split()]
        if words[0] == "reconstruct":
            words += extra
        sys.argv = ["prammol", *words]  # what the files say they were made by
        print("\n$ prammol " + " ".join(words), flush=True)
        code = run([*words, "--force"])
        if code not in (0, NOT_CONVERGED):
            return code
        worst = max(worst, code)
    print("\nresults:")
    for name in ("reconstruction.h5", "atoms.xyz", "demo.png", "metrics.json"):
        print(f"  {Path(folder) / name}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
