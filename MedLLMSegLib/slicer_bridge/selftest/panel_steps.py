"""MedLLMSegTest with the module's panel inside Slicer: it presses the buttons and checks the
result.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from unittest.mock import patch

import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.install import licence_consent
from MedLLMSegLib.slicer_bridge.install import packages as install
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY
from MedLLMSegLib.slicer_bridge.scene.surface_smoothing import smoothing_of

from .expectations import NAMES, PhantomSegmenter
from .scene_steps import save_and_load


@contextmanager
def panel_with(case, segment):
    """The panel, shown, with a phantom as its input, a stand-in ``segment`` and no consent missing.

    None if the module is not loaded.
    """
    module = getattr(slicer.modules, "medllmseg", None)
    if module is None:
        case.untested.append(
            "the panel, as the module is not loaded (start Slicer with --additional-module-paths)"
        )
        yield None
        return
    widget = module.widgetRepresentation().self()
    if case.window:
        slicer.util.selectModule("MedLLMSeg")
    else:
        widget.enter()
    case.wait(lambda: widget.parameters is not None)
    widget.parameters.inputVolume = case.scan()
    widget.parameters.outputSegmentation = None
    widget.parameters.model = DEFAULT_SEGMENTER
    before = widget.logic.segmentFunction
    widget.logic.segmentFunction = segment
    try:
        with (
            patch.object(install, "missing_packages", lambda task="segment": []),
            patch.object(licence_consent, "must_ask", lambda entry: False),
        ):
            yield widget
            case.wait(lambda: widget.panel.state not in BUSY, 10)
    finally:
        widget.logic.segmentFunction = before


def segmentations() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def check_module(case) -> None:
    """The module is loaded, has its name and icon, and has imported nothing heavy."""
    module = getattr(slicer.modules, "medllmseg", None)
    if module is None or case.application is None or not hasattr(module, "title"):
        case.untested.append("the module's entry in Slicer's list of modules, as it is not loaded")
        return
    case.test.assertEqual(module.title, "MedLLMSeg")
    case.test.assertIn("Segmentation", list(module.categories))
    case.test.assertIn("not a medical device", module.helpText)
    case.test.assertFalse(module.icon.isNull())
    # it imports torch, which only the worker may do
    case.test.assertNotIn("MedLLMSegLib.segmentation.pipeline", sys.modules)


def check_press(case) -> None:
    """A press of Segment gives a table and a segmentation; Restore brings back what a second
    press overwrote.
    """
    with panel_with(case, PhantomSegmenter()) as widget:
        if widget is None:
            return
        case.test.assertTrue(widget.ui.segmentButton.enabled, widget.ui.segmentButton.toolTip)
        widget.ui.segmentButton.click()
        case.test.assertIn(widget.panel.state, BUSY)
        case.wait(lambda: widget.panel.state not in BUSY)
        case.test.assertEqual(widget.panel.state, "idle", widget.panel.message)
        node = widget.parameters.resultSegmentation
        case.test.assertEqual(case.names(node), NAMES)
        case.test.assertEqual(widget.ui.resultTable.rowCount, len(NAMES))
        case.test.assertFalse(widget.ui.restoreButton.enabled)
        if case.window:
            widget.ui.show3DButton.checked = True  # a click would open its menu, and wait
            surfaces = (
                slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
            )
            case.test.assertTrue(node.GetSegmentation().ContainsRepresentation(surfaces))
        widget.parameters.outputSegmentation = node
        widget.logic.segmentFunction = PhantomSegmenter(only=(1,))
        widget.ui.segmentButton.click()
        case.wait(lambda: widget.panel.state not in BUSY)
        case.test.assertEqual(case.names(node), NAMES[:1])
        case.test.assertTrue(widget.ui.restoreButton.enabled, widget.ui.restoreButton.toolTip)
        widget.ui.restoreButton.click()
        case.test.assertEqual(case.names(node), NAMES)


def check_press_cancel(case) -> None:
    """Segment becomes Cancel while it runs, and a press of that leaves no segmentation."""
    slow = PhantomSegmenter(slow=True)
    with panel_with(case, slow) as widget:
        if widget is None:
            return
        before = widget.ui.segmentButton.text
        widget.ui.segmentButton.click()
        case.wait(slow.begun.is_set)
        case.test.assertNotEqual(widget.ui.segmentButton.text, before)
        widget.ui.segmentButton.click()
        case.wait(lambda: widget.panel.state not in BUSY, 10)
        case.test.assertEqual((widget.panel.state, len(segmentations())), ("idle", 0))
        case.test.assertEqual(widget.ui.segmentButton.text, before)


def check_press_failure(case) -> None:
    """An error is shown in the panel as one sentence."""
    sentence = "The scan is upside down; turn it and try again."
    with panel_with(case, PhantomSegmenter(fails=UserError(sentence))) as widget:
        if widget is None:
            return
        widget.ui.segmentButton.click()
        case.wait(lambda: widget.panel.state not in BUSY)
        case.test.assertEqual((widget.panel.state, widget.panel.message), ("failed", sentence))
        case.test.assertEqual(len(segmentations()), 0)


def check_press_close(case) -> None:
    """The scene may be closed during the panel's run; the panel is ready for the next one."""
    slow = PhantomSegmenter(slow=True)
    with panel_with(case, slow) as widget:
        if widget is None:
            return
        widget.ui.segmentButton.click()
        case.wait(slow.begun.is_set)
        slicer.mrmlScene.Clear()
        case.wait(lambda: widget.panel.state not in BUSY, 10)
        case.test.assertEqual(len(segmentations()), 0)
        case.wait(lambda: widget.parameters is not None or not case.window)
        case.test.assertFalse(widget.ui.segmentButton.enabled)  # there is no scan any more


