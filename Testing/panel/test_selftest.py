"""MedLLMSegTest as Slicer runs it, here with PySide6's window in place of Slicer's, real MRML
nodes and the real logic.
"""

import re
import types
import unittest
from pathlib import Path

import pytest

QtWidgets = pytest.importorskip(
    "PySide6.QtWidgets",
    exc_type=ImportError,
    reason="PySide6 is not installed: THE SELF-TEST OF THE PANEL WAS NOT RUN",
)

from Testing.panel import desktop


@pytest.fixture
def widget(module, application, monkeypatch):
    """The module's panel with its own logic, as `slicer.modules` would give it."""
    import slicer

    window = QtWidgets.QWidget()
    window.isEntered = True
    QtWidgets.QVBoxLayout(window)
    widget = module.MedLLMSegWidget(window)
    widget.setup()
    widget.enter()
    entry = types.SimpleNamespace(
        widgetRepresentation=lambda: types.SimpleNamespace(self=lambda: widget)
    )
    monkeypatch.setattr(slicer.modules, "medllmseg", entry, raising=False)
    monkeypatch.setattr(slicer.modules, "plots", charts(), raising=False)
    for name in ("confirmOkCancelDisplay", "infoDisplay"):
        monkeypatch.setattr(slicer.util, name, waits_for_the_user)
    monkeypatch.setattr(slicer.app, "processEvents", application.processEvents, raising=False)
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True, raising=False)
    for name, method in (("saveScene", "WriteToMRB"), ("loadScene", "ReadFromMRB")):
        monkeypatch.setattr(slicer.util, name, _files(method), raising=False)
    yield widget
    widget.cleanup()
    desktop.release(window)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        slicer.mrmlScene.RemoveNode(view)  # closing a scene leaves the only node of a tag


def charts():
    """The module Plots."""
    logic = types.SimpleNamespace(ShowChartInLayout=lambda chart: None)
    return types.SimpleNamespace(logic=lambda: logic)


def segment_editor():
    """The module Segment Editor, which keeps what is chosen in it."""
    chosen = {}
    editor = types.SimpleNamespace(
        setSegmentationNode=lambda node: chosen.update(segmentation=node, scan=None),
        setSourceVolumeNode=lambda node: chosen.update(scan=node),
        segmentationNode=lambda: chosen.get("segmentation"),
        sourceVolumeNode=lambda: chosen.get("scan"),
    )
    module = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    return types.SimpleNamespace(widgetRepresentation=lambda: module)


def waits_for_the_user(*texts, **options):
    """A dialog of Slicer's, which is modal: in a test that runs by itself nobody closes it."""
    raise AssertionError(f"a dialog waits for the user: {texts}")


def in_a_window(widget, monkeypatch):
    """Make it Slicer with its window and its slice views."""
    import slicer

    monkeypatch.setattr(slicer.util, "mainWindow", lambda: widget.parent)
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: widget.enter(), raising=False)
    monkeypatch.setattr(slicer.modules, "segmenteditor", segment_editor(), raising=False)
    for name in ("Red", "Yellow", "Green"):
        view = slicer.vtkMRMLSliceCompositeNode()
        view.SetSingletonTag(name)
        slicer.mrmlScene.AddNode(view)


def _files(method):
    def act(path):
        import slicer

        cache, manager = (
            slicer.vtkCacheManager(),
            slicer.vtkDataIOManager(),
        )  # which the desktop has
        cache.SetRemoteCacheDirectory(str(Path(path).parent))
        manager.SetCacheManager(cache)
        slicer.mrmlScene.SetDataIOManager(manager)
        scene = slicer.mrmlScene
        return (
            scene.WriteToMRB(path)
            if method == "WriteToMRB"
            else scene.ReadFromMRB(path, True) and None
        )  # as in Slicer 5.13

    return act


@pytest.mark.slow
@pytest.mark.parametrize("window", [False, True])
def test_all_of_it_passes(widget, module, monkeypatch, capsys, window):
    from MedLLMSegLib.slicer_bridge.selftest import scene_steps
    from MedLLMSegLib.slicer_bridge.selftest import self_test as selftest

    if window:
        in_a_window(widget, monkeypatch)
        monkeypatch.setattr(  # of which there is no stand-in here
            scene_steps,
            "CHECKS",
            tuple(c for c in scene_steps.CHECKS if c is not scene_steps.check_editor),
        )

    monkeypatch.setattr(
        selftest, "CHECKS", tuple(c for c in selftest.CHECKS if c is not selftest.check_worker)
    )
    test = module.MedLLMSegTest()
    assert isinstance(test, unittest.TestCase)
    test.setUp()
    untested = selftest.run(test, module.MedLLMSegLogic)
    expected = [
        "DICOM,",
        *([] if window else ["the Segment Editor,"]),
        "the sample in SampleData,",
        "the module's entry in Slicer's list",
    ]
    for what in expected:
        assert sum(text.startswith(what) for text in untested) == 1
    assert len(untested) == len(expected), untested
    slowest, last = capsys.readouterr().out.splitlines()[-2:]
    assert slowest.startswith("MedLLMSegTest: Slowest: ")
    assert slowest.count(" s, ") == 3
    assert re.match(r"MedLLMSegTest: \d+ checks passed in \d+ s\. PASSED; ", last)
    assert f"; {len(expected)} things could not be tested here." in last
    assert last in widget.ui.statusLabel.text  # and whoever pressed in the window sees it
    assert last in widget.ui.logText.plainText


