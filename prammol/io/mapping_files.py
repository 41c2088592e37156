"""Files with keys and values that people write: YAML and TOML."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from prammol.core.errors import InputError
from prammol.io.atomic_write import PathLike, first_line

_LARGEST = 100_000  # bytes; chosen: a hundred times the example; not varied
_DEEPEST = 20  # chosen: five times the example; not varied


class _Loader(yaml.SafeLoader):
    """YAML without anchors, in which 1e18 is a number and no key comes twice."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            msg = "aliases (*) aren't allowed"
            raise yaml.YAMLError(msg)
        self.depth += 1
        if self.depth > _DEEPEST:
            msg = "it is nested too deeply"
            raise yaml.YAMLError(msg)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                msg = f"key {key.value!r:.40} is there twice, line {key.start_mark.line + 1}"
                raise yaml.YAMLError(msg)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e18 for text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


def read_mapping(path: PathLike, what: str) -> Any:
    """Read keys and values: TOML from a file whose name ends with .toml, else YAML.

    Parameters
    ----------
    path : path
    what : str
        What the file should hold, for the sentence of an error.

    Returns
    -------
    object
        What is in it: nested dicts, lists, texts and numbers.

    Raises
    ------
    InputError
        If the file is missing, too large or can't be read.
    """
    path = Path(path)
    kind = "TOML" if path.suffix == ".toml" else "YAML"
    if not path.is_file():
        msg = f"{path}: no such file, expected {what} in {kind}"
        raise InputError(msg)
    try:
        if path.stat().st_size > _LARGEST:
            msg = f"{path}: has more than {_LARGEST} bytes, expected {what} in {kind}"
            raise InputError(msg)
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if kind == "TOML" else yaml.load(text, _Loader)
    except (yaml.YAMLError, OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path}: can't be read as {kind} ({first_line(error)})"
        raise InputError(msg) from error
