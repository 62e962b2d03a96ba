"""The widget's own code, run through everything that happens to it, with a picture of each state.

The pictures go to build/panel, or to the folder that PANEL_PICTURES names.
"""
import sys
import time
import types
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.catalogue import ACCEPTED
from MedLLMSegLib.slicer_bridge import install, licences

ROWS = (("Left hippocampus (anterior)", 1.532, 0.913), ("Left hippocampus (posterior)", 1.321, 0.897),
        ("Right hippocampus (anterior)", 1.604, 0.921), ("Right hippocampus (posterior)", 1.287, float("nan")))
PACKAGES = tuple(map(str, (install.Missing("torch", ">=2.8"), install.Missing("monai", ""), install.Missing("einops", ""))))
HISTORY = [{"step": 10 * n, "loss": round(1.4 / n ** 0.7, 3)} for n in range(1, 9)] + [
    {"step": 40, "val_dice": 0.61}, {"step": 80, "val_dice": 0.74}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Of a user who has accepted one model's licence."""
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ACCEPTED).write_text('{"hippocampus-t1": {"licence": "CC-BY-SA-4.0"}}')
    return tmp_path / "cache"


def names_of(part):
    """What a file of the panel imports, to put something else in its place."""
    return vars(sys.modules[f"MedLLMSegLib.slicer_bridge.{part}"])


def press(button):
    assert button.enabled and button.visible, button.toolTip
    button.click()


def process(application, until=lambda: True, seconds=5.0):
    end = time.monotonic() + seconds
    application.processEvents()
    while not until() and time.monotonic() < end:
        time.sleep(0.01)
        application.processEvents()
    assert until()


def texts(table):
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def start(panel, logic):
    press(panel.ui.segmentButton)
    return logic.job


def finish(logic, node, **more):
    logic.job.end("done", segmentationNode=node, rows=ROWS, **more)


# segmenting

def test_an_empty_scene_says_what_is_missing_and_offers_the_sample(panel, picture):
    assert panel.ui.sampleButton.visible and not panel.ui.segmentButton.enabled
    assert "sample head" in panel.ui.segmentButton.toolTip
    picture(panel, "empty")


def test_a_scan_that_is_loaded_becomes_the_input(panel, scan, picture):
    assert panel.ui.inputVolumeSelector.currentNode() is scan and panel.ui.segmentButton.enabled
    assert not panel.ui.sampleButton.visible
    assert panel.ui.deviceComboBox.currentText.startswith("Automatic (")
    picture(panel, "ready")


def test_a_run_from_press_to_result(panel, logic, scan, drawn, picture, said):
    job = start(panel, logic)
    assert logic.calls == [("segment", scan, {
        "segmentationNode": None, "model": "hippocampus-t1", "side": None, "device": "auto", "uncertainty": False,
        "augment": 0, "wholeSequence": True})]
    job.say("segment left", 0.43, 12.4)
    assert panel.ui.segmentButton.text == "Cancel" and panel.ui.progressBar.value == 43
    picture(panel, "running")
    node = drawn("MRHead segmentation")
    finish(logic, node, notes=("The GPU's memory was too small; smaller tiles were used.",))
    assert panel.parameters.resultSegmentation is node and panel.parameters.outputSegmentation is None
    assert panel.ui.segmentButton.text == "Segment" and not panel.ui.progressBar.visible
    assert texts(panel.ui.resultTable)[3] == ["Right hippocampus (posterior)", "1.29", "–"]
    assert "4 structures" in panel.ui.statusLabel.text and "smaller tiles" in panel.ui.statusLabel.text
    assert panel.ui.show3DButton.enabled and not panel.ui.restoreButton.enabled
    press(panel.ui.copyTableButton)
    press(panel.ui.copyPythonButton)
    press(panel.ui.copyCommandButton)
    panel.ui.copyLogButton.click()
    assert said["copied"][0].startswith("Structure\tVolume (mL)\t") and said["copied"][1:3] == [
        "segment(MRHead)", "medllmseg segment MRHead"] and "segment: done" in said["copied"][3]
    picture(panel, "done")