@pytest.mark.parametrize("break_it", ["onButton", "cancel"])
def test_a_broken_button_is_found(widget, module, monkeypatch, break_it):
    from MedLLMSegLib.slicer_bridge.panel import segment_section as panel_run
    from MedLLMSegLib.slicer_bridge.selftest import panel_steps as selftest_panel
    from MedLLMSegLib.slicer_bridge.selftest import self_test as selftest

    case = selftest.SelfTestCase(unittest.TestCase(), module.MedLLMSegLogic)
    wait = selftest.SelfTestCase.wait
    monkeypatch.setattr(
        selftest.SelfTestCase, "wait", lambda case, until, seconds=60: wait(case, until, 2)
    )
    monkeypatch.setattr(panel_run.SegmentSection, break_it, lambda self: None)
    if break_it == "onButton":
        widget.ui.segmentButton.blockSignals(True)
    with pytest.raises(AssertionError):
        selftest_panel.check_press_cancel(case)


@pytest.mark.slow
def test_a_logic_from_the_console_goes_with_its_last_run(module, application, scan):
    """`MedLLMSegLogic().segmentAsync(node)`: nothing but the run holds it, and then its worker
    ends.
    """
    import gc
    import time

    from Testing.slicer_bridge.stand_in import BallSegmenter, StandInClient

    client, done = StandInClient(BallSegmenter(radius_mm=500)), []
    module.MedLLMSegLogic(makeClient=lambda: client).segmentAsync(
        scan, onDone=lambda job: done.append(job.state)
    )
    end = time.monotonic() + 180  # s; collecting is slow in a large process
    while not done and time.monotonic() < end:
        gc.collect()
        application.processEvents()
        time.sleep(0.01)
    assert done == ["done"]
    assert not client.closed
    while not client.closed and time.monotonic() < end:
        application.processEvents()
        gc.collect()
    assert client.closed


@pytest.fixture
def loaded(panel, monkeypatch):
    """The module as Slicer's list of modules has it."""
    import slicer

    representation = types.SimpleNamespace(self=lambda: panel)
    monkeypatch.setattr(
        slicer.modules,
        "medllmseg",
        types.SimpleNamespace(widgetRepresentation=lambda: representation),
        raising=False,
    )
    monkeypatch.setattr(slicer.modules, "plots", charts(), raising=False)
    return panel


def test_the_looks_that_are_tested_inside_slicer(loaded, module):
    from MedLLMSegLib.slicer_bridge.selftest import view_steps as selftest_looks

    before = loaded.panel
    selftest_looks.run(module.MedLLMSegTest("runTest"))
    assert loaded.panel == before


def test_a_check_that_fails_is_named_in_the_panel_with_what_passed_before(
    loaded, module, monkeypatch, capsys
):
    from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
    from MedLLMSegLib.slicer_bridge.selftest import self_test, summary

    def check_first(case):
        """The first check."""

    def check_second(case):
        """The second check."""
        case.test.assertEqual(1, 2)

    monkeypatch.setattr(self_test, "CHECKS", (check_first, check_second))
    monkeypatch.setattr(summary, "LONGEST_S", -1.0)
    with pytest.raises(AssertionError, match="1 != 2"):
        self_test.run(module.MedLLMSegTest("runTest"), module.MedLLMSegLogic)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"MedLLMSegTest: 1 checks passed in \d+ s, more than the -1 s", last)
    assert last.endswith('FAILED at "The second check.": 1 != 2')
    assert MARK_COLOURS["failed"] in loaded.ui.statusLabel.text
    assert "The second check" in loaded.ui.statusLabel.text


def test_looks_without_cancel_are_found(loaded, module, monkeypatch):
    from MedLLMSegLib.slicer_bridge.presenter import segment_view
    from MedLLMSegLib.slicer_bridge.selftest import view_steps as selftest_looks

    button = segment_view.task_button
    monkeypatch.setattr(
        segment_view, "task_button", lambda *given: {**button(*given), "text": "Segment"}
    )
    with pytest.raises(AssertionError, match="Cancel"):
        selftest_looks.run(module.MedLLMSegTest("runTest"))
