"""The panel without a mouse: mnemonics that reach what they name, and Tab in reading order."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from Testing.panel import pictures
from Testing.panel.steps import finish, start

UI = ElementTree.parse(
    Path(__file__).resolve().parents[2] / "MedLLMSeg/Resources/UI/MedLLMSeg.ui"
).getroot()
MENUS = "fevh"  # File, Edit, View, Help of Slicer's own window
SAME_ROW = 8  # pixels by which widgets of one row may differ in height
SECTIONS = ("facts", "advanced", "train", "diagnose", "models", "log")


def texts():
    """name of each widget -> (its text, the name of its buddy or "")"""
    found = {}
    for widget in UI.iter("widget"):
        values = {p.get("name"): "".join(p.itertext()).strip() for p in widget.findall("property")}
        found[widget.get("name")] = (values.get("text", ""), values.get("buddy", ""))
    return found


def mnemonic(text):
    found = re.search(r"&(\w)", text)
    return found[1].lower() if found else ""


def test_each_mnemonic_is_of_one_widget_and_of_no_menu():
    letters = [mnemonic(text) for text, _buddy in texts().values() if mnemonic(text)]
    assert len(letters) >= 15
    assert len(letters) == len(set(letters))
    assert not set(letters) & set(MENUS)


def test_a_label_with_a_mnemonic_leads_to_the_widget_beside_it():
    known = texts()
    for name, (text, buddy) in known.items():
        if name.endswith("Label") and mnemonic(text):
            assert buddy in known, name
            assert buddy.startswith(name.removesuffix("Label")) or name == "modelLabel"


@pytest.fixture
def shown(panel, logic, scan, drawn, application):
    """The panel with a result and all sections unfolded."""
    for section in SECTIONS:
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = False
    start(panel, logic)
    finish(logic, drawn("MRHead segmentation", scan))
    pictures.settle(panel, application)
    return panel


def reached_by_tab(window):
    """(name, x, y) of the panel's own widgets, in the order in which Tab reaches them."""
    from PySide6 import QtCore, QtWidgets

    known, found = texts(), []
    widget = QtWidgets.QWidget.nextInFocusChain(window)
    while widget is not window:
        name = QtWidgets.QWidget.objectName(widget)
        takes_tab = QtWidgets.QWidget.focusPolicy(widget) & QtCore.Qt.TabFocus
        if takes_tab and widget.isVisible() and name in known:
            corner = QtWidgets.QWidget.mapTo(widget, window, QtCore.QPoint(0, 0))
            found.append((name, corner.x(), corner.y()))
        widget = QtWidgets.QWidget.nextInFocusChain(widget)
    return found


def test_tab_goes_through_the_panel_in_reading_order(shown):
    places = reached_by_tab(shown.parent)
    assert len(places) > 30
    for (name, x, y), (following, next_x, next_y) in pairwise(places):
        in_one_row = abs(next_y - y) < SAME_ROW
        assert (next_x > x) if in_one_row else (next_y > y), f"{following} after {name}"