def test_choices_reach_the_logic(panel, logic, module, scan, drawn):
    target, ui = drawn("mine"), panel.ui
    ui.outputSegmentationSelector.setCurrentNode(target)
    ui.sideComboBox.setCurrentIndex(1)
    ui.deviceComboBox.setCurrentIndex(1)
    ui.uncertaintyCheckBox.checked, ui.wholeSequenceCheckBox.checked, ui.augmentSpinBox.value = True, False, 3
    start(panel, logic)
    assert logic.calls[0][2] == {"segmentationNode": target, "model": "hippocampus-t1", "side": "left", "device": "cpu",
                                 "uncertainty": True, "augment": 3, "wholeSequence": False}


def test_choices_survive_leaving_and_coming_back(panel, module, scan):
    panel.ui.sideComboBox.setCurrentIndex(1)
    panel.ui.augmentSpinBox.value = 2
    panel.exit()
    panel.ui.sideComboBox.setCurrentIndex(2)  # nobody listens now
    panel.enter()
    assert panel.parameters.side is module.Side.LEFT and panel.ui.sideComboBox.currentIndex == 1
    assert panel.parameters.augment == 2


def test_cancel(panel, logic, scan, picture):
    job = start(panel, logic)
    job.say("load", 0.1)
    press(panel.ui.segmentButton)
    assert logic.calls[-1] == ("cancel", job) and not panel.ui.segmentButton.enabled
    picture(panel, "cancelling")
    job.end("cancelled")
    assert "Cancelled" in panel.ui.statusLabel.text and panel.ui.segmentButton.text == "Segment"
    start(panel, logic)


@pytest.mark.parametrize("late", [True, False])
def test_a_failure_is_one_sentence_and_the_next_press_works(panel, logic, scan, drawn, picture, late):
    sentence = "The worker stopped (killed, or out of memory); press Segment again."
    if late:
        start(panel, logic).end("failed", message=sentence, details="Traceback")
    else:
        logic.error = UserError(sentence)
        press(panel.ui.segmentButton)
    assert sentence in panel.ui.statusLabel.text and sentence in panel.ui.logText.plainText
    assert ("Traceback" in panel.ui.logText.plainText) is late
    picture(panel, "failed")
    logic.error = None
    start(panel, logic)
    finish(logic, drawn("found"))
    assert "4 structures" in panel.ui.statusLabel.text


def test_the_overlay_follows_its_check_box(panel, logic, scan, drawn):
    from MedLLMSegLib.slicer_bridge.overlay import ROLE

    node = drawn("found", scan)
    node.SetNodeReferenceID(ROLE, scan.GetID())
    start(panel, logic)
    finish(logic, node, uncertaintyNode=scan)
    panel.ui.uncertaintyCheckBox.checked = True
    panel.ui.uncertaintyCheckBox.checked = False
    assert [call for call in logic.calls if call[0] == "overlay"] == [("overlay", node, True), ("overlay", node, False)]


def test_restore(panel, logic, scan, drawn, picture):
    node = drawn("found")
    logic.kept.append(node)
    start(panel, logic)
    finish(logic, node)
    press(panel.ui.restoreButton)
    assert logic.calls[-1] == ("restore", node) and "Restored" in panel.ui.statusLabel.text
    assert panel.ui.restoreButton.visible and not panel.ui.copyTableButton.enabled
    picture(panel, "restored")


def test_a_result_that_comes_while_another_module_is_shown_is_there_afterwards(panel, logic, scan, drawn):
    start(panel, logic)
    panel.exit()
    node = drawn("found")
    finish(logic, node)
    panel.enter()
    assert panel.result.node is node and panel.ui.resultWidget.visible and texts(panel.ui.resultTable)


def test_what_nobody_expected_is_said_and_logged_and_the_next_press_works(panel, logic, scan):
    logic.error = TypeError("a mistake of ours")
    press(panel.ui.segmentButton)
    assert "a mistake of ours" in panel.ui.statusLabel.text and "Traceback" in panel.ui.logText.plainText
    logic.error = None
    start(panel, logic)


def test_the_workers_log_is_opened_when_there_is_one(panel, said, cache):
    panel.ui.logCollapsibleButton.collapsed = False
    press(panel.ui.openLogButton)
    assert not said["opened"] and "no log yet" in panel.ui.logText.plainText
    (cache / "worker.log").write_text("ready")
    press(panel.ui.openLogButton)
    assert said["opened"] == [str(cache / "worker.log")]


# packages and licences

