"""Print the presets: their stages in the order they run, and their settings with units.

Any setting can be changed for one run: prammol reconstruct ... --set KEY=VALUE
Those printed without --expert are meant to be; the constants of single stages were chosen
once for all crystals."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prammol.reconstruction.preset import Preset

_ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)`")

EXAMPLES = """\
examples:
  prammol presets
  prammol presets paper
  prammol presets default --expert
  prammol presets --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this preset")
    parser.add_argument("--expert", action="store_true", help="the constants of each stage, too")
    parser.add_argument("--json", action="store_true", help="names and values as JSON")


def run(options: argparse.Namespace) -> int:
    """Print them."""
    from prammol.reconstruction.presets import PRESETS, get_preset

    chosen = [get_preset(options.name)] if options.name else list(PRESETS.values())
    if options.json:
        print(json.dumps({p.name: p.settings() for p in chosen}, indent=2, default=str))
        return 0
    print("\n\n".join(_text(p, options.expert) for p in chosen))
    return 0


def _text(preset: Preset, expert: bool) -> str:
    from prammol.reconstruction.setting_kinds import name_of

    lines = [f"preset {preset.name}"]
    for title, stages in (
        ("once:", preset.start),
        ("repeated:", preset.loop),
        ("at the end:", preset.finish),
    ):
        if stages:
            lines.append(f"  {title:<11} {', '.join(name_of(type(s)) for s in stages)}")
    for setting in preset.list_settings():
        if setting.expert and not expert:
            continue
        value = json.dumps(setting.value, default=str)
        unit = f" {setting.unit}" if setting.unit else ""
        lines += ["", f"  {setting.name} = {value}{unit}"]
        text = _ROLE.sub(r"\1", setting.text.replace("``", ""))
        lines += textwrap.wrap(text, 90, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
