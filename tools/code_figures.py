"""How dense the code is: files, lines, functions, and syntax nodes on a line of code.

    python tools/code_figures.py [FOLDER ...]

Without a folder, the library and its tests are counted.
A code line is a physical line that holds something else than a comment or a docstring.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path
from statistics import median, quantiles

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
DEFAULT_FOLDERS = ["MedLLMSegLib", "Testing"]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(tree: ast.AST) -> list[ast.Expr]:
    """The statements that are docstrings."""
    owners = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, *FUNCTIONS))]
    return [n.body[0] for n in owners if ast.get_docstring(n, clean=False) is not None]


def code_lines(text: str, tree: ast.AST) -> int:
    """Physical lines with code on them."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            found |= set(range(token.start[0], token.end[0] + 1))
    for each in docstrings(tree):
        found -= set(range(each.lineno, each.end_lineno + 1))
    return len(found)


def main(folders: list[str]) -> None:
    """Print one line for each folder."""
    for folder in folders:
        lengths, functions, documented, nodes, lines = [], [], 0, 0, 0
        for path in sorted(Path(folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text)
            lengths.append(len(text.splitlines()))
            lines += code_lines(text, tree)
            nodes += sum(1 for _ in ast.walk(tree)) - 2 * len(docstrings(tree))
            for node in ast.walk(tree):
                if isinstance(node, FUNCTIONS):
                    functions.append(node.end_lineno - node.lineno + 1)
                    documented += ast.get_docstring(node) is not None
        print(f"{folder}: {len(lengths)} files", end="")
        print(f" (median {median(lengths):.0f} lines, largest {max(lengths)}),", end="")
        print(f" {lines} code lines, {len(functions)} functions", end="")
        print(
            f" (median {median(functions):.0f} lines, p90 {quantiles(functions, n=10)[-1]:.0f},",
            end="",
        )
        print(
            f" longest {max(functions)}, {100 * documented / len(functions):.0f} % documented),",
            end="",
        )
        print(f" {nodes / lines:.1f} syntax nodes a code line")


if __name__ == "__main__":
    main(sys.argv[1:] or DEFAULT_FOLDERS)
