"""The house's rules: imports run one way, the front door is light, Slicer stays in its bridge."""

import ast
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).parents[2] / "MedLLMSegLib"

# From the ground up, as in docs/architecture.md: a room imports only from rooms before it, and from
# itself.
ROOMS = (
    "core",
    "anatomy",
    "io",
    "registry",
    "llm",
    "networks",
    "engines",
    "metrics",
    "reporting",
    "data",
    "segmentation",
    "diagnosis",
    "edge",
    "training",
    "evaluation",
    "studies",
    "monai_bundle",
    "worker",
    "slicer_bridge",
    "cli",
    "__main__",
)


def unit(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported_units(path: Path) -> set[str]:
    """Names of the library's units that a file imports, wherever in the file."""
    package = ["MedLLMSegLib", *path.relative_to(LIBRARY).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = [*base, *(node.module.split(".") if node.module else [])]
            targets = [name] if len(name) > 1 else [[*name, a.name] for a in node.names]
        elif isinstance(node, ast.Import):
            targets = [a.name.split(".") for a in node.names]
        else:
            continue
        found |= {
            t[1]
            for t in targets
            if t[0] == "MedLLMSegLib" and len(t) > 1 and not t[1].startswith("_")
        }
    return found


def files():
    return [p for p in sorted(LIBRARY.rglob("*.py")) if "bundles" not in p.parts]


def test_every_file_has_its_place():
    assert {unit(p) for p in files()} == {*ROOMS, "__init__"}


def test_imports_run_one_way():
    level = {**{name: n for n, name in enumerate(ROOMS)}, "__init__": len(ROOMS)}
    wrong = [
        f"{p.relative_to(LIBRARY)} imports {name}"
        for p in files()
        for name in imported_units(p)
        if level.get(name, 99) > level[unit(p)]
    ]
    assert not wrong, wrong


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def nodes_that_run(tree: ast.AST):
    """The nodes of a module, but for what only type checkers read."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from nodes_that_run(child)


def imported_modules(path: Path, known: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The library's modules that a file imports, wherever in the file."""
    package, found = ("MedLLMSegLib", *path.relative_to(LIBRARY).parts[:-1]), set()
    for node in nodes_that_run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, a.name) if (*base, a.name) in known else base for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")) for a in node.names}
    return found & known


def test_no_imports_run_in_circles():
    """Within a folder too, and where an import hides in a function."""
    paths = {module_of(p): p for p in files()}
    left = {module: imported_modules(path, set(paths)) - {module} for module, path in paths.items()}
    while outside := [
        module
        # of any circle: nothing that is left is behind it, or before it
        for module, needs in left.items()
        if not needs & set(left) or not any(module in others for others in left.values())
    ]:
        for module in outside:
            del left[module]
    assert not left, sorted(".".join(module) for module in left)


def imported_packages(node: ast.AST) -> set[str]:
    """The top packages that an import statement names; none for imports inside the library."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").split(".")[0]}
    return set()


def test_slicer_vtk_and_qt_stay_in_the_bridge():
    wrong = [
        f"{path.name}: {name}"
        for path in files()
        if unit(path) != "slicer_bridge"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in sorted(imported_packages(node) & {"slicer", "vtk", "qt", "ctk"})
    ]
    assert not wrong, wrong


def test_the_front_door_is_light():
    code = (
        "import sys, MedLLMSegLib; MedLLMSegLib.list_models(); import MedLLMSegLib.cli.main as c;"
        " c.build_parser(); print(sorted({'torch', 'monai', 'scipy', 'SimpleITK', 'matplotlib'} &"
        " set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=LIBRARY.parent, check=True
    )
    assert out.stdout.strip() == "[]"


def forbidden(node: ast.AST) -> str | None:
    """What a node does that no file of ours may do."""
    if isinstance(node, ast.Global):
        return "global"
    if isinstance(node, ast.Import) and any(alias.name == "pickle" for alias in node.names):
        return "pickle"
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    if called in ("eval", "exec"):
        return called
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called == "torch.load" and keywords.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    return None


# A process and its own child, over a pipe and a folder that no other user can read; no file of
# anybody's is unpickled.
PICKLES = "engines/own_process.py"


def test_no_pickle_no_eval_no_global_state():
    wrong = [
        f"{path.name}: {what}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (what := forbidden(node))
        and not (what == "pickle" and path.as_posix().endswith(PICKLES))
    ]
    assert not wrong, wrong
