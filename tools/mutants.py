"""Which small faults the tests would not notice: break the code in one place, run its tests.

    python tools/mutants.py [--minutes 30] [--count 60] [--seed 0] [ROOM ...]

The sample is fixed by the seed. Each mutant is made in a copy of the checkout, so this one stays
as it is. Prints a line for each mutant, and at the end those that survived. The exit code is 0
whatever survives: the list is for people to read.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "metrics", "segmentation")
TIMEOUT_S = 240  # for the tests of one mutant; one that hangs counts as noticed
COPIED = ("MedLLMSeg", "MedLLMSegLib", "Testing")
COPIED_FILES = ("pyproject.toml", "LICENSE", "README.md", "Makefile", "CMakeLists.txt")

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SWAPPED_NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
}


@dataclass(frozen=True)
class Mutant:
    """One changed node. number: its place among the nodes of its file that can be changed."""

    path: Path
    number: int
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


def changed(node: ast.AST) -> ast.AST | None:
    """The node with one fault in it; None for a node that is left alone."""
    match node:
        case ast.Compare(left, [operator, *others], right) if type(operator) in COMPARISONS:
            new = ast.Compare(left, [COMPARISONS[type(operator)](), *others], right)
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            new = ast.BinOp(left, ARITHMETIC[type(operator)](), right)
        case ast.BoolOp(operator, values):
            new = ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            new = operand
        case ast.Constant(bool(value)):
            new = ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            new = ast.Constant(value + 1)
        case ast.Name(name, context) if name in SWAPPED_NAMES:
            new = ast.Name(SWAPPED_NAMES[name], context)
        case ast.Attribute(value, name, context) if name in SWAPPED_NAMES:
            new = ast.Attribute(value, SWAPPED_NAMES[name], context)
        case _:
            new = None
    return new


class Changer(ast.NodeTransformer):
    """Changes the node of one number, or none, and remembers each that it could have changed."""

    def __init__(self, number: int | None = None):
        self.number = number
        self.seen: list[tuple[int, str, str]] = []  # (line, before, after)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        new = changed(node)
        if new is None:
            return super().generic_visit(node)
        here = len(self.seen)
        self.seen.append((node.lineno, ast.unparse(node), ast.unparse(new)))
        super().generic_visit(node)
        return ast.copy_location(new, node) if here == self.number else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Annotations are mypy's matter."""
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Only the value: the annotation is mypy's matter."""
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """All but what it returns by its annotation."""
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Texts for people are not what is tested here."""
        return node


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file of the library. path: relative to the checkout."""
    changer = Changer()
    changer.visit(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    return [Mutant(path, number, *seen) for number, seen in enumerate(changer.seen)]


def sample(rooms: list[str], count: int, seed: int) -> list[Mutant]:
    """A fixed sample, as many of each room, in an order that a short run can break off anywhere."""
    draw = random.Random(seed)
    pools = []
    for room in rooms:
        files = sorted((ROOT / "MedLLMSegLib" / room).rglob("*.py"))
        pool = [m for file in files for m in mutants_of(file.relative_to(ROOT))]
        draw.shuffle(pool)
        pools.append(pool)
    picked: list[Mutant] = []
    for pool in cycle(pools):
        if len(picked) == count or not any(pools):
            return picked
        if pool:
            picked.append(pool.pop())
    return picked


def copy_checkout(folder: Path) -> None:
    """What the tests need, beside the same shared/ as here."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in COPIED_FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (folder.parent / "shared").symlink_to(shared)


def is_noticed(mutant: Mutant, folder: Path, until: float) -> bool | None:
    """Whether a test of the mutant's room fails with it, in a copy of the checkout.

    A run of the tests that hangs counts as a failure. None when the time is up (`until`, as
    `time.monotonic` counts) before the tests are through.
    """
    path = folder / mutant.path
    text = path.read_text(encoding="utf-8")
    tree = Changer(mutant.number).visit(ast.parse(text))
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    left_s = until - time.monotonic()
    try:
        return not tests_pass(folder, mutant.path.parts[1], min(TIMEOUT_S, left_s))
    except subprocess.TimeoutExpired:
        return True if left_s > TIMEOUT_S else None
    finally:
        path.write_text(text, encoding="utf-8")


def tests_pass(folder: Path, room: str, timeout_s: float) -> bool:
    """Whether the fast tests of a room pass in a copy of the checkout.

    Raises `subprocess.TimeoutExpired` when they take longer than the time allowed.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"Testing/{room}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode == 0


def tests_pass_unchanged(folder: Path, room: str, until: float) -> bool:
    """Whether a room's tests pass without any mutant, in the time that is left."""
    try:
        return tests_pass(folder, room, min(TIMEOUT_S, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False


def work(queue: list[Mutant], folder: Path, until: float, survivors: list[Mutant]) -> int:
    """Take mutants from the queue until it is empty or the time is up.

    Returns how many were tried to the end: one whose tests the clock breaks off does not count.
    """
    tried = 0
    while queue and time.monotonic() < until:
        mutant = queue.pop(0)
        noticed = is_noticed(mutant, folder, until)
        if noticed is None:
            break
        tried += 1
        print("noticed " if noticed else "SURVIVED", mutant, flush=True)
        if not noticed:
            survivors.append(mutant)
    return tried


def main() -> int:
    """Run a sample of mutants and list those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), metavar="ROOM")
    parser.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        metavar="N",
        help="stop after N minutes (default: %(default)s)",
    )
    parser.add_argument(
        "--count", type=int, default=60, help="mutants to try (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which sample (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="at once (default: %(default)s)")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    queue, survivors = sample(options.rooms, options.count, options.seed), []
    print(f"{len(queue)} mutants of {', '.join(options.rooms)}; seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.workers) as pool:
        folders = [Path(scratch) / str(n) / "main" for n in range(options.workers)]
        for folder in folders:
            copy_checkout(folder)
        for room in options.rooms:
            if not tests_pass_unchanged(folders[0], room, until):
                print(
                    f"The tests of {room} fail without any mutant, or take longer than"
                    f" {TIMEOUT_S} s or than --minutes allows; mend them first.",
                    file=sys.stderr,
                )
                return 1
        tried = sum(pool.map(lambda folder: work(queue, folder, until, survivors), folders))
    print(f"{tried} tried, {tried - len(survivors)} noticed, {len(survivors)} survived:")
    for mutant in survivors:
        print(" ", mutant)
    return 0


if __name__ == "__main__":
    sys.exit(main())
