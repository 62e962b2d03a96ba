"""The section Train: from pairs in the scene to a model."""

import json
import types
from dataclasses import replace

import pytest

from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.registry.catalogue import BUNDLES, model_entry
from Testing.panel.steps import HISTORY, PACKAGES, press, texts


def test_training_from_pairs_to_a_model(panel, logic, pairs, picture, monkeypatch):
    import slicer

    ui, charts = panel.ui, []
    slicer.modules.plots = types.SimpleNamespace(
        logic=lambda: types.SimpleNamespace(ShowChartInLayout=charts.append)
    )
    ui.trainCollapsibleButton.collapsed = False
    assert not ui.trainButton.enabled
    assert "at least 2 pairs" in ui.trainButton.toolTip
    ui.trainVolumeSelector.setCurrentNode(pairs[0][0])
    ui.trainSegmentationSelector.setCurrentNode(pairs[0][1])
    press(ui.addPairButton)
    assert not ui.addPairButton.enabled
    press(ui.addAllPairsButton)
    assert texts(ui.pairTable) == [
        ["MRHead", "MRHead manual"],
        ["T1 of patient 2", "Patient 2 manual"],
    ]
    assert "name" in ui.trainButton.toolTip
    ui.trainNameEdit.text, ui.trainMinutesSpinBox.value = "My Structures", 5
    picture(panel, "train-ready", "train")
    press(ui.trainButton)
    assert logic.calls[-1] == (
        "train",
        pairs,
        "My Structures",
        {"start": "hippocampus-t1", "minutes": 5, "device": "auto"},
    )
    assert not ui.segmentButton.enabled
    assert "trained" in ui.segmentButton.toolTip
    logic.job.say("step 80 of 400, 1:50 left, loss 0.33", 0.2, 110)
    logic.job.onHistory(HISTORY[:8])
    logic.job.onHistory(HISTORY)
    assert len(charts) == 1
    assert "loss 0.327, validation Dice 0.740, best 0.740" in ui.trainStatusLabel.text
    tables = [
        slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLTableNode").GetTable().GetNumberOfRows()
        for n in range(2)
    ]
    assert tables == [8, 2]
    picture(panel, "training", "train")
    press(ui.curveButton)
    assert len(charts) == 2
    panel.exit()
    logic.job.end("done", model=logic.choices[2].entry)
    panel.enter()
    assert panel.parameters.model == "body-ct"
    assert "is ready" in ui.trainStatusLabel.text
    picture(panel, "trained", "train")


def test_a_cancelled_training_takes_its_curve_along(panel, logic, pairs, monkeypatch):
    import slicer

    slicer.modules.plots = types.SimpleNamespace(
        logic=lambda: types.SimpleNamespace(ShowChartInLayout=lambda chart: None)
    )
    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    panel.ui.trainNameEdit.text = "mine"
    press(panel.ui.trainButton)
    logic.job.onHistory(HISTORY)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    press(panel.ui.trainButton)
    assert logic.calls[-1] == ("cancel", logic.job)
    logic.job.end("cancelled")
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes - 5
    assert "no model was made" in panel.ui.trainStatusLabel.text
    assert panel.ui.segmentButton.enabled


def test_what_a_cancelled_training_keeps_can_be_discarded(
    panel, logic, pairs, cache, said, picture
):
    panel.ui.trainCollapsibleButton.collapsed = False
    assert not panel.ui.discardButton.visible
    press(panel.ui.addAllPairsButton)
    panel.ui.trainNameEdit.text = "mine"
    press(panel.ui.trainButton)
    folder = cache / "trainings" / "mine"
    (folder / "cases").mkdir(parents=True)
    logic.job.end("cancelled", needsScene=False, kept=str(folder))
    assert "trainings" in panel.ui.trainStatusLabel.text
    assert "copies of the scans" in panel.ui.trainStatusLabel.text
    picture(panel, "train-kept", "train")
    said["agrees"] = False
    press(panel.ui.discardButton)
    assert folder.exists()
    assert "mine" in said["asked"][-1]
    said["agrees"] = True
    press(panel.ui.discardButton)
    assert not folder.exists()
    assert not panel.ui.discardButton.visible
    assert "Discarded" in panel.ui.trainStatusLabel.text


def test_what_an_earlier_session_kept_can_be_discarded(cache, make_panel):
    (cache / "trainings" / "ct" / "run").mkdir(parents=True)
    panel = make_panel()
    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.discardButton)
    assert not (cache / "trainings" / "ct").exists()


def broken_off_training(cache, name="my-tumours", **changes):
    """A training of an earlier session that was killed after its first save."""
    folder = cache / "trainings" / name
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "last.pt").write_bytes(b"half way")
    request = {"source": str(folder / "cases"), "output": str(folder / "run"), "start": None}
    asked = {"request": request, "device": "cpu", "version": __version__, "start_sha256": None}
    (folder / "asked.json").write_text(json.dumps(asked | changes))


def test_it_goes_on_without_its_scene_at_one_press(cache, make_panel, logic):
    broken_off_training(cache)
    panel = make_panel()
    assert not panel.ui.trainButton.enabled  # there are no pairs
    press(panel.ui.goOnButton)
    assert logic.calls[-1] == ("go on", "my-tumours")
    assert not panel.ui.goOnButton.visible
    assert panel.ui.trainButton.text == "Cancel"
    press(panel.ui.trainButton)
    assert logic.calls[-1][0] == "cancel"
    logic.job.end("cancelled", kept="/c/trainings/my-tumours")
    assert panel.panel.going_on == ""
    assert panel.ui.goOnButton.visible
    press(panel.ui.goOnButton)
    logic.job.end("done", model=logic.choices[2].entry)
    assert "is ready" in panel.ui.trainStatusLabel.text


