"""The panel's section Diagnose, from the press of its button to its table and heat map."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.registry.catalogue import METADATA
from Testing.helpers.panel_diagnoses import (
    begin_diagnosis,
    classifier_choice,
    end_diagnosis,
)
from Testing.panel.steps import PACKAGES, names_of, press, process, texts

NOTES = (
    (
        "The file has no window in its tags; grey values from the 0.5th to the 99.5th percentile"
        " (1183 to 3311) were used."
    ),
)


def test_without_a_classifier_it_says_how_to_get_one(make_panel, image, picture):
    panel = make_panel()
    panel.ui.diagnoseImageSelector.setCurrentNode(image)
    ui = panel.ui
    assert not ui.diagnoseButton.enabled
    assert "import or train one" in ui.diagnoseButton.toolTip
    assert "section Models" in ui.classifierLabel.text
    assert "--task classify" in ui.classifierLabel.text
    picture(panel, "diagnose-no-model", "diagnose")
    assert not ui.classifierComboBox.visible
    assert "not a medical device" in ui.researchLabel.text
    assert not ui.diagnosisTable.visible
    assert not ui.heatMapCheckBox.visible


def test_from_press_to_table_and_heat_map(panel, logic, image, answer, picture, shown_over):
    from MedLLMSegLib.slicer_bridge.scene.overlay import heat_map_of

    ui = panel.ui
    assert "AUC 0.81" in ui.classifierLabel.text
    picture(panel, "diagnose-ready", "diagnose")
    job = begin_diagnosis(panel, logic)
    assert logic.calls == [("diagnose", image, {"model": "cxr-pneumonia", "device": "auto"})]
    job.say("diagnose", 0.6)
    assert ui.diagnoseButton.text == "Cancel"
    assert ui.diagnoseProgressBar.value == 60
    assert "Judging" in ui.diagnoseStatusLabel.text
    assert not ui.segmentButton.enabled
    assert "being diagnosed" in ui.segmentButton.toolTip
    assert not ui.trainButton.enabled
    assert not ui.progressBar.visible
    assert not ui.trainProgressBar.visible
    picture(panel, "diagnose-running", "diagnose")
    table = answer(image)
    end_diagnosis(job, table, notes=NOTES)
    assert texts(ui.diagnosisTable) == [
        ["no finding", "0.22", "–", ""],
        ["pneumonia", "0.78", "0.41", "●"],
    ]
    assert "chest PA: pneumonia, with a probability of 0.78" in ui.diagnoseStatusLabel.text
    assert NOTES[0] in ui.diagnoseStatusLabel.text
    assert logic.calls[-1] == ("heat map", table, image)
    assert ui.heatMapCheckBox.visible
    ui.heatSlider.value = 40
    assert shown_over.view.GetForegroundOpacity() == pytest.approx(0.4)
    picture(panel, "diagnose-done", "diagnose")
    ui.heatMapCheckBox.click()
    assert shown_over() is None
    assert not panel.parameters.heatMap
    ui.heatMapCheckBox.click()
    assert shown_over() is heat_map_of(table)
    again = answer(image)
    end_diagnosis(begin_diagnosis(panel, logic), again)
    assert logic.calls[-1] == ("heat map", again, image)
    assert shown_over() is heat_map_of(again)


def test_cancel_and_failure_leave_a_sentence(panel, logic):
    ui, job = panel.ui, begin_diagnosis(panel, logic)
    press(ui.diagnoseButton)
    assert logic.calls[-1] == ("cancel", job)
    assert ui.diagnoseButton.text == "Cancelling..."
    job.end("cancelled")
    assert "Cancelled" in ui.diagnoseStatusLabel.text
    assert ui.diagnoseButton.text == "Diagnose"
    begin_diagnosis(panel, logic).end("failed", message="This is a CT image.", details="Traceback")
    assert "This is a CT image." in ui.diagnoseStatusLabel.text
    assert "Traceback" in ui.logText.plainText
    logic.error = UserError("Not this one.")
    press(ui.diagnoseButton)
    assert "Not this one." in ui.diagnoseStatusLabel.text
    assert ui.diagnoseButton.enabled
    assert "Not this" not in ui.statusLabel.text
    assert not ui.diagnosisTable.visible


def test_a_licence_and_packages_are_asked_for_in_the_section(
    logic, make_panel, image, picture, said, monkeypatch
):
    logic.diagnosers = (classifier_choice(), classifier_choice("silicosis", ask=True))
    panel = make_panel(PACKAGES)
    ui = panel.ui
    ui.diagnoseImageSelector.setCurrentNode(image)
    ui.classifierComboBox.setCurrentIndex(1)
    press(ui.diagnoseButton)
    assert ui.diagnoseButton.text == "Accept and diagnose"
    assert "CC-BY-NC-4.0" in ui.diagnoseStatusLabel.text
    picture(panel, "diagnose-licence", "diagnose")
    monkeypatch.setitem(
        names_of("models_section"), "licence_text", lambda entry: f"all of {entry.id}'s licence"
    )
    ui.licenceButton.click()  # of the model that is asked for, not of the one that outlines
    assert said["shown"][0][1]["detailedText"] == "all of silicosis's licence"
    press(ui.diagnoseNotNowButton)
    assert "was not accepted" in ui.diagnoseStatusLabel.text
    assert not logic.calls
    press(ui.diagnoseButton)
    ui.classifierComboBox.setCurrentIndex(0)  # another model: that answer is not needed any more
    assert ui.diagnoseButton.text == "Diagnose"
    press(ui.diagnoseButton)
    assert ui.diagnoseButton.text == "Install and diagnose"
    assert not ui.notNowButton.visible
    press(ui.diagnoseNotNowButton)
    assert "Nothing was installed" in ui.diagnoseStatusLabel.text
    assert not logic.calls


def test_what_a_model_asks_for_besides_the_image(
    logic, make_panel, image, drawn, picture, tmp_path
):
    def described(name, **about):
        choice = classifier_choice(name)
        write_text(
            tmp_path / name / METADATA, json.dumps({"id": name, "weights_sha256": "0", **about})
        )
        return replace(choice, entry=replace(choice.entry, folder=tmp_path / name))

    record = {"numbers": ["age"], "categories": {"sex": ["female", "male"]}}
    logic.diagnosers = (
        described("whole", preparation={"crop": "none"}),
        described("lungs", preparation={"crop": "lungs"}),
        described("fused", preparation={"crop": "lungs"}, network={"record": record}),
        described("scans", preparation={"crop": "lungs"}, input={"kind": "slices"}),
    )
    panel = make_panel()
    ui = panel.ui
    ui.diagnoseCollapsibleButton.collapsed = False
    ui.diagnoseImageSelector.setCurrentNode(image)
    lungs = drawn("lungs of chest PA", image)
    seen = []
    for row in range(4):
        ui.classifierComboBox.setCurrentIndex(row)
        seen.append((ui.lungMaskSelector.visible, ui.recordTable.visible))
    assert seen == [(False, False), (True, False), (True, True), (False, False)]
    ui.classifierComboBox.setCurrentIndex(2)
    assert texts(ui.recordTable) == [["age", ""], ["sex", ""]]
    assert "female, male" in ui.recordTable.item(1, 1).toolTip()
    ui.recordTable.item(1, 1).setText(" male ")
    ui.lungMaskSelector.setCurrentNode(lungs)
    picture(panel, "diagnose-record", "diagnose")
    begin_diagnosis(panel, logic).end("cancelled")
    assert logic.calls[-1][2] == {
        "model": "fused",
        "device": "auto",
        "lungs": lungs,
        "record": {"sex": "male"},
    }
    ui.classifierComboBox.setCurrentIndex(0)
    begin_diagnosis(panel, logic)
    assert logic.calls[-1][2] == {"model": "whole", "device": "auto"}


def test_every_state_of_the_section_has_a_tool_tip_for_its_button(panel):
    for state in ("idle", "needs_licence", "needs_packages", "installing", "running", "cancelling"):
        for task in ("diagnose", "segment"):
            panel.replace(
                replace(
                    panel.panel,
                    state=state,
                    task=task,
                    licensed=classifier_choice().entry,
                    packages=PACKAGES,
                )
            )
            assert panel.ui.diagnoseButton.toolTip
            assert panel.ui.diagnoseButton.text
    panel.replace(replace(panel.panel, state="idle"))


def test_the_panel_drives_the_real_logic(
    module, logic, make_panel, image, application, monkeypatch, picture
):
    """Through a worker that answers as the real one does (that one runs in
    slicer_bridge/diagnosis_job).
    """
    import slicer

    from MedLLMSegLib.core.places import user_models_dir
    from MedLLMSegLib.diagnosis.result import Diagnosis
    from MedLLMSegLib.slicer_bridge.scene.map_colours import map_colours
    from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of
    from MedLLMSegLib.worker.array_files import load_volume, save_diagnosis
    from MedLLMSegLib.worker.protocol import Event
    from Testing.slicer_bridge.stand_in import StandInClient

    class Client(StandInClient):
        def _go_on(self, number):
            _do, fields, at = self.open[number]
            if at < len(self.STAGES):
                return super()._go_on(number)
            del self.open[number]
            (volume,) = map(load_volume, fields["volumes"])
            heat = volume.with_array(
                np.linspace(0, 1, volume.array.size, dtype=np.float32).reshape(volume.array.shape)
            )
            found = Diagnosis(
                {"no finding": 0.22, "pneumonia": 0.78},
                "pneumonia",
                0.4,
                0.78,
                heat,
                "pneumonia",
                None,
                None,
                0,
                ("Odd.",),
                "tiny",
            )
            return [Event(number, "result", folder=str(save_diagnosis(found, fields["output"])))]

    about = {
        "id": "tiny",
        "title": "A test",
        "kind": "classifier",
        "modality": "X-ray",
        "structures": [],
        "licence": "Apache-2.0",
        "accuracy": "not measured",
        "weights_sha256": "0" * 64,
        "classes": ["no finding", "pneumonia"],
    }
    write_text(user_models_dir() / "tiny" / METADATA, json.dumps(about))
    client = Client()
    real = type(logic.real())(makeClient=lambda: client)
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel = make_panel()
    ui = panel.ui
    ui.classifierComboBox.setCurrentIndex(
        [m.entry.id for m in panel.panel.classifiers].index("tiny")
    )  # beside those that ship
    ui.diagnoseImageSelector.setCurrentNode(image)
    press(ui.diagnoseButton)
    process(application, lambda: panel.panel.state == "idle")
    table, heat = panel.diagnosing.table, panel.diagnosing.map
    assert texts(ui.diagnosisTable)[1] == ["pneumonia", "0.78", "0.40", "●"]
    assert "Odd." in ui.diagnoseStatusLabel.text
    assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (
        image.GetID(),
        layer_of(heat).GetID(),
    )
    assert heat.GetDisplayNode().GetColorNodeID() == map_colours(slicer.mrmlScene)
    assert table.GetNumberOfColumns() == 5
    ui.heatMapCheckBox.click()
    assert view.GetForegroundVolumeID() is None
    assert panel.parameters.inputVolume is image  # a heat map is no scan
    picture(panel, "diagnose-real", "diagnose")
    press(ui.diagnoseButton)
    press(ui.diagnoseButton)
    process(application, lambda: panel.panel.state == "idle")
    assert "Cancelled" in ui.diagnoseStatusLabel.text
    assert panel.diagnosing.table is table
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    slicer.mrmlScene.Clear(0)
    assert not ui.diagnosisTable.visible
    panel.cleanup()
