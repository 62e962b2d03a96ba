"""README: what it names is there, so that its tutorial can be followed word by word."""

import ast
import re
import shlex
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from MedLLMSegLib import list_models
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli.main import build_parser
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.registry.memory_estimate import model_choice
from MedLLMSegLib.slicer_bridge.install.packages import REQUIREMENTS, TRAINING
from MedLLMSegLib.slicer_bridge.panel.panel_state import Panel
from MedLLMSegLib.slicer_bridge.panel.presenter import view

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = README[README.index("## Tutorial") : README.index("## Slicer's Python console")]
BLOCKS = [
    block.strip("\n") for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", README, re.MULTILINE)
]


def shown() -> set[str]:
    """Every text that the panel shows: of the .ui, and of the buttons in each state."""
    ui = ElementTree.parse(ROOT / "MedLLMSeg/Resources/UI/MedLLMSeg.ui").getroot()
    texts = {text.text.rstrip(":") for text in ui.iter("string") if text.text}
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
        "Train",
        "Accept and segment",
        "Install and segment",
    } <= named
    assert named - {"MRHead segmentation"} <= shown() | {"Show 3D"}, named - shown()


def test_the_structures_are_those_of_the_model():
    assert {
        s.name for s in hippocampus_structures(lateral=True) if s.name.startswith("Left")
    } == set(re.findall(r"\*(Left hippocampus \(\w+\))\*", TUTORIAL))


def test_every_picture_and_page_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len([link for link in links if link.endswith(".png")]) >= 5
    assert not [link for link in links if not (ROOT / link).is_file()]


def test_python_in_it_is_python():
    code = [block for block in BLOCKS if "import " in block]
    assert len(code) >= 2
    for block in code:
        ast.parse("\n".join(line.removeprefix("    ") for line in block.splitlines()))


def test_commands_in_it_are_commands():
    lines = [
        line.split("#")[0].strip()
        for block in BLOCKS
        for line in block.splitlines()
        if line.strip().startswith("medllmseg ")
    ]
    assert len(lines) >= 6
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


def test_where_things_are_kept(monkeypatch):
    monkeypatch.delenv("MEDLLMSEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if cache_dir() != Path.home() / ".cache" / "medllmseg":
        pytest.skip("not Linux")
    assert "`~/.cache/medllmseg` (Linux)" in README


def test_what_was_installed_can_be_removed():
    kept = README[README.index("## What is installed") : README.index("## Without Slicer")]
    for path in (REQUIREMENTS, TRAINING):
        lines = [line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        names = [name[0] for line in lines if (name := re.match(r"[\w.-]+", line))]
        assert names and f'"{" ".join(names)}"' in kept


def test_it_says_what_it_is_not():
    assert "It is not a medical device" in README
    assert re.search(r"cite .*arXiv", README) and "Apache-2.0" in README
