"""The panel in another language: every text that it shows goes through `_()` or the form."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from xml.etree import ElementTree

import pytest

from Testing.panel.steps import PACKAGES, finish, press, start

ROOT = Path(__file__).resolve().parents[2]
OPEN, CLOSE = "⟦", "⟧"
SECTIONS = ("facts", "advanced", "train", "diagnose", "models", "log")
# Names and numbers, which are the same in every language, and a text of Slicer's own widget.
NAMES = {"modelList", "show3DButton", "logText"}
# Texts that were looked up when their file was imported, which was before this test.
AT_IMPORT = {"classifierLabel", "researchLabel"}


@pytest.fixture
def tool():
    spec = spec_from_file_location("translation_template", ROOT / "tools/translation_template.py")
    loaded = module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    yield loaded
    del sys.modules[spec.name]


@pytest.fixture
def translated(module, application, monkeypatch):
    """A language in which every translated text stands in brackets."""
    from PySide6 import QtCore

    class Language(QtCore.QTranslator):
        def isEmpty(self):
            return False

        def translate(self, context, text, *rest):
            return f"{OPEN}{text}{CLOSE}"

    for name, loaded in list(sys.modules.items()):
        if name.startswith(("MedLLMSegLib.slicer_bridge.", "MedLLMSeg")) and hasattr(loaded, "_"):
            monkeypatch.setattr(loaded, "_", lambda text: f"{OPEN}{text}{CLOSE}")
    language = Language()
    application.installTranslator(language)
    yield
    application.removeTranslator(language)


def untranslated(panel):
    """name -> text, of the widgets that are shown with a text that was not translated."""
    from PySide6 import QtCore, QtWidgets

    found = {}
    for widget in panel.parent.findChildren(QtWidgets.QWidget):
        name = QtWidgets.QWidget.objectName(widget)
        if not widget.isVisible() or not name or name.startswith("qt_"):
            continue
        if name in NAMES | AT_IMPORT or isinstance(widget, QtWidgets.QSpinBox):
            continue
        for prop in ("text", "toolTip", "placeholderText"):
            text = QtCore.QObject.property(widget, prop)
            if isinstance(text, str) and text and OPEN not in text:
                found[name, prop] = text
    return found


def test_every_text_is_translated_in_every_state(
    translated, make_panel, logic, scan, drawn, application
):
    panel = make_panel(PACKAGES)
    for section in SECTIONS:
        getattr(panel.ui, f"{section}CollapsibleButton").collapsed = False
    application.processEvents()
    assert untranslated(panel) == {}
    press(panel.ui.segmentButton)  # asks for the packages
    assert untranslated(panel) == {}
    press(panel.ui.notNowButton)
    panel.missing.clear()
    job = start(panel, logic)
    assert set(untranslated(panel)) <= {("statusLabel", "text")}  # the stages, at import
    job.end("cancelled")
    assert untranslated(panel) == {}
    start(panel, logic)
    finish(logic, drawn("MRHead segmentation", scan))
    application.processEvents()
    assert untranslated(panel) == {}


def test_the_template_holds_every_text(tool):
    """`make translations` writes it anew."""
    assert tool.main(["--check"]) == 0


def test_texts_are_looked_up_where_slicer_looks(tool):
    messages = {(message.context, message.text) for message in tool.messages()}
    assert ("presenter.segment_view", "Segment") in messages
    assert ("MedLLMSeg", "Edit in Segment Editor") in messages  # of the form
    assert ("panel.consent", "Nothing was installed.") in messages
    assert len(messages) > 300


def test_a_text_that_no_translator_would_see_is_refused(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "SOURCES", (tmp_path,))
    monkeypatch.setattr(tool, "_form_messages", lambda: ())
    (tmp_path / "a.py").write_text('_(f"{count} scans")\n')
    with pytest.raises(ValueError, match=r"a\.py, line 1"):
        tool.messages()


def test_qt_reads_the_template(tool):
    root = ElementTree.parse(tool.TEMPLATE).getroot()
    assert root.tag == "TS"
    read = [
        (context.findtext("name"), message.findtext("source"))
        for context in root.iter("context")
        for message in context.iter("message")
    ]
    assert read == [(message.context, message.text) for message in tool.messages()]