def test_packages_are_named_before_they_are_installed(make_panel, module, logic, application, scan, picture, monkeypatch):
    panel, installed = make_panel(PACKAGES), []
    monkeypatch.setattr(install, "ensure_packages", lambda requester, task: installed.append(task))
    press(panel.ui.segmentButton)
    assert not installed and not logic.calls and "monai (2 MB)" in panel.ui.statusLabel.text
    picture(panel, "packages")
    press(panel.ui.notNowButton)
    assert panel.ui.segmentButton.text == "Segment" and not panel.ui.notNowButton.visible
    monkeypatch.setitem(names_of("panel_run"), "AFTER_PAINT_MS", 1000)  # the picture takes as long
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    assert panel.ui.segmentButton.text == "Installing..." and not panel.ui.segmentButton.enabled
    picture(panel, "installing")
    process(application, lambda: logic.calls)
    assert installed == ["segment"] and panel.ui.segmentButton.text == "Cancel"


def test_a_failed_installation_leaves_a_way_on(make_panel, module, logic, application, scan, monkeypatch):
    def refuse(requester, task):
        raise UserError("PyTorch was not installed; press the button again when it may be installed.")

    panel = make_panel(PACKAGES)
    monkeypatch.setattr(install, "ensure_packages", refuse)
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    process(application, lambda: "not installed" in panel.ui.statusLabel.text)
    assert not logic.calls and panel.ui.segmentButton.enabled


def test_a_licence_that_is_not_permissive_is_asked_for_once(panel, logic, scan, picture):
    panel.ui.modelList.setCurrentRow(1)
    press(panel.ui.segmentButton)
    assert not logic.calls and panel.ui.segmentButton.text == "Accept and segment"
    assert "CC-BY-NC-SA-4.0 (share-alike, non-commercial)" in panel.ui.statusLabel.text
    picture(panel, "licence")
    press(panel.ui.notNowButton)
    assert panel.ui.segmentButton.text == "Segment" and "not accepted" in panel.ui.statusLabel.text
    press(panel.ui.segmentButton)
    panel.ui.modelList.setCurrentRow(0)  # another model: nothing is asked any more
    assert panel.ui.segmentButton.text == "Segment" and not panel.ui.statusLabel.text
    panel.ui.modelList.setCurrentRow(1)
    press(panel.ui.segmentButton)
    start(panel, logic).end("cancelled")
    start(panel, logic)


def test_share_alike_is_not_permissive(panel, logic, scan, cache):
    (cache / ACCEPTED).unlink()
    press(panel.ui.segmentButton)
    assert "CC-BY-SA-4.0 (share-alike)" in panel.ui.statusLabel.text and not logic.calls


def test_a_licence_that_cannot_be_remembered_is_said(panel, logic, scan, cache):
    (cache / ACCEPTED).unlink()
    (cache / ACCEPTED).mkdir()
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    assert not logic.calls and panel.panel.state == "failed" and panel.ui.segmentButton.enabled


def test_the_licence_comes_before_the_packages(make_panel, module, logic, application, scan, cache, monkeypatch):
    (cache / ACCEPTED).unlink()
    panel, installed = make_panel(PACKAGES), []
    monkeypatch.setattr(install, "ensure_packages", lambda requester, task: installed.append(task))
    texts_seen = []
    for _ in range(3):
        press(panel.ui.segmentButton)
        texts_seen.append(panel.ui.segmentButton.text)
    assert texts_seen == ["Accept and segment", "Install and segment", "Installing..."]
    process(application, lambda: logic.calls)
    assert installed == ["segment"]


def test_a_training_asks_for_the_licence_of_its_start(panel, logic, pairs, cache):
    (cache / ACCEPTED).unlink()
    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    panel.ui.trainNameEdit.text = "mine"
    press(panel.ui.trainButton)
    assert not logic.calls and panel.ui.trainButton.text == "Accept and train" and "CC-BY-SA" in panel.ui.trainStatusLabel.text
    press(panel.ui.trainButton)
    made = replace(logic.choices[0].entry, id="mine")  # it inherits the licence
    logic.job.end("done", model=made)
    assert not licences.must_ask(made)


# the chooser and the section Models

