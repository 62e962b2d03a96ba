"""Write the template from which the panel is translated: every text of the panel, as Qt Linguist
takes it.

    python tools/translation_template.py [--check]

--check writes nothing, and ends with 1 where the template is not up to date. The contexts are those
of `slicer.i18n.tr` (package and file of the source) and of Qt's loader of .ui files (the class of
the form).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "MedLLMSeg/Resources/Translations/MedLLMSeg.ts"
FORM = ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui"
SOURCES = (ROOT / "MedLLMSeg", ROOT / "MedLLMSegLib/slicer_bridge")
SPELT_ALIKE = {"%", " %", ""}  # in every language


class Message(NamedTuple):
    """One text: where it is looked up, the English, and the file that holds it."""

    context: str
    text: str
    file: str


def messages() -> list[Message]:
    """All texts, sorted, each once in its context. Raises ValueError for a call of `_()` without a
    plain text, which no translator would see.
    """
    found: dict[tuple[str, str], Message] = {}
    paths = sorted(path for folder in SOURCES for path in folder.rglob("*.py"))
    for message in (*_form_messages(), *(m for path in paths for m in _source_messages(path))):
        found.setdefault((message.context, message.text), message)
    return [found[key] for key in sorted(found)]


def _source_messages(path: Path) -> Iterator[Message]:
    file = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id == "_":
            yield Message(_context(path), _plain_text(node.args, file, node.lineno), file)


def _plain_text(arguments: list[ast.expr], file: str, line: int) -> str:
    if len(arguments) == 1 and isinstance(arguments[0], ast.Constant):
        value = arguments[0].value
        if isinstance(value, str):
            return value
    raise ValueError(f"{file}, line {line}: _() needs one plain text")


def _context(path: Path) -> str:
    in_package = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if in_package else path.stem


def _form_messages() -> Iterator[Message]:
    form = ElementTree.parse(FORM).getroot()
    context = form.findtext("class") or ""
    lists = [each for each in form.iter("stringlist") if each.get("notr") == "true"]
    names = {string for each in lists for string in each}  # of classes of nodes
    for string in form.iter("string"):
        text = string.text or ""
        is_text = string.get("notr") != "true" and string not in names
        if is_text and text not in SPELT_ALIKE:
            yield Message(context, text, FORM.relative_to(ROOT).as_posix())


def template() -> str:
    """The template as Qt Linguist's XML."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<!DOCTYPE TS>"]
    lines.append('<TS version="2.1" sourcelanguage="en">')
    context = None
    for message in messages():
        if message.context != context:
            lines += ["</context>"] if context is not None else []
            lines += ["<context>", f"    <name>{escape(message.context)}</name>"]
            context = message.context
        lines += [
            "    <message>",
            f'        <location filename="{escape(message.file)}"/>',
            f"        <source>{escape(message.text)}</source>",
            '        <translation type="unfinished"></translation>',
            "    </message>",
        ]
    return "\n".join([*lines, "</context>", "</TS>", ""])


def main(arguments: list[str]) -> int:
    """Write the template, or check it; the exit code."""
    text = template()
    old = TEMPLATE.read_text(encoding="utf-8") if TEMPLATE.is_file() else ""
    if "--check" in arguments:
        if old != text:
            print(f"{TEMPLATE.relative_to(ROOT)} is not up to date; run `make translations`.")
        return int(old != text)
    TEMPLATE.parent.mkdir(exist_ok=True)
    TEMPLATE.write_text(text, encoding="utf-8")
    print(f"{len(messages())} texts in {TEMPLATE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
