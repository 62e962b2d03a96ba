"""A narrow dock, large fonts, and names that run from right to left: no text is cut off."""

import pytest

from Testing.panel import pictures
from Testing.panel.steps import finish, press, start

SECTIONS = ("facts", "advanced", "train", "diagnose", "models", "log")
NARROW = 340  # pixels; as narrow as a dock of Slicer's gets on a small screen


@pytest.fixture
def cut_off(application):
    """cut_off(panel, width) -> the texts that do not fit; fails if the panel itself does not."""
    from PySide6 import QtWidgets

    def find(panel, width):
        pictures.settle(panel, application, width)
        assert panel.parent.width() == width, f"the panel needs {panel.parent.width()} pixels"
        widgets = panel.parent.findChildren(QtWidgets.QWidget)
        return [text for text in map(pictures.cut_off, widgets) if text]

    return find


@pytest.fixture
def opened(panel):
    """The panel with all sections unfolded."""
    for section in SECTIONS:
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = False
    return panel


def test_nothing_is_cut_off_in_a_narrow_dock(opened, logic, scan, drawn, cut_off, monkeypatch):
    from MedLLMSegLib.slicer_bridge.presenter import device_text

    monkeypatch.setattr(device_text.os, "cpu_count", lambda: 128)
    assert cut_off(opened, NARROW) == []
    opened.ui.modelList.setCurrentRow(1)  # another one suits the scan
    assert opened.ui.suggestionButton.visible
    assert cut_off(opened, NARROW) == []
    press(opened.ui.segmentButton)  # asks for the licence
    assert cut_off(opened, NARROW) == []
    press(opened.ui.notNowButton)
    opened.ui.modelList.setCurrentRow(0)
    job = start(opened, logic)
    job.say("segment left", 0.43, 12.4)
    assert cut_off(opened, NARROW) == []
    finish(logic, drawn("MRHead segmentation", scan))
    assert opened.ui.resultTable.visible
    assert cut_off(opened, NARROW) == []
    start(opened, logic).end("failed", message="It broke " + 9 * "in a long sentence " + ".")
    assert opened.ui.copyDetailsButton.visible
    assert cut_off(opened, NARROW) == []
    opened.parent.grab().save(str(pictures_folder() / "narrow.png"))


def pictures_folder():
    import os
    from pathlib import Path

    folder = Path(os.environ.get("PANEL_PICTURES") or "build/panel")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def large_font(application):
    """Text half as large again, as a user has set it before Slicer starts."""
    before = application.font()
    large = application.font()
    large.setPointSizeF(1.5 * before.pointSizeF())
    application.setFont(large)
    yield
    application.setFont(before)


def test_nothing_is_cut_off_with_a_font_half_as_large_again(
    large_font, opened, logic, scan, drawn, cut_off
):
    start(opened, logic)
    finish(logic, drawn("MRHead segmentation", scan))
    assert cut_off(opened, 500) == []
    opened.parent.grab().save(str(pictures_folder() / "large-font.png"))
    for listed in (opened.ui.resultTable, opened.ui.modelList):  # all rows are in sight
        assert listed.verticalScrollBar().maximum() == 0
    table = opened.ui.resultTable
    assert table.rowHeight(0) >= table.fontMetrics().height()


def test_names_and_panels_that_run_from_right_to_left(
    opened, logic, scan, drawn, application, cut_off
):
    from PySide6 import QtCore

    scan.SetName("ראש של חולה")
    application.setLayoutDirection(QtCore.Qt.RightToLeft)
    try:
        opened.scans.update()
        opened.update()
        start(opened, logic)
        finish(logic, drawn("רأس segmentation", scan))
        assert cut_off(opened, pictures.WIDTH) == []
        opened.parent.grab().save(str(pictures_folder() / "right-to-left.png"))
    finally:
        application.setLayoutDirection(QtCore.Qt.LeftToRight)
    # a sentence runs on from left to right behind the name
    assert "\u2068רأس segmentation\u2069: 4 structures" in opened.ui.statusLabel.text
    assert "\u2068ראש של חולה\u2069" in opened.ui.segmentButton.toolTip
