"""The file of ``prammol run``: a section for each verb, whose keys are the verb's options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from prammol.core.errors import InputError
from prammol.io.atomic_write import naming
from prammol.io.mapping_files import read_mapping

# The verbs of a run, in the order they run, and which of their keys name files.
READS = {
    "crystal": (),
    "dynamics": ("crystal",),
    "simulate": ("crystal", "instrument", "amplitude"),
    "support": ("diffraction", "from-file", "from-truth"),
    "reconstruct": ("diffraction", "support", "initial"),
    "evaluate": ("result", "truth", "scattering"),
    "plot": ("result", "truth"),
    "view": ("result", "truth", "trajectory"),
}
WRITES = {
    "dynamics": ("output", "mean", "scattering"),
    "reconstruct": ("output", "trajectory"),
    "evaluate": ("json", "atoms"),
}


@dataclass(frozen=True)
class Step:
    """One verb of a run.

    Attributes
    ----------
    verb : str
    words : list of str
        Its command line.
    options : Namespace
        The same, parsed.
    """

    verb: str
    words: list[str]
    options: argparse.Namespace

    def reads(self) -> Iterator[str]:
        """Yield the files that it reads."""
        return self._files(READS[self.verb])

    def writes(self) -> Iterator[str]:
        """Yield the files that it is told to write."""
        return self._files(WRITES.get(self.verb, ("output",)))

    def _files(self, keys: Sequence[str]) -> Iterator[str]:
        for key in keys:
            value = getattr(self.options, key.replace("-", "_"), None)
            if value is not None:
                yield value


def actions_of(verb: str) -> dict[str, argparse.Action]:
    """Return what a verb takes, by the key in a file: options without their hyphens."""
    from prammol.cli.main import build_parser, verb_parsers

    found = {}
    for action in verb_parsers(build_parser(verb))[verb]._actions:
        long = [o.removeprefix("--") for o in action.option_strings if o.startswith("--")]
        found[long[0] if long else action.dest] = action
    del found["help"]
    return found


def read_run(path: Path) -> list[Step]:
    """Read the steps of a run, in their order.

    Raises
    ------
    InputError
        If the file can't be read, a section or key is unknown or missing, or a value isn't what
        the option takes; the message names file, section and key.
    """
    sections = read_mapping(path, "the options of a run")
    if not isinstance(sections, dict) or not sections:
        msg = f"{path}: expected sections such as reconstruct, with keys; prammol init writes one"
        raise InputError(msg)
    for name in sections:
        with naming(path):
            _require_known("section", str(name), READS)
    steps = []
    for verb in (v for v in READS if v in sections):
        with naming(f"{path}: {verb}"):
            steps.append(_step(verb, sections[verb]))
    return steps


def _step(verb: str, values: Any) -> Step:
    from prammol.cli.main import parsed

    if not isinstance(values, dict):
        msg = f"is {values!r:.40}, expected keys with values"
        raise InputError(msg)
    actions = actions_of(verb)
    for key, value in values.items():
        _require_known("key", str(key), actions)
        with naming(key):
            _require_value(actions[key], value)
    for key, action in actions.items():
        if action.required and key not in values:
            msg = f"{key} is missing, expected {action.help}"
            raise InputError(msg)
    words = [verb]
    for key, value in values.items():
        words += _words(key, actions[key], value)
    options = parsed(words)
    if verb == "reconstruct":
        from prammol.cli.commands.initial_state import require_one_given
        from prammol.cli.settings import parse_settings

        require_one_given(options)
        parse_settings(options.preset, options.set)
    return Step(verb, words, options)


def _require_known(kind: str, name: str, known: Mapping[str, object]) -> None:
    if name in known:
        return
    near = get_close_matches(name.replace("_", "-"), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    msg = f"there is no {kind} {name!r:.60}, {hint}"
    raise InputError(msg)


def _require_value(action: argparse.Action, value: Any) -> None:
    """Raise InputError if an option doesn't take a value."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            msg = f"is {value!r:.40}, expected true or false"
            raise InputError(msg)
        return
    if action.dest == "set":
        if not isinstance(value, dict):
            msg = f"is {value!r:.40}, expected settings with values"
            raise InputError(msg)
        return
    for text in _texts(action, value):
        try:
            chosen = action.type(text) if callable(action.type) else text
        except argparse.ArgumentTypeError as error:
            raise InputError(str(error)) from None
        if action.choices is not None and chosen not in action.choices:
            msg = f"is {text!r:.40}, expected one of {', '.join(map(str, action.choices))}"
            raise InputError(msg)


def _texts(action: argparse.Action, value: Any) -> list[str]:
    """Return the texts that an option is given, one for each time it is."""
    repeated = isinstance(action, argparse._AppendAction)
    if repeated and isinstance(value, list):
        return [_text(part) for part in value]
    return [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        return ",".join(map(_text, value))
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    msg = f"is {value!r:.40}, expected a text, a number or a list of them"
    raise InputError(msg)


def _words(key: str, action: argparse.Action, value: Any) -> list[str]:
    """Return the words of an option on a command line."""
    if action.nargs == 0:
        return [f"--{key}"] if value else []
    if action.dest == "set":
        return [f"--{key}={name}={_json(setting)}" for name, setting in value.items()]
    texts = _texts(action, value)
    return [f"--{key}={text}" for text in texts] if action.option_strings else texts


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