def test_search_and_choice(panel, logic, scan, picture):
    ui = panel.ui
    ui.modelSearchEdit.text = "heart cine"
    assert ui.modelList.count == 1 and panel.parameters.model == "hippocampus-t1"
    ui.modelList.setCurrentRow(0)
    assert panel.parameters.model == "heart-cine" and "left ventricle" in ui.modelDetailsLabel.text
    ui.modelSearchEdit.text = ""
    assert ui.modelList.count == 3 and ui.modelList.currentRow == 1
    ui.modelList.setCurrentRow(2)
    assert "21.0 GB" in ui.modelDetailsLabel.text and "(too large)" in ui.modelList.item(2).text()
    picture(panel, "large-model", "models")


def test_models_are_imported_verified_and_deleted(panel, logic, scan, said, monkeypatch, tmp_path, picture):
    namespace, done = names_of("panel_models"), []
    entry = types.SimpleNamespace(id="heart-cine")
    monkeypatch.setitem(namespace, "import_model", lambda path: done.append(path) or entry)
    monkeypatch.setitem(namespace, "verify_model", lambda entry: entry)
    monkeypatch.setitem(namespace, "delete_model", lambda entry: done.append(entry.id))
    monkeypatch.setitem(namespace, "is_users", lambda entry: entry.id == "heart-cine")
    monkeypatch.setitem(namespace, "licence_text", lambda entry: "the licence")
    panel.models.refresh()
    picture(panel, "models", "models")
    assert not panel.ui.deleteModelButton.enabled and "stays" in panel.ui.deleteModelButton.toolTip
    press(panel.ui.importModelButton)  # the dialog was closed
    assert not done
    said["path"] = str(tmp_path)
    press(panel.ui.importZipButton)
    press(panel.ui.importModelButton)
    assert done == [str(tmp_path)] * 2 and panel.parameters.model == "heart-cine"
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
    assert done[-1] == "heart-cine" and "deleted" in panel.ui.modelsLabel.text


def test_a_model_that_cannot_be_imported_is_said_in_the_section(panel, said, tmp_path):
    panel.ui.modelsCollapsibleButton.collapsed, said["path"] = False, str(tmp_path)
    panel.ui.importModelButton.click()
    assert "no model bundle" in panel.ui.modelsLabel.text


# training

@pytest.fixture
def pairs(module, drawn, scan):
    """Two scans with what was drawn on them."""
    import slicer

    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="T1 of patient 2")
    return [(scan, drawn("MRHead manual", scan)), (other, drawn("Patient 2 manual", other))]


def test_training_from_pairs_to_a_model(panel, logic, pairs, picture, monkeypatch):
    import slicer

    ui, charts = panel.ui, []
    slicer.modules.plots = types.SimpleNamespace(logic=lambda: types.SimpleNamespace(ShowChartInLayout=charts.append))
    ui.trainCollapsibleButton.collapsed = False
    assert not ui.trainButton.enabled and "at least 2 pairs" in ui.trainButton.toolTip
    ui.trainVolumeSelector.setCurrentNode(pairs[0][0])
    ui.trainSegmentationSelector.setCurrentNode(pairs[0][1])
    press(ui.addPairButton)
    assert not ui.addPairButton.enabled
    press(ui.addAllPairsButton)
    assert texts(ui.pairTable) == [["MRHead", "MRHead manual"], ["T1 of patient 2", "Patient 2 manual"]]
    assert "name" in ui.trainButton.toolTip
    ui.trainNameEdit.text, ui.trainMinutesSpinBox.value = "My Structures", 5
    picture(panel, "train-ready", "train")
    press(ui.trainButton)
    assert logic.calls[-1] == ("train", pairs, "My Structures",
                               {"start": "hippocampus-t1", "minutes": 5, "device": "auto"})
    assert not ui.segmentButton.enabled and "trained" in ui.segmentButton.toolTip
    logic.job.say("step 80 of 400, 1:50 left, loss 0.33", 0.2, 110)
    logic.job.onHistory(HISTORY[:8])
    logic.job.onHistory(HISTORY)
    assert len(charts) == 1 and "loss 0.327, validation Dice 0.740, best 0.740" in ui.trainStatusLabel.text
    tables = [slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLTableNode").GetTable().GetNumberOfRows() for n in range(2)]
    assert tables == [8, 2]
    picture(panel, "training", "train")
    press(ui.curveButton)
    assert len(charts) == 2
    panel.exit()
    logic.job.end("done", model=logic.choices[2].entry)
    panel.enter()
    assert panel.parameters.model == "body-ct" and "is ready" in ui.trainStatusLabel.text
    picture(panel, "trained", "train")


def test_a_cancelled_training_takes_its_curve_along(panel, logic, pairs, monkeypatch):
    import slicer

    slicer.modules.plots = types.SimpleNamespace(logic=lambda: types.SimpleNamespace(ShowChartInLayout=lambda chart: None))
    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    panel.ui.trainNameEdit.text = "mine"
    press(panel.ui.trainButton)
    logic.job.onHistory(HISTORY)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    press(panel.ui.trainButton)
    assert logic.calls[-1] == ("cancel", logic.job)
    logic.job.end("cancelled")
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes - 5 and "no model was made" in panel.ui.trainStatusLabel.text
    assert panel.ui.segmentButton.enabled


def test_pairs_leave_with_their_nodes_and_by_hand(panel, logic, pairs):
    import slicer

    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    slicer.mrmlScene.RemoveNode(pairs[1][0])
    assert texts(panel.ui.pairTable) == [["MRHead", "MRHead manual"]]
    panel.ui.pairTable.selectRow(0)
    press(panel.ui.removePairButton)
    assert not panel.training.pairs and not panel.ui.removePairButton.enabled


# the module's life

def test_when_the_input_is_deleted_the_next_scan_takes_its_place(panel, scan):
    import slicer

    other = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="other")
    slicer.mrmlScene.RemoveNode(scan)
    assert panel.parameters.inputVolume is other and panel.panel.input == "other" and panel.ui.segmentButton.enabled
    slicer.mrmlScene.RemoveNode(other)
    assert panel.parameters.inputVolume is None and not panel.ui.segmentButton.enabled and panel.ui.sampleButton.visible


