"""Errors without patient data: what may be pasted into a public bug report.

Left out are the names and values that the scene holds, everything in quotes (our sentences quote
what they found in a file), paths, DICOM's UIDs, names and dates, and the source lines of a
traceback. Left in are the kinds of errors, our own sentences, and where in which program file it
happened.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable

REMOVED = "[removed]"
LEAST_LETTERS = 3  # of a word of a private text that is removed on its own
# Words of node names that Slicer, this extension and our sentences use; they name nobody.
ORDINARY_WORDS = {
    "and",
    "browser",
    "file",
    "for",
    "function",
    "head",
    "heart",
    "image",
    "images",
    "label",
    "map",
    "mrhead",
    "not",
    "scan",
    "scans",
    "segment",
    "segmentation",
    "sequence",
    "series",
    "slicer",
    "table",
    "the",
    "transform",
    "uncertainty",
    "volume",
    "volumes",
    "volumetry",
    "with",
}
# A program file keeps the part of its path from here on.
PROGRAM_FOLDERS = re.compile(
    r".*[\\/]((?:MedLLMSegLib|MedLLMSeg|site-packages|python3\.\d+)[\\/].*)"
)
FRAME = re.compile(r'\s*File "(?P<path>.*?)",? line (?P<line>\d+),? in (?P<function>\S+)')
OTHER_PRIVATE = (
    re.compile(r"(?<![\w.])(?:[A-Za-z]:[\\/]|\\\\|~?/)\S.*"),  # a path; spaces hide where it ends
    re.compile(r"\b\d+(?:\.\d+){4,}\b"),  # a UID
    re.compile(r"\S*\^\S*"),  # DICOM's names of persons
    re.compile(r"\b(?:19|20)\d{6}\b"),  # and its dates
)
QUOTED = re.compile(r'"[^"\n]*"|(?<!\w)\'.*?\'(?!\w)')


def without_private_data(text: str, private: Iterable[str]) -> str:
    """An error's sentence or traceback, without what may tell who the patient is.

    private: texts that the scene or the computer holds, such as the names of nodes. They are
    removed with each of their words.
    """
    lines, known_words = text.splitlines(), _words_of_programs(text)
    pattern = _pattern_of(private)
    return "\n".join(
        kept for line in lines if (kept := _cleaned_line(line, pattern, known_words)) is not None
    )


def _cleaned_line(line: str, private: re.Pattern | None, known_words: set[str]) -> str | None:
    """A line of an error; None for a line of source, which may be the user's own."""
    if frame := FRAME.match(line):
        return _frame(frame)
    if line.startswith("    "):
        return None
    if private is not None:
        line = private.sub(REMOVED, line)
    line = QUOTED.sub(
        lambda found: found[0] if found[0][1:-1] in known_words else f'"{REMOVED}"', line
    )
    for pattern in OTHER_PRIVATE:
        line = pattern.sub(REMOVED, line)
    return line


def _frame(found: re.Match) -> str:
    """Where a program file was; of a user's own script nothing but the line's number."""
    program = PROGRAM_FOLDERS.fullmatch(found["path"])
    if program is None:
        return f"  {REMOVED}, line {found['line']}"
    path = program[1].replace("\\", "/")
    return f"  {path}, line {found['line']}, in {found['function']}"


def _words_of_programs(text: str) -> set[str]:
    """Python's own names, and those in a traceback's lines of program files: an error may quote
    them.
    """
    words, of_program = {*dir(builtins), "NoneType"}, False
    for line in text.splitlines():
        if frame := FRAME.match(line):
            of_program = PROGRAM_FOLDERS.fullmatch(frame["path"]) is not None
        elif of_program and line.startswith("    "):
            words.update(re.findall(r"[A-Za-z_]\w*", line))
        else:
            of_program = False
    return words


def _pattern_of(private: Iterable[str]) -> re.Pattern | None:
    """Finds private texts and their words, whatever their case; None if there are none."""
    texts = {text.strip() for text in private}
    words = {word for text in texts for word in re.split(r"[\W_]+", text)}
    wanted = [
        *(text for text in texts if _tells(text)),
        *(word for word in words if _tells(word)),
    ]
    if not wanted:
        return None
    longest_first = sorted(wanted, key=len, reverse=True)
    either = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])", re.IGNORECASE)


def _tells(text: str) -> bool:
    return len(text) >= LEAST_LETTERS and text.lower() not in ORDINARY_WORDS
