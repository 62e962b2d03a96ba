"""README and docs/use.md: what they name exists, so that the tutorial can be followed word by
word.
"""

import ast
import re
import shlex
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from MedLLMSegLib import list_models
from MedLLMSegLib.anatomy.brain import BRAIN_GROUPS
from MedLLMSegLib.cli.main import build_parser
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.registry.memory_estimate import model_choice
from MedLLMSegLib.slicer_bridge.install.packages import REQUIREMENTS, TRAINING
from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.view import view

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
USE = (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """The part of a page below the heading that begins with `title`, to the next heading."""
    start = page.index(f"\n## {title}")
    end = page.find("\n## ", start + 1)
    return page[start : end if end > 0 else None]


def code_blocks(page: str) -> list[str]:
    """The indented blocks of a page that stand outside lists, without their indentation."""
    blocks = re.findall(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)", page)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip("\n") for block in blocks]


TUTORIAL = " ".join(section(README, "Tutorial").split())  # a name may be broken into two lines


def panel_texts() -> set[str]:
    """Every text that the panel shows: of the .ui, and of the buttons in each state."""
    ui = ElementTree.parse(ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui").getroot()
    # without the marks of the keyboard's letters
    strings = (text.text.replace("&", "") for text in ui.iter("string") if text.text)
    texts = {text.rstrip(":") for text in strings}
    ready = Panel(
        models=tuple(map(model_choice, list_models())),
        model="hippocampus-t1",
        input="MRHead",
        scans=1,
    )
    for state in ("idle", "needs_licence", "needs_packages", "running"):
        texts |= {
            looks["text"]
            for looks in view(replace(ready, state=state)).widgets.values()
            if "text" in looks
        }
    return texts


def test_every_label_of_the_tutorial_is_one_of_the_panel():
    named = set(re.findall(r"\*\*(.+?)\*\*", TUTORIAL))
    assert {
        "Segment",
        "Cancel",
        "Restore",
        "Accept and segment",
        "Install and segment",
    } <= named
    assert named - {"MRHead segmentation"} <= panel_texts() | {"Show 3D"}, named - panel_texts()


def test_the_groups_are_those_of_the_model():
    (groups,) = re.findall(r"structures in groups \((.+?)\)", TUTORIAL.replace("\n", " "))
    named = [re.sub(" +", " ", name) for name in groups.split(",")]
    assert [name.strip() for name in named] == list(BRAIN_GROUPS)


def test_every_section_that_the_panel_page_names_is_one_of_the_panel():
    named = set(re.findall(r"^- \*\*(.+?)\*\*:", section(USE, "The panel"), re.MULTILINE))
    assert {"Advanced", "Train", "Diagnose", "Models", "Log"} == named
    assert named <= panel_texts()


def test_there_are_pictures():
    assert len(re.findall(r"!\[[^]]+\]\([^)]+\.png\)", README)) >= 5


@pytest.mark.parametrize("page", [README, USE], ids=["README", "use"])
def test_python_in_it_is_python(page):
    python = [block for block in code_blocks(page) if "import " in block]
    assert python
    for block in python:
        ast.parse(block)


@pytest.mark.parametrize(("page", "at_least"), [(README, 6), (USE, 10)], ids=["README", "use"])
def test_commands_in_it_are_commands(page, at_least):
    lines = [
        line.split("#")[0].strip()
        for block in code_blocks(page)
        for line in block.splitlines()
        if line.startswith("medllmseg ")
    ]
    assert len(lines) >= at_least
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


def test_commands_beside_the_figures_are_commands():
    commands = re.findall(r"`(medllmseg [^`]+)`", RESULTS)
    assert len(commands) >= 6
    for command in commands:
        if " --" in command and not command.endswith("..."):
            build_parser().parse_args(shlex.split(command)[1:])


def program_texts() -> list[str]:
    """Every text in the library's code; what an f-string fills in is left out."""
    texts = []
    for path in (ROOT / "MedLLMSegLib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part for part in node.values if isinstance(part, ast.Constant))
                texts.append("\0".join(str(part.value) for part in parts))
    return texts


def test_messages_that_the_training_page_explains_are_messages_of_the_program():
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\*.+?) \|", section(page, "When it refuses"), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"\*(.+?)\*", row)]
    assert len(messages) >= 12
    texts = program_texts()
    filled_in = r'"[^"]*"|\.{3,}|\d[\d x,]*(?: and \d,?)?|\bloss\b|\bnan\b|"'
    for message in messages:
        for fragment in re.split(filled_in, message):
            words = fragment.strip(" .,")
            assert any(words in text for text in texts), f"{message}: {words}"


def test_the_table_says_of_each_model_what_was_measured():
    """The column is what `medllmseg models` prints for it."""
    models = [model for model in list_models(kind=None) if model.kind != "localizer"]
    for model in (model for model in models if ROOT in model.folder.parents):
        row = next((line for line in README.splitlines() if line.startswith(f"| [{model.id}]")), "")
        assert row.split(" | ")[2:3] == [model.accuracy], model.id


def test_where_things_are_kept(monkeypatch):
    monkeypatch.delenv("MEDLLMSEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if cache_dir() != Path.home() / ".cache" / "medllmseg":
        pytest.skip("not Linux")
    assert "`~/.cache/medllmseg` (Linux)" in README


def test_what_was_installed_can_be_removed():
    kept = section(README, "What is installed")
    for path in (REQUIREMENTS, TRAINING):
        lines = [line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        names = [name[0] for line in lines if (name := re.match(r"[\w.-]+", line))]
        assert names
        assert f'"{" ".join(names)}"' in kept


def test_where_it_is_kept_is_said_in_the_panels_words():
    named = set(re.findall(r"\*\*(\w+)\*\*", section(README, "What is installed")))
    assert {"Train", "Models", "Discard"} == named <= panel_texts()


def test_it_says_what_it_is_not():
    assert "It is not a medical device" in README
    assert re.search(r"cite .*arXiv", README)
    assert "Apache-2.0" in README