def test_what_is_no_scan_is_not_chosen_by_itself(panel, drawn):
    import slicer
    from MedLLMSegLib.slicer_bridge.overlay import name_map

    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert panel.parameters.inputVolume is None and panel.ui.sampleButton.visible
    unsure = slicer.vtkMRMLScalarVolumeNode()
    name_map(drawn("found"), None)
    unsure.SetAttribute("MedLLMSegUncertainty", "map")
    slicer.mrmlScene.AddNode(unsure)
    assert panel.parameters.inputVolume is None


def test_other_modules_nodes_cost_nothing(panel, module, monkeypatch):
    import slicer

    drawn_anew = []
    monkeypatch.setattr(module, "view", lambda state, view=module.view: drawn_anew.append(state) or view(state))
    for n in range(20):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", f"model {n}")
    assert not drawn_anew
    panel.exit()
    for n in range(5):
        slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=f"scan {n}")
    assert not drawn_anew
    panel.enter()
    assert panel.panel.scans == 5 and panel.parameters.inputVolume.GetName() == "scan 0"
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    drawn_anew.clear()
    slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="one of many")
    assert not drawn_anew
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    assert panel.panel.scans == 6


def test_choices_are_saved_with_the_scene(panel, module, scan):
    import slicer

    scene, ui = slicer.mrmlScene, panel.ui
    ui.sideComboBox.setCurrentIndex(2)
    ui.augmentSpinBox.value, ui.uncertaintyCheckBox.checked, ui.trainNameEdit.text = 3, True, "mine"
    ui.modelList.setCurrentRow(1)
    scene.SetSaveToXMLString(1)
    scene.Commit()
    saved = scene.GetSceneXMLString()
    scene.SetSaveToXMLString(0)
    scene.Clear(0)
    assert (ui.sideComboBox.currentIndex, ui.augmentSpinBox.value, panel.parameters.model) == (0, 0, "hippocampus-t1")
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(saved)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    chosen = panel.parameters
    assert (chosen.side, chosen.augment, chosen.uncertainty, chosen.model) == (module.Side.RIGHT, 3, True, "heart-cine")
    assert ui.sideComboBox.currentIndex == 2 and ui.augmentSpinBox.value == 3 and ui.trainNameEdit.text == "mine"
    assert chosen.inputVolume.GetName() == "MRHead" and ui.inputVolumeSelector.currentNode() is chosen.inputVolume
    assert panel.panel.chosen.id == "heart-cine" and ui.modelList.currentRow == 1


