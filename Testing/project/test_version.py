"""The version is stated in one place."""

import json
import re
import tomllib
from pathlib import Path

from MedLLMSegLib.cli.main import build_parser
from MedLLMSegLib.core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
ONE_PLACE = ROOT / "MedLLMSegLib/core/version.py"
FOLDERS = ("MedLLMSeg", "MedLLMSegLib", "Testing", "tools", ".ci", ".github")
# Files that a program reads. Pages for people may well name a version.
PROGRAMS = {".py", ".toml", ".cfg", ".json", ".txt", ".cmake", ".yml", ".yaml", ".ui", ".in"}
COMPARED = ROOT / "CITATION.cff"  # `test_project_files` compares it with ours


def files_that_programs_read() -> list[Path]:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    own_versions = ROOT / "MedLLMSegLib/bundles"  # a model has a version of its own
    return [
        path
        for path in files
        if (path.suffix in PROGRAMS or path.name in ("Makefile", "run", "CITATION.cff"))
        and own_versions not in path.parents
    ]


def test_no_other_file_states_it():
    number = re.escape(__version__)
    statement = re.compile(rf"version\W{{0,5}}{number}\b|__version__ *= *['\"]", re.IGNORECASE)
    files = files_that_programs_read()
    assert ONE_PLACE in files
    assert ROOT / "pyproject.toml" in files
    stating = {path for path in files if statement.search(path.read_text(encoding="utf-8"))}
    assert stating - {COMPARED} == {ONE_PLACE}


def test_the_package_takes_it_from_there():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"]
    assert settings["project"]["dynamic"] == ["version"]
    place = settings["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert place == "MedLLMSegLib.core.version.__version__"
    entry = json.loads((ROOT / "MedLLMSeg.json").read_text(encoding="utf-8"))
    assert "version" not in {key.lower() for key in entry}


def test_the_command_line_prints_it(capsys):
    try:
        build_parser().parse_args(["--version"])
    except SystemExit as stop:
        assert stop.code == 0
    assert capsys.readouterr().out == f"medllmseg {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