def check_press_consent(case) -> None:
    """Consent is asked for in the panel, in no dialog, and Not now changes nothing."""
    with panel_with(case, PhantomSegmenter()) as widget:
        if widget is None:
            return
        texts = [widget.ui.segmentButton.text]
        with patch.object(licence_consent, "must_ask", lambda entry: True):
            widget.ui.segmentButton.click()
            texts.append(widget.ui.segmentButton.text)
            case.test.assertEqual(widget.panel.state, "needs_licence")
            widget.ui.notNowButton.click()
        with patch.object(install, "missing_packages", lambda task="segment": ["torch (much)"]):
            widget.ui.segmentButton.click()
            texts.append(widget.ui.segmentButton.text)
            case.test.assertIn("torch (much)", widget.ui.statusLabel.text)
            widget.ui.notNowButton.click()
        case.test.assertEqual(len(set(texts)), 3)
        case.test.assertEqual(
            (widget.panel.state, widget.ui.segmentButton.text, len(segmentations())),
            ("idle", texts[0], 0),
        )


def check_press_saved(case) -> None:
    """The panel's choices are saved with the scene, and shown when it is loaded."""
    with panel_with(case, PhantomSegmenter()) as widget:
        if widget is None or case.application is None:
            return
        widget.ui.sideComboBox.setCurrentIndex(2)
        widget.ui.augmentSpinBox.value = 3
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            save_and_load(case, folder)
        case.wait(lambda: widget.parameters is not None or not case.window)
        widget.enter()
        chosen = widget.parameters
        case.test.assertEqual(
            (chosen.side.value, chosen.augment, chosen.inputVolume.GetName()),
            ("right", 3, "MedLLMSeg phantom"),
        )
        case.test.assertEqual(
            (widget.ui.sideComboBox.currentIndex, widget.ui.augmentSpinBox.value), (2, 3)
        )
        case.test.assertEqual(
            widget.ui.inputVolumeSelector.currentNode().GetName(), "MedLLMSeg phantom"
        )


def check_press_edit(case) -> None:
    """Edit opens the result in the Segment Editor over its scan, and smoother surfaces leave its
    voxels as they are.
    """
    with panel_with(case, PhantomSegmenter()) as widget:
        if widget is None or not case.window:  # the Segment Editor needs Slicer's window
            return
        widget.ui.segmentButton.click()
        case.wait(lambda: widget.panel.state not in BUSY)
        node, scan = widget.parameters.resultSegmentation, widget.parameters.inputVolume
        before = [case.voxels(node, name, scan).sum() for name in NAMES]
        widget.ui.smoothingSpinBox.value = 90
        case.test.assertEqual(smoothing_of(node), 90)
        case.test.assertEqual([case.voxels(node, name, scan).sum() for name in NAMES], before)
        widget.ui.editButton.click()
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        case.test.assertIs(editor.segmentationNode(), node)
        case.test.assertIs(editor.sourceVolumeNode(), scan)
        editor.setSegmentationNode(None)
        slicer.util.selectModule("MedLLMSeg")
        case.wait(lambda: widget.parameters is not None)


CHECKS = (
    check_module,
    check_press,
    check_press_cancel,
    check_press_failure,
    check_press_close,
    check_press_consent,
    check_press_saved,
    check_press_edit,
)
