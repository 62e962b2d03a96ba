"""What the panel asks for before a first run: licences and Python packages."""
from dataclasses import replace

from MedLLMSegLib import UserError
from MedLLMSegLib.catalogue import ACCEPTED
from MedLLMSegLib.slicer_bridge import install, licences
from panel.steps import PACKAGES, names_of, press, process, start


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
