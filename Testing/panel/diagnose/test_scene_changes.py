"""The section Diagnose when other sections run, nodes leave the scene, or models come."""

from Testing.helpers.panel_diagnoses import (
    RESULT,
    begin_diagnosis,
    classifier_choice,
    end_diagnosis,
)
from Testing.panel.steps import names_of, press, start


def test_while_a_scan_is_segmented_nothing_is_diagnosed(panel, logic, image):
    panel.parameters.inputVolume = image
    start(panel, logic)
    assert not panel.ui.diagnoseButton.enabled
    assert "being segmented" in panel.ui.diagnoseButton.toolTip


def test_an_image_or_heat_map_that_leaves_the_scene(panel, logic, image, answer):
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.overlay import heat_map_of

    table = answer(image)
    end_diagnosis(begin_diagnosis(panel, logic), table)
    slicer.mrmlScene.RemoveNode(heat_map_of(table))
    panel.scans.update()
    assert not panel.ui.heatMapCheckBox.enabled
    assert "no heat map" in panel.ui.heatMapCheckBox.toolTip
    slicer.mrmlScene.RemoveNode(image)
    panel.diagnosing.update()
    assert not panel.ui.diagnoseButton.enabled
    assert "Choose an image" in panel.ui.diagnoseButton.toolTip


def test_closing_the_scene_cancels_and_empties_the_section(panel, logic, image, answer):
    import slicer

    end_diagnosis(begin_diagnosis(panel, logic), answer(image))
    job = begin_diagnosis(panel, logic)
    slicer.mrmlScene.Clear(0)
    assert logic.calls[-1] == ("cancel", job)
    job.end("cancelled", message="The image was removed.")
    assert not panel.ui.diagnosisTable.visible
    assert not panel.ui.diagnoseButton.enabled
    assert panel.diagnosing.table is None


def test_an_imported_classifier_is_chosen_in_its_section(panel, logic, said, monkeypatch):
    entry = classifier_choice("new-one").entry
    logic.diagnosers = (*logic.diagnosers, classifier_choice("new-one"))
    monkeypatch.setitem(names_of("models_section"), "import_model", lambda source: entry)
    said["path"] = "/some/bundle"
    press(panel.ui.importModelButton)
    assert panel.panel.classifier == "new-one"
    assert panel.ui.classifierComboBox.currentText == "new-one"
    assert "section Diagnose" in panel.ui.modelsLabel.text
    assert panel.panel.model == "hippocampus-t1"


def test_long_names_fit(panel, logic, image, answer, picture):
    name = (
        "sub_0042_ses_02_acq_highres_run_01_desc_defaced_n4corrected_dx_space_none_chest"
        "_posteroanterior"
    )
    image.SetName(name)
    panel.diagnosing.update()
    rows = (
        (
            "a very long name of a disease that nobody will ever want to read in a table",
            0.5,
            None,
            False,
        ),
        *RESULT,
    )
    end_diagnosis(
        begin_diagnosis(panel, logic),
        answer(image),
        rows,
        notes=(f'"/home/{"a_long_folder/" * 9}x.dcm" has no window.',),
    )
    picture(panel, "diagnose-long", "diagnose")
