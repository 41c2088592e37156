"""Every numeric constant says where it comes from, in a comment.

What needs one: in all of ``prammol/``, a module-level name whose value holds a number, a numeric
field of a class with settings (``Checked``: the stages and ``Loop``), and a numeric default of a
function's argument where numbers steer an algorithm (``ALGORITHMS``). The whole numbers 0, 1 and -1
need none, nor do shapes (arguments of ``zeros``, ``ones``, ``empty``, ``eye``, ``full`` and
``reshape``), nor an argument's default 0.0, which leaves something out.

The comment is on a line of the statement or directly above it, and has one of the forms

    # derived: HOW
    # chosen: ON WHAT; SPREAD        (how far it may be changed, or that this isn't known)
    # chosen: display
    # chosen: not varied

The words may follow others: ``# of a step; derived: HOW``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "prammol"
ALGORITHMS = (
    "diffraction",
    "evaluation",
    "likelihood",
    "phasing",
    "potentials",
    "reconstruction",
    "simulation",
    "structure",
)
SHAPES = {"zeros", "ones", "empty", "eye", "full", "reshape"}
FORM = re.compile(r"(?:^|[ ;])(?:derived: \S.+|chosen: (?:display|not varied|\S.*; \S.+))")


def numbers(node: ast.AST) -> Iterator[float]:
    """Yield the numbers of an expression, those of shapes left out."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            yield node.value
        return
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in SHAPES:
            yield from numbers(node.func)
            return
    for child in ast.iter_child_nodes(node):
        yield from numbers(child)


def needs(value: ast.AST | None, free: tuple[float, ...] = ()) -> bool:
    """Tell whether a value holds a number that has to say where it comes from."""
    if value is None:
        return False
    return any(not (isinstance(n, int) and abs(n) <= 1) and n not in free for n in numbers(value))


def comments(source: str) -> tuple[dict[int, str], set[int]]:
    """Return the comment of each line that has one, and the lines with nothing else."""
    found, alone = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("#: ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    return found, alone


def statements(tree: ast.Module, algorithm: bool) -> Iterator[tuple[str, int, int]]:
    """Yield name, first and last line of what needs a comment."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and needs(node.value):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield ast.unparse(target), node.lineno, node.end_lineno
    for kind in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        if not any(isinstance(b, ast.Name) and b.id == "Checked" for b in kind.bases):
            continue
        for node in kind.body:
            if isinstance(node, ast.AnnAssign) and needs(node.value):
                yield f"{kind.name}.{ast.unparse(node.target)}", node.lineno, node.end_lineno
    if not algorithm:
        return
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        arguments = function.args
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
        every = [*zip(plain, defaults, strict=True)]
        every += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        for argument, default in every:
            if needs(default, free=(0.0,)):
                yield f"{function.name}({argument.arg})", argument.lineno, default.end_lineno


def silent(source: str, algorithm: bool = True) -> list[str]:
    """Return what doesn't say where it comes from, one line each."""
    found, alone = comments(source)
    out = []
    for name, first, last in statements(ast.parse(source), algorithm):
        above = first - 1
        while above in alone:
            above -= 1
        text = " ".join(found[k] for k in range(above + 1, last + 1) if k in found)
        if not FORM.search(text):
            out.append(f"line {first}: {name}")
    return out


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_every_constant_says_where_it_comes_from(path):
    algorithm = path.relative_to(PACKAGE).parts[0] in ALGORITHMS
    assert silent(path.read_text(encoding="utf-8"), algorithm) == []


@pytest.mark.parametrize(
    "source",
    [
        "_A = 0.5",
        "_A = 0.5  # of a step",
        "_A = 0.5  # chosen: one ball",
        "_A = 0.5  # derived:",
        "# derived: physics\n\n_A = 0.5",
        "# derived: physics\n_B = 1\n_A = 0.5",
        "_A = 1.0",
        "_A: float = 2",
        "_A = {'a': (2, 'b')}",
        "class Stage(Checked):\n    a: Whole = 3",
        "def f(x, a=0.5): ...",
        "def f(x, *, a: float = 0.5): ...",
    ],
)
def test_a_number_without_its_origin_is_found(source):
    assert len(silent(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "_A = 0.5  # derived: a half",
        "_A = 0.5  # of a step; chosen: one ball; same atoms from 0.2 to 0.8",
        "# of a step\n# chosen: one ball, two; same atoms\n# from 0.2 to 0.8\n_A = 0.5",
        "_A = (\n    2,\n    3,  # chosen: not varied\n)",
        "_A = 1\n_B = -1\n_C = True\n_D = 'a2'",
        "_A = np.zeros((3, 3)).reshape(9)",
        "class Stage(Checked):\n    # chosen: not varied\n    a: Whole = 3",
        "class Other:\n    a: int = 3",
        "def f(\n    x,\n    a=0.5,  # chosen: display\n    b=0.0,\n): ...",
    ],
)
def test_a_number_with_its_origin_is_not(source):
    assert silent(source) == []