def test_closing_the_scene_cancels_and_empties_the_panel(panel, logic, scan):
    import slicer

    job = start(panel, logic)
    slicer.mrmlScene.Clear(0)
    assert logic.calls[-1] == ("cancel", job)
    job.end("cancelled", message="The scan was removed from the scene while it was being segmented; nothing was changed.")
    assert panel.parameters is not None and panel.parameters.inputVolume is None and not panel.ui.segmentButton.enabled
    assert panel.ui.sampleButton.visible


def test_reload_ends_the_worker_first_and_takes_the_library_along(panel, logic, monkeypatch):
    monkeypatch.setattr(sys, "modules", {**sys.modules, "MedLLMSegLib.gone": types.ModuleType("gone")})
    panel.onReload()
    assert panel.reloaded and logic.calls == [("close",)]
    assert not any(name.split(".")[0] == "MedLLMSegLib" for name in sys.modules)


def test_after_cleanup_nothing_is_observed_and_nothing_comes_back(panel, logic, scan):
    import slicer

    job, selector = start(panel, logic), panel.ui.trainVolumeSelector
    panel.cleanup()
    assert logic.calls[-1] == ("close",) and not panel.Observations
    selector.setCurrentNode(scan)  # what is left of the window still hears of nodes
    slicer.mrmlScene.RemoveNode(slicer.util.addVolumeFromArray(np.zeros((2, 2, 2))))
    job.end("cancelled")  # as a download or a job that ends late
    scan.SetName("other")


def test_the_worker_ends_though_the_window_is_half_gone(panel, logic, scan, monkeypatch):
    """When Slicer quits, what belongs to the panel may be destroyed before the panel hears of it."""
    def destroyed(self):
        raise ValueError("Trying to call 'blockSignals' on a destroyed QTableWidget object")

    start(panel, logic)
    with monkeypatch.context() as broken, pytest.raises(ValueError):
        broken.setattr(type(panel.training), "close", destroyed)
        panel.cleanup()
    assert logic.calls[-1] == ("close",) and not panel.Observations


def test_a_panel_of_its_own(module, logic, scan):
    """`MedLLMSegWidget()` without a parent makes its own window and sets itself up there."""
    panel = module.MedLLMSegWidget()
    assert panel.parameters.inputVolume is scan and panel.ui.segmentButton.enabled
    panel.cleanup()


def test_one_failing_poll_is_not_the_last(module, application, scan, monkeypatch, raised):
    logic = module.MedLLMSegLogic(lambda *volume, **options: time.sleep(60))
    polls = []
    monkeypatch.setattr(type(logic), "poll", lambda self: polls.append(1) or 1 / 0 if len(polls) < 2 else polls.append(2))
    logic._startPolling()
    process(application, lambda: 2 in polls)
    logic._stopPolling()
    assert raised and all("ZeroDivisionError" in error for error in raised)
    raised.clear()


def test_the_sample_is_fetched_beside_the_window(panel, module, application, monkeypatch, picture, tmp_path):
    import slicer

    namespace = names_of("panel_run")
    fetched = types.SimpleNamespace(done=False, error=None, wait=lambda seconds: fetched.done)
    monkeypatch.setitem(namespace, "Download", lambda folder: fetched)
    monkeypatch.setitem(namespace, "load_sample", lambda: slicer.util.addVolumeFromArray(np.ones((3, 3, 3)), name="MRHead"))
    if slicer.mrmlScene.GetCacheManager() is None:
        monkeypatch.setattr(slicer, "mrmlScene", slicer.mrmlScene)
        slicer.mrmlScene.SetCacheManager(slicer.vtkCacheManager())
    press(panel.ui.sampleButton)
    assert not panel.ui.sampleButton.enabled
    picture(panel, "loading-sample")
    fetched.done, fetched.error = True, OSError("no network")
    process(application, lambda: panel.ui.sampleButton.enabled)
    assert "could not be downloaded" in panel.ui.statusLabel.text
    fetched.error = None
    press(panel.ui.sampleButton)
    process(application, lambda: panel.ui.inputVolumeSelector.currentNode() is not None)
    assert panel.ui.segmentButton.enabled and not panel.ui.sampleButton.visible


