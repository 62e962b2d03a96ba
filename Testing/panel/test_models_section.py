"""The chooser of models and the section Models."""

import json
import types
from dataclasses import replace

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.registry import catalogue, licences
from Testing.panel.steps import names_of, press, process


def test_search_and_choice(panel, logic, scan, picture):
    ui = panel.ui
    ui.modelSearchEdit.text = "heart cine"
    assert ui.modelList.count == 1
    assert panel.parameters.model == "hippocampus-t1"
    ui.modelList.setCurrentRow(0)
    assert panel.parameters.model == "heart-cine"
    assert "left ventricle" in ui.modelDetailsLabel.text
    # a heart has one
    assert not ui.sideComboBox.enabled
    assert "no organ with a left" in ui.sideComboBox.toolTip
    ui.modelSearchEdit.text = ""
    assert ui.modelList.count == 3
    assert ui.modelList.currentRow == 1
    ui.modelList.setCurrentRow(2)
    assert "21.0 GB" in ui.modelDetailsLabel.text
    assert "(too large)" in ui.modelList.item(2).text()
    picture(panel, "large-model", "models")


def test_a_models_facts_are_folded_and_push_nothing_down(panel, scan, application):
    """They lie below Segment, in the section; its status too."""
    from PySide6 import QtCore

    from Testing.panel import pictures

    ui = panel.ui

    def place():
        pictures.settle(panel, application)
        return ui.segmentButton.mapTo(panel.parent, QtCore.QPoint(0, 0)).y()

    place()
    assert not ui.modelDetailsLabel.visible
    assert ui.factsCollapsibleButton.text == "About hippocampus-t1"
    ui.modelList.setCurrentRow(2)
    assert ui.factsCollapsibleButton.text == "About body-ct"
    before = place()
    ui.factsCollapsibleButton.collapsed = False
    assert place() == before
    assert ui.modelDetailsLabel.visible
    assert "21.0 GB" in ui.modelDetailsLabel.text
    section = ui.segmentCollapsibleButton
    for name in (
        "segmentButton",
        "progressBar",
        "statusLabel",
        "resultWidget",
        "modelDetailsLabel",
    ):
        assert section.isAncestorOf(getattr(ui, name)), name
    section.collapsed = True
    assert not ui.segmentButton.visible


def test_models_are_imported_verified_and_deleted(
    panel, logic, scan, said, monkeypatch, tmp_path, picture
):
    namespace, done = names_of("models_section"), []
    entry = types.SimpleNamespace(id="heart-cine", folder=tmp_path)
    monkeypatch.setitem(namespace, "import_model", lambda path: done.append(path) or entry)
    monkeypatch.setitem(namespace, "verify_model", lambda entry: entry)
    monkeypatch.setitem(namespace, "delete_model", lambda entry: done.append(entry.id))
    monkeypatch.setitem(namespace, "is_users_model", lambda entry: entry.id == "heart-cine")
    monkeypatch.setitem(namespace, "licence_text", lambda entry: "the licence")
    panel.models.refresh()
    picture(panel, "models", "models")
    assert not panel.ui.deleteModelButton.enabled
    assert "stays" in panel.ui.deleteModelButton.toolTip
    press(panel.ui.importModelButton)  # the dialog was closed
    assert not done
    said["path"] = str(tmp_path)
    press(panel.ui.importZipButton)
    press(panel.ui.importModelButton)
    assert done == [str(tmp_path)] * 2
    assert panel.parameters.model == "heart-cine"
    press(panel.ui.verifyModelButton)
    assert "sha256" in panel.ui.modelsLabel.text
    press(panel.ui.licenceButton)
    assert said["shown"][0][1]["detailedText"] == "the licence"
    press(panel.ui.openFolderButton)
    assert said["opened"] == [str(logic.choices[1].entry.folder)]
    said["agrees"] = False
    press(panel.ui.deleteModelButton)
    assert len(done) == 2
    said["agrees"] = True
    press(panel.ui.deleteModelButton)
    assert done[-1] == "heart-cine"
    assert "deleted" in panel.ui.modelsLabel.text


def test_a_model_of_an_older_version_is_named_when_it_is_verified(panel, monkeypatch, tmp_path):
    namespace = names_of("models_section")
    text = json.dumps({"network_def": "MedLLMSegLib.monai_runner.load_network"})
    write_text(tmp_path / catalogue.INFERENCE, text)
    entry = types.SimpleNamespace(id="heart-cine", folder=tmp_path)
    monkeypatch.setitem(namespace, "verify_model", lambda _: entry)
    for is_users, said_of_it in ((True, True), (False, False)):
        monkeypatch.setitem(namespace, "is_users_model", lambda _, answer=is_users: answer)
        press(panel.ui.verifyModelButton)
        assert "sha256" in panel.ui.modelsLabel.text
        assert ("version 0.3" in panel.ui.modelsLabel.text) is said_of_it


def test_a_model_that_cannot_be_imported_is_said_in_the_section(panel, said, tmp_path):
    panel.ui.modelsCollapsibleButton.collapsed, said["path"] = False, str(tmp_path)
    panel.ui.importModelButton.click()
    assert "not a model bundle" in panel.ui.modelsLabel.text