def test_packages_are_asked_for_before_it_goes_on(cache, make_panel, logic, application):
    broken_off_training(cache)
    panel = make_panel(PACKAGES)
    press(panel.ui.goOnButton)
    assert panel.panel.state == "needs_packages"
    assert panel.ui.goOnButton.text == "Install and go on"
    assert "PyTorch" in panel.ui.trainStatusLabel.text
    press(panel.ui.trainNotNowButton)
    assert panel.ui.goOnButton.text == "Go on"
    assert logic.calls == []


def test_the_licence_of_the_model_that_it_began_with_is_asked_for(cache, make_panel, logic):
    from MedLLMSegLib.registry.licences import ACCEPTED

    (cache / ACCEPTED).write_text("{}")
    asks = replace(logic.choices[0], entry=replace(logic.choices[0].entry, accept_licence=True))
    logic.choices = (asks, *logic.choices[1:])
    folder = cache / "trainings" / "my-tumours"
    request = {"source": str(folder / "cases"), "output": str(folder / "run")}
    start = model_entry(BUNDLES / "hippocampus-t1")
    broken_off_training(cache, request={**request, "start": start.id}, start_sha256=start.sha256)
    panel = make_panel()
    press(panel.ui.goOnButton)
    assert panel.ui.goOnButton.text == "Accept and go on"
    press(panel.ui.goOnButton)
    assert logic.calls[-1] == ("go on", "my-tumours")


def test_what_does_not_fit_any_more_is_said(cache, make_panel, logic):
    broken_off_training(cache, version="0.1")
    panel = make_panel()
    press(panel.ui.goOnButton)
    assert "was begun by MedLLMSeg 0.1" in panel.ui.trainStatusLabel.text
    assert logic.calls == []
    assert panel.ui.discardButton.visible


def test_what_a_killed_slicer_was_training_is_said_at_the_next_start(cache, make_panel, picture):
    broken_off_training(cache)
    panel = make_panel()
    assert not panel.ui.trainCollapsibleButton.collapsed
    assert "my-tumours" in panel.ui.trainStatusLabel.text
    assert "Go on continues my-tumours from there" in panel.ui.trainStatusLabel.text
    assert panel.ui.goOnButton.visible
    picture(panel, "train-broken-off", "train")
    press(panel.ui.discardButton)
    assert "Discarded" in panel.ui.trainStatusLabel.text


@pytest.mark.parametrize("collecting", [True, False])
def test_closing_the_scene_ends_only_a_training_that_still_needs_it(
    panel, logic, pairs, collecting
):
    import slicer

    charts = []
    slicer.modules.plots = types.SimpleNamespace(
        logic=lambda: types.SimpleNamespace(ShowChartInLayout=charts.append)
    )
    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    panel.ui.trainNameEdit.text = "mine"
    press(panel.ui.trainButton)
    logic.job.needsScene = collecting
    logic.job.onHistory(HISTORY[:4])
    slicer.mrmlScene.Clear(0)
    assert (logic.calls[-1] == ("cancel", logic.job)) is collecting
    assert not panel.training.pairs
    if collecting:
        logic.job.end("cancelled")
        assert "no model was made" in panel.ui.trainStatusLabel.text
        return
    logic.job.onHistory(HISTORY)
    # nothing is laid over the new scene unasked
    assert "loss 0.327" in panel.ui.trainStatusLabel.text
    assert len(charts) == 1
    press(panel.ui.curveButton)
    assert len(charts) == 2
    assert charts[1].GetScene() is slicer.mrmlScene
    assert charts[1].GetTitle() == "mine"
    logic.job.end("done", model=logic.choices[2].entry)
    assert panel.parameters.model == "body-ct"
    assert "is ready" in panel.ui.trainStatusLabel.text


def test_pairs_leave_with_their_nodes_and_by_hand(panel, logic, pairs):
    import slicer

    panel.ui.trainCollapsibleButton.collapsed = False
    press(panel.ui.addAllPairsButton)
    slicer.mrmlScene.RemoveNode(pairs[1][0])
    assert texts(panel.ui.pairTable) == [["MRHead", "MRHead manual"]]
    panel.ui.pairTable.selectRow(0)
    press(panel.ui.removePairButton)
    assert not panel.training.pairs
    assert not panel.ui.removePairButton.enabled


def test_a_training_starts_from_the_chosen_model_whatever_else_there_is(logic, make_panel):
    logic.choices = logic.choices[::-1]  # the chosen one is the last of the list
    panel = make_panel()
    assert panel.panel.model == "hippocampus-t1"
    assert panel.ui.trainStartComboBox.currentText == "hippocampus-t1"
    panel.ui.trainStartComboBox.setCurrentIndex(0)
    panel.models.refresh()
    assert panel.training.start == "body-ct"  # what the user has chosen stays


def test_a_name_can_be_changed_in_its_middle(panel):
    """Slicer writes every bound widget after each key, which would put the cursor at the end."""
    panel.ui.trainCollapsibleButton.collapsed = False
    edit = panel.ui.trainNameEdit
    for key in "spln-ct":
        edit.insert(key)
    edit.cursorPosition = 3
    for key in "ee":
        edit.insert(key)
    assert edit.text == panel.parameters.trainName == "spleen-ct"
    assert edit.cursorPosition == 5
    panel.parameters.trainName = "liver-ct"
    assert edit.text == panel.panel.train_name == "liver-ct"
