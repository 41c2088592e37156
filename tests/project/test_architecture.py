"""The structure of the package: imports go one way, modules and signatures stay small."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "prammol"

# From the bottom up. Packages on one floor don't import each other.
FLOORS = [
    ["core"],
    ["structure"],
    ["potentials", "diffraction"],
    ["likelihood", "phasing", "simulation"],
    ["reconstruction"],
    ["evaluation"],
    ["io"],
    ["plotting"],
    ["cli"],
]
# Inside the largest package, likewise.
RECONSTRUCTION = [
    ["clock", "earlier_state"],
    ["problem", "result", "setting_kinds"],
    ["model", "subsampling"],
    ["verdict"],
    ["state"],
    ["history"],
    ["observer"],
    ["occupancy"],
    ["refinement"],
    ["effects"],
    ["uncertainty", "diagnosis", "strain_or_geometry", "fit"],
    ["stages"],
    ["preset"],
    ["continuing", "presets", "stopping"],
    ["loop"],
]
MOST_LINES = 400
MOST_PARAMETERS = 8
# Public functions whose parameters are documented keywords.
PUBLIC = {"reconstruct", "simulate", "mean_structure_factor"}


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path):
    """Names of the modules of prammol that a module imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prammol."):
            base = tuple(node.module.split(".")[1:])
            for alias in node.names:
                inner = PACKAGE.joinpath(*base, alias.name)
                found = inner.is_dir() or inner.with_suffix(".py").exists()
                yield (*base, alias.name) if found else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("prammol."):
                    yield tuple(alias.name.split(".")[1:])


def floor_of(name, floors):
    return next((k for k, floor in enumerate(floors) if name in floor), None)


def test_every_package_has_a_floor():
    found = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert found == {name for floor in FLOORS for name in floor}
    assert len(FLOORS) <= 9
    parts = {p.stem for p in (PACKAGE / "reconstruction").iterdir() if p.suffix != ".pyi"}
    parts -= {"__init__", "__pycache__"}
    assert parts == {name for floor in RECONSTRUCTION for name in floor}


def test_imports_go_down():
    upwards = []
    for path in modules():
        own = name_of(path)
        for other in imports(path):
            here, there, floors = own[0], other[0], FLOORS
            if here == there == "reconstruction" and len(own) > 1 and len(other) > 1:
                here, there, floors = own[1], other[1], RECONSTRUCTION
            if here != there and floor_of(there, floors) >= floor_of(here, floors):
                upwards.append((".".join(own), ".".join(other)))
    assert not upwards


def test_no_module_imports_itself_through_others():
    graph = {name_of(p): {o for o in imports(p) if o} for p in modules() if p.stem != "__init__"}
    done, path = set(), []

    def visit(name):
        assert name not in path, [*path, name]
        if name in done or name not in graph:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        done.add(path.pop())

    for name in graph:
        visit(name)


def test_packages_say_what_they_are_and_what_they_offer():
    for path in modules():
        if path.name == "__init__.py" and path.parent.parent in (
            PACKAGE,
            PACKAGE / "reconstruction",
        ):
            text = ast.get_docstring(tree(path))
            assert len(text) > 100, path
            assert "paper" in text.lower(), path
            names = [n.targets[0].id for n in tree(path).body if isinstance(n, ast.Assign)]
            assert "__all__" in names or path.parent.name == "stages", path


def test_modules_and_signatures_are_small():
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name not in PUBLIC:
                a = node.args
                names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
                names = [name for name in names if name not in ("self", "cls")]
                assert len(names) <= MOST_PARAMETERS, (path, node.name, len(names))