def test_a_model_that_diagnoses_is_verified_deleted_and_shown_alike(
    logic, make_panel, said, monkeypatch, picture
):
    namespace, done = names_of("models_section"), []
    entry = replace(
        logic.choices[0].entry,
        id="chest-xray",
        kind="classifier",
        title="Pneumonia in chest X-rays",
        structures=(),
        classes=("no finding", "pneumonia"),
        licence="Apache-2.0",
    )
    logic.diagnosers = (replace(logic.choices[0], entry=entry),)
    monkeypatch.setitem(
        namespace, "verify_model", lambda entry: done.append(("verify", entry.id)) or entry
    )
    monkeypatch.setitem(namespace, "delete_model", lambda entry: done.append(("delete", entry.id)))
    monkeypatch.setitem(namespace, "is_users_model", lambda entry: entry.id == "chest-xray")
    monkeypatch.setitem(namespace, "licence_text", lambda entry: f"of {entry.id}")
    panel = make_panel()
    ui = panel.ui
    listed = [ui.managedComboBox.itemText(n) for n in range(ui.managedComboBox.count)]
    assert listed == ["hippocampus-t1", "heart-cine", "body-ct", "chest-xray"]
    assert ui.managedComboBox.currentText == "hippocampus-t1"
    ui.modelList.setCurrentRow(1)  # what is chosen to segment with is what the section is about
    assert ui.managedComboBox.currentText == "heart-cine"
    assert "outlines" in ui.modelsLabel.text
    ui.managedComboBox.setCurrentIndex(3)
    assert panel.parameters.model == "heart-cine"
    assert "diagnoses" in ui.modelsLabel.text
    assert "one of yours" in ui.modelsLabel.text
    picture(panel, "models-classifier", "models")
    press(ui.verifyModelButton)
    press(ui.licenceButton)
    press(ui.openFolderButton)
    press(ui.deleteModelButton)
    assert done == [("verify", "chest-xray"), ("delete", "chest-xray")]
    assert said["shown"][0][1]["detailedText"] == "of chest-xray"
    assert said["opened"] == [str(entry.folder)]
    assert "chest-xray" in said["asked"][0]


def test_a_large_model_is_read_while_the_window_lives(
    panel, application, said, monkeypatch, tmp_path
):
    import threading

    gate, entry = threading.Event(), types.SimpleNamespace(id="heart-cine", folder=tmp_path)
    monkeypatch.setitem(
        names_of("models_section"), "import_model", lambda path: gate.wait(10) and entry
    )
    ui, said["path"] = panel.ui, "/a/large/model"
    press(ui.importModelButton)
    process(application, lambda: "Importing" in ui.modelsLabel.text)
    assert not ui.importZipButton.enabled
    assert not ui.verifyModelButton.enabled
    assert "Wait" in ui.importZipButton.toolTip
    gate.set()
    process(application, lambda: "was imported" in ui.modelsLabel.text)
    assert ui.importZipButton.enabled
    assert panel.parameters.model == "heart-cine"


def test_a_panel_that_goes_while_a_model_is_read_is_left_alone(
    panel, application, said, monkeypatch
):
    import threading

    gate = threading.Event()
    monkeypatch.setitem(
        names_of("models_section"), "import_model", lambda path: gate.wait(10) and 1 / 0
    )
    said["path"] = "/a/large/model"
    press(panel.ui.importModelButton)
    panel.cleanup()
    gate.set()
    process(
        application,
        lambda: (
            not any(thread.name.startswith("MedLLMSeg files") for thread in threading.enumerate())
        ),
    )
    process(application)


def test_several_models_come_along_and_the_chosen_one_need_not_be_the_first(
    module, logic, make_panel, scan, monkeypatch, tmp_path, picture
):
    """Through the real catalogue: a model of whole scans under a non-commercial licence beside
    the hippocampus.
    """
    shipped = json.loads(
        (catalogue.BUNDLES / "hippocampus-t1" / catalogue.METADATA).read_text(encoding="utf-8")
    )
    heart = {
        **shipped,
        "id": "cardiac-cine-mr",
        "title": "Heart in cine MR, thick slices",
        "modality": "MR cine",
        "anatomy": None,
        "structures": ["Right ventricle", "Myocardium", "Left ventricle"],
        "licence": "CC-BY-NC-SA-4.0",
        "accept_licence": True,
    }
    for about in (shipped, heart):
        write_text(tmp_path / "bundles" / about["id"] / catalogue.METADATA, json.dumps(about))
    monkeypatch.setattr(catalogue, "BUNDLES", tmp_path / "bundles")
    real = logic.real()
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    panel = make_panel()
    ui = panel.ui
    assert [ui.modelList.item(n).text() for n in range(ui.modelList.count)] == [
        heart["title"],
        shipped["title"],
    ]
    assert ui.modelList.currentRow == 1
    assert ui.trainStartComboBox.currentText == "hippocampus-t1"
    ui.modelSearchEdit.text = "non ventricle"
    assert ui.modelList.count == 0
    ui.modelSearchEdit.text = "ventricle NC"
    ui.modelList.setCurrentRow(0)
    assert panel.parameters.model == "cardiac-cine-mr"
    assert not ui.sideComboBox.enabled
    assert "Right ventricle, Myocardium, Left ventricle" in ui.modelDetailsLabel.text
    assert "fit" in ui.modelDetailsLabel.text
    press(ui.segmentButton)
    assert "CC-BY-NC-SA-4.0 (share-alike, non-commercial)" in ui.statusLabel.text.replace(
        "\u200b", ""
    )
    picture(panel, "several-models")
    assert not licences.licence_accepted(panel.panel.chosen)
    monkeypatch.setattr(panel.running, "begin", lambda: None)
    press(ui.notNowButton)
    press(ui.segmentButton)
    press(ui.segmentButton)
    assert licences.licence_accepted(panel.panel.chosen)
    panel.cleanup()