def test_long_names_and_paths_fit(panel, logic, scan, drawn, picture):
    """A DICOM series' description, a structure's name, and a path without a space in a message."""
    import slicer

    name, path = "sub_0042_ses_02_acq_highres_run_01_desc_defaced_n4corrected_T1w_space_MNI152NLin2009cAsym", "/home/" + "a_long_folder/" * 9 + "scan.nrrd"
    long = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name=name)
    panel.parameters.inputVolume = long
    start(panel, logic)
    logic.job.end("done", segmentationNode=drawn(f"{name} segmentation", long), notes=(f'"{path}" was left out.',), rows=(
        ("Left superior division of the posterior thalamic radiation, ventral part", 1.5, 0.9), *ROWS))
    panel.change(models_message=f'"{path}" is no model bundle.', train_message=f'"{path}" could not be written.', train_failed=True,
                 pairs=((name, name),))
    picture(panel, "long-names", "models", "train")


def test_all_sections_fit(panel, picture):
    picture(panel, "sections", "advanced", "train", "models", "log")


def test_sample_data_is_registered_when_slicer_has_started(module, said, monkeypatch):
    registered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    parent = types.SimpleNamespace()
    module.MedLLMSeg(parent)
    assert parent.title == "MedLLMSeg" and parent.categories == ["Segmentation"] and "medical device" in parent.helpText
    said["startupCompleted()"]()
    checksum = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"
    assert registered[0]["category"] == "MedLLMSeg" and registered[0]["checksums"] == f"SHA256:{checksum}"
    assert registered[0]["uris"].endswith(f"/SHA256/{checksum}")


# the real logic

def test_the_panel_drives_the_real_logic(module, logic, make_panel, scan, said, application, monkeypatch):
    import slicer
    from MedLLMSegLib.structures import Segmentation, plain_structures

    def segment(volume, model, *, progress, uncertainty=False, **options):
        progress("segment left", 0.5)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[2:5, 3:6, 4:8] = 1
        maps = {"uncertainty": volume.with_array(np.ones(volume.array.shape, np.float32))} if uncertainty else {}
        return Segmentation(volume.with_array(labels), plain_structures({1: "spleen"}), {1: 0.75}, model=model, **maps)

    real = logic.real(segment)
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view = slicer.mrmlScene.AddNode(view)
    panel = make_panel()
    panel.ui.uncertaintyCheckBox.checked = True
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert texts(panel.ui.resultTable) == [["Spleen", "0.04", "0.75"]] and not real._wanted
    node = panel.result.node
    assert panel.result.map is not None and panel.ui.show3DButton.enabled and not panel.ui.restoreButton.enabled
    shown_at = view.GetSliceToRAS().GetElement(2, 3)
    assert shown_at == pytest.approx(3, abs=1)  # where the labels are
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0, 0, 70)
    panel.ui.outputSegmentationSelector.setCurrentNode(node)
    press(panel.ui.copyPythonButton)
    press(panel.ui.copyCommandButton)
    assert "uncertainty=True" in said["copied"][0] and "medllmseg segment" in said["copied"][1]
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert "Cancelled" in panel.ui.statusLabel.text
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert view.GetSliceToRAS().GetElement(2, 3) == 70  # an update leaves the views where the user looks
    press(panel.ui.restoreButton)
    assert node.GetSegmentation().GetNumberOfSegments() == 1 and panel.ui.restoreButton.enabled
    press(panel.ui.segmentButton)
    slicer.mrmlScene.Clear(0)
    process(application, lambda: not real._work.runner.busy)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0 and panel.ui.sampleButton.visible
    panel.cleanup()


# what MedLLMSegTest does inside Slicer

@pytest.fixture
def loaded(panel, monkeypatch):
    """The module as Slicer's list of modules has it."""
    import slicer

    representation = types.SimpleNamespace(self=lambda: panel)
    monkeypatch.setattr(slicer.modules, "medllmseg", types.SimpleNamespace(widgetRepresentation=lambda: representation), raising=False)
    charts = types.SimpleNamespace(logic=lambda: types.SimpleNamespace(ShowChartInLayout=lambda chart: None))
    monkeypatch.setattr(slicer.modules, "plots", charts, raising=False)
    return panel


def test_the_looks_that_are_tested_inside_slicer(loaded, module):
    from MedLLMSegLib.slicer_bridge import selftest_looks

    before = loaded.panel
    selftest_looks.run(module.MedLLMSegTest("runTest"))
    assert loaded.panel == before
