"""Print the presets: their stages in the order they run, and every setting with its unit.

Any setting can be changed for one run: prammol reconstruct ... --set KEY=VALUE"""

from __future__ import annotations

import argparse
import json
import textwrap

EXAMPLES = """\
examples:
  prammol presets
  prammol presets paper
  prammol presets --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this preset")
    parser.add_argument("--json", action="store_true", help="names and values as JSON")


def run(options: argparse.Namespace) -> int:
    """Print them."""
    from prammol.reconstruction.presets import PRESETS, get_preset

    chosen = [get_preset(options.name)] if options.name else list(PRESETS.values())
    if options.json:
        print(json.dumps({p.name: p.settings() for p in chosen}, indent=2, default=str))
        return 0
    print("\n\n".join(_text(p.name) for p in chosen))
    return 0


def _text(name: str) -> str:
    from prammol.cli.settings import settings_of
    from prammol.reconstruction.presets import get_preset, stage_name

    preset = get_preset(name)
    lines = [
        f"preset {name}",
        f"  once:      {', '.join(stage_name(s) for s in preset.start)}",
        f"  repeated:  {', '.join(stage_name(s) for s in preset.loop)}",
    ]
    for setting in settings_of(preset):
        value = json.dumps(setting.value, default=str)
        unit = f" {setting.unit}" if setting.unit else ""
        lines += ["", f"  {setting.name} = {value}{unit}"]
        lines += textwrap.wrap(setting.text, 90, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
