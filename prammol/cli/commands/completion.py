"""Print a script that completes verbs, options and files when Tab is pressed.

bash: prammol completion bash > ~/.local/share/bash-completion/completions/prammol
zsh:  prammol completion zsh > FOLDER/_prammol, a FOLDER of $fpath
"""

from __future__ import annotations

import argparse

EXAMPLES = """\
example:
  prammol completion bash
"""
# What the help calls files.
_FILES = ("FILE", "DIFFRACTION", "CRYSTAL", "RESULT", "FIRST", "SECOND")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose script")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from prammol.cli.main import build_parser, verb_parsers

    parser = build_parser()
    for action in parser._actions:
        action.help = None if action.help == argparse.SUPPRESS else action.help  # shtab skips it
    for action in (a for verb in verb_parsers(parser).values() for a in verb._actions):
        if takes_file(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0


def takes_file(action: argparse.Action) -> bool:
    """Tell whether an option or argument names a file."""
    return str(action.metavar).startswith(_FILES)
