"""MedLLMSegTest shows each state of the panel inside Slicer, so that no Qt name is misspelt."""

from __future__ import annotations

import html
import re

import slicer

from MedLLMSegLib.slicer_bridge.presenter.extra_inputs import ExtraInputs
from MedLLMSegLib.slicer_bridge.presenter.translation import _

ROWS = (("Left hippocampus (anterior)", 1.53, 0.91), ("Right hippocampus (anterior)", 1.6, None))
HISTORY = ({"step": 10, "loss": 0.9}, {"step": 20, "loss": 0.5}, {"step": 20, "val_dice": 0.7})
DIAGNOSIS = (("no finding", 0.22, None, False), ("pneumonia", 0.78, 0.41, True))
STATES = (
    "idle",
    "needs_licence",
    "needs_packages",
    "installing",
    "running",
    "cancelling",
    "failed",
)


BUSY_PANEL = {
    "input": "phantom",
    "scans": 1,
    "stage": "segment left",
    "fraction": 0.43,
    "rows": ROWS,
    "seconds_left": 12.0,
    "message": "A message.",
    "packages": ("safetensors (1 MB)",),
    "pairs": (("a", "b"), ("c", "d")),
    "train_name": "mine",
    "history": HISTORY,
    "can_restore": True,
    "result": "phantom",
    "stoppable": True,
    "extra_inputs": ExtraInputs(True, (("age", "a number"), ("sex", "one of female, male"))),
}


def panel():
    """The module's own panel, or None where the module is not loaded."""
    module = getattr(slicer.modules, "medllmseg", None)
    return None if module is None else module.widgetRepresentation().self()


def run(test) -> None:
    """Show every state in the module's own panel, and leave the panel as it was. test: a
    unittest.TestCase.
    """
    widget = panel()
    widget.enter()
    before = widget.panel
    try:
        _states(test, widget)
        _choices(test, widget)
        _learning_curve(test)
        _diagnosis(test, widget)
    finally:
        widget.replace(before)
        slicer.mrmlScene.Clear()


def _states(test, widget) -> None:
    ui = widget.ui
    widget.change(
        classifiers=widget.panel.models,
        classifier=widget.panel.model,
        image="phantom",
        diagnosis=DIAGNOSIS,
        heated=True,
    )
    for task in ("segment", "train", "diagnose"):
        for state in STATES:
            widget.change(state=state, task=task, licensed=widget.panel.chosen, **BUSY_PANEL)
            _assert_widgets_agree(test, widget, state)
    _check_filled_tables(test, widget)
    widget.change(state="idle", rows=(), pairs=(), diagnosis=(), extra_inputs=ExtraInputs())
    test.assertEqual(
        (ui.resultTable.rowCount, ui.pairTable.rowCount, ui.diagnosisTable.rowCount), (0, 0, 0)
    )


def _assert_widgets_agree(test, widget, state: str) -> None:
    """Every Qt property is what the view says."""
    for name, properties in widget._view.widgets.items():
        # a widget in a closed section is not visible
        for prop in set(properties) - {"visible"}:
            shown, expected = getattr(getattr(widget.ui, name), prop), properties[prop]
            if prop == "toolTip":
                shown, expected = _plain(shown), _plain(expected)
            test.assertEqual(shown, expected, f"{name}.{prop} when {state}")


def _plain(tip: str) -> str:
    """A tool tip's words: Slicer makes rich text of it, so that it is broken into lines."""
    return html.unescape(re.sub("<[^>]*>", "", tip))


def _check_filled_tables(test, widget) -> None:
    ui = widget.ui
    widget.change(state="running", task="segment")
    test.assertEqual((ui.segmentButton.text, ui.progressBar.value), (_("Cancel"), 43))
    test.assertEqual((ui.resultTable.rowCount, ui.resultTable.item(0, 1).text()), (2, "1.53"))
    test.assertEqual((ui.pairTable.rowCount, ui.pairTable.item(1, 0).text()), (2, "c"))
    test.assertEqual((ui.diagnosisTable.rowCount, ui.diagnosisTable.item(1, 1).text()), (2, "0.78"))
    test.assertEqual(ui.classifierComboBox.currentText, widget.panel.classifier)
    test.assertEqual((ui.recordTable.rowCount, ui.recordTable.item(1, 0).text()), (2, "sex"))
    ui.recordTable.item(1, 1).setText(" male ")
    test.assertEqual(widget.diagnosing.extra_input_options(), {"record": {"sex": "male"}})
    test.assertEqual(
        ui.managedComboBox.count, len(widget.panel.models) + len(widget.panel.classifiers)
    )


def _choices(test, widget) -> None:
    """The user's choices reach the parameters, also after leaving and entering the module."""
    ui, parameters = widget.ui, widget.parameters
    ui.modelSearchEdit.text = "hippocampus"
    test.assertGreaterEqual(ui.modelList.count, 1)
    ui.modelSearchEdit.text = "no model has this word"
    test.assertEqual(ui.modelList.count, 0)
    ui.modelSearchEdit.text = ""
    before = parameters.side, parameters.device, parameters.augment
    ui.sideComboBox.setCurrentIndex(1)
    ui.deviceComboBox.setCurrentIndex(1)
    ui.augmentSpinBox.value = 2
    widget.exit()
    widget.enter()
    parameters = widget.parameters
    test.assertEqual(
        (parameters.side.value, parameters.device.value, parameters.augment), ("left", "cpu", 2)
    )
    parameters.side, parameters.device, parameters.augment = before
    test.assertEqual(ui.sideComboBox.currentIndex, 0)


def _diagnosis(test, widget) -> None:
    """A diagnosis becomes a table and a heat map in the scene, which the slice views show and
    hide.
    """
    import numpy as np

    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.diagnosis.result import Diagnosis
    from MedLLMSegLib.slicer_bridge.logic.diagnosis_job import write_diagnosis
    from MedLLMSegLib.slicer_bridge.scene.flat_images import images_of

    image = slicer.util.addVolumeFromArray(
        np.arange(48, dtype=np.int16).reshape(1, 6, 8), name="MedLLMSegTest"
    )
    heat = Volume(np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 6, 8), np.eye(4))
    diagnosis = Diagnosis(
        {name: p for name, p, *_ in DIAGNOSIS},
        "pneumonia",
        0.41,
        0.78,
        heat,
        "pneumonia",
        None,
        None,
        model="test",
    )
    table, node = write_diagnosis(diagnosis, images_of(image, "radiograph", "test"))
    test.assertEqual((table.GetNumberOfRows(), table.GetCellText(1, 0)), (2, "pneumonia"))
    widget.logic.showHeatMap(table, image)
    widget.logic.showHeatMap(table, show=False)
    test.assertEqual(slicer.util.arrayFromVolume(node).max(), 1)


def _learning_curve(test) -> None:
    from MedLLMSegLib.slicer_bridge.panel.learning_curve import LearningCurve

    views = getattr(slicer.app, "layoutManager", lambda: None)()
    before = views.layout if views is not None else None
    curve = LearningCurve("MedLLMSegTest")
    curve.update(HISTORY)
    curve.show()
    test.assertEqual(curve.tables["loss"].GetNumberOfRows(), 2)
    test.assertTrue(curve.in_scene)
    curve.remove()
    test.assertFalse(curve.in_scene)
    if views is not None:
        views.setLayout(before)
