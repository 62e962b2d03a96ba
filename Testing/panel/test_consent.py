"""What the panel asks for before a first run: licences and Python packages."""

import time
from dataclasses import replace

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.registry.licences import ACCEPTED
from MedLLMSegLib.slicer_bridge.install import licence_consent
from MedLLMSegLib.slicer_bridge.install import packages as install
from Testing.panel.steps import PACKAGES, names_of, press, process, start


def test_packages_are_named_before_they_are_installed(
    make_panel, module, logic, application, scan, picture, monkeypatch
):
    panel, installed = make_panel(PACKAGES), []
    monkeypatch.setattr(
        install,
        "ensure_packages",
        lambda requester, task: installed.append(task) or panel.missing.clear(),
    )
    press(panel.ui.segmentButton)
    assert not installed
    assert not logic.calls
    assert "safetensors (1 MB)" in panel.ui.statusLabel.text
    picture(panel, "packages")
    press(panel.ui.notNowButton)
    assert panel.ui.segmentButton.text == "Segment"
    assert not panel.ui.notNowButton.visible
    monkeypatch.setitem(names_of("consent"), "AFTER_PAINT_MS", 1000)  # the picture takes as long
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    assert panel.ui.segmentButton.text == "Installing..."
    assert not panel.ui.segmentButton.enabled
    picture(panel, "installing")
    process(application, lambda: logic.calls)
    assert installed == ["segment"]
    assert panel.ui.segmentButton.text == "Cancel"


def test_a_failed_installation_leaves_a_way_on(
    make_panel, module, logic, application, scan, monkeypatch
):
    def refuse(requester, task):
        raise UserError(
            "PyTorch was not installed; press the button again when it may be installed."
        )

    panel = make_panel(PACKAGES)
    monkeypatch.setattr(install, "ensure_packages", refuse)
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    process(application, lambda: "not installed" in panel.ui.statusLabel.text)
    assert not logic.calls
    assert panel.ui.segmentButton.enabled


def test_a_licence_that_is_not_permissive_is_asked_for_once(panel, logic, scan, picture):
    panel.ui.modelList.setCurrentRow(1)
    press(panel.ui.segmentButton)
    assert not logic.calls
    assert panel.ui.segmentButton.text == "Accept and segment"
    assert "CC-BY-NC-SA-4.0 (share-alike, non-commercial)" in panel.ui.statusLabel.text
    picture(panel, "licence")
    press(panel.ui.notNowButton)
    assert panel.ui.segmentButton.text == "Segment"
    assert "not accepted" in panel.ui.statusLabel.text
    press(panel.ui.segmentButton)
    panel.ui.modelList.setCurrentRow(0)  # another model: nothing is asked any more
    assert panel.ui.segmentButton.text == "Segment"
    assert not panel.ui.statusLabel.text
    panel.ui.modelList.setCurrentRow(1)
    press(panel.ui.segmentButton)
    start(panel, logic).end("cancelled")
    start(panel, logic)


def test_share_alike_is_not_permissive(panel, logic, scan, cache):
    (cache / ACCEPTED).unlink()
    press(panel.ui.segmentButton)
    assert "CC-BY-SA-4.0 (share-alike)" in panel.ui.statusLabel.text
    assert not logic.calls


def test_a_licence_that_cannot_be_remembered_is_said(panel, logic, scan, cache):
    (cache / ACCEPTED).unlink()
    (cache / ACCEPTED).mkdir()
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    assert not logic.calls
    assert panel.panel.state == "failed"
    assert panel.ui.segmentButton.enabled


def test_the_licence_comes_before_the_packages(
    make_panel, module, logic, application, scan, cache, monkeypatch
):
    (cache / ACCEPTED).unlink()
    panel, installed = make_panel(PACKAGES), []
    monkeypatch.setattr(
        install,
        "ensure_packages",
        lambda requester, task: installed.append(task) or panel.missing.clear(),
    )
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
    assert not logic.calls
    assert panel.ui.trainButton.text == "Accept and train"
    assert "CC-BY-SA" in panel.ui.trainStatusLabel.text
    press(panel.ui.trainButton)
    made = replace(logic.choices[0].entry, id="mine")  # it inherits the licence
    logic.job.end("done", model=made)
    assert not licence_consent.must_ask(made)


# PyTorch, beside the window


class Pip:
    """As `torch_install.Installation`; it goes on as a test says."""

    def __init__(self):
        self.text = self.log = ""
        self.fraction, self.placing, self.stopped, self.worked, self.ended = (
            None,
            False,
            False,
            False,
            False,
        )

    def poll(self):
        return self.ended

    def stop(self):
        self.stopped = self.ended = True

    def close(self):
        self.stop()


@pytest.fixture
def installing(make_panel, application, scan, monkeypatch):
    """(the panel, the pip that runs, what `ensure_packages` was called for)"""
    panel, pip, ensured = make_panel(PACKAGES), Pip(), []
    monkeypatch.setattr(install, "begin_torch", lambda: pip)
    monkeypatch.setattr(
        install,
        "ensure_packages",
        lambda requester, task: ensured.append(task) or panel.missing.clear(),
    )
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    process(application, lambda: panel.consent.installation is pip)
    return panel, pip, ensured


def test_pytorch_is_installed_beside_the_window_and_says_how_far_it_is(
    installing, logic, application, picture
):
    panel, pip, ensured = installing
    ui = panel.ui
    pip.text, pip.fraction = "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl (899.7 MB)", 0.43
    process(application, lambda: ui.progressBar.value == 43)
    assert "torch-2.13.0" in ui.statusLabel.text.replace("\u200b", "")
    assert ui.segmentButton.text == "Cancel"
    assert not ensured
    picture(panel, "installing-torch")
    pip.text, pip.fraction, pip.placing = "", None, True
    process(application, lambda: ui.segmentButton.text == "Installing...")
    assert not ui.segmentButton.enabled
    assert ui.progressBar.maximum == 0
    panel.consent.stop()
    assert not pip.stopped  # half a PyTorch would be worse
    pip.ended = pip.worked = True
    process(application, lambda: logic.calls)
    assert ensured == ["segment"]
    assert ui.segmentButton.text == "Cancel"
    assert panel.panel.state == "running"


def test_a_model_that_is_chosen_meanwhile_is_asked_for_its_licence(installing, logic, application):
    panel, pip, ensured = installing
    panel.ui.modelList.setCurrentRow(1)
    pip.ended = pip.worked = True
    process(application, lambda: ensured)
    assert panel.panel.state == "needs_licence"
    assert "CC-BY-NC-SA" in panel.ui.statusLabel.text
    assert not logic.calls
    press(panel.ui.segmentButton)
    assert logic.calls[-1][2]["model"] == "heart-cine"


def test_who_leaves_the_module_meanwhile_finds_it_ready(installing, logic, application):
    panel, pip, ensured = installing
    panel.exit()
    pip.ended = pip.worked = True
    process(application, lambda: ensured)
    panel.enter()
    assert "are installed" in panel.ui.statusLabel.text
    assert not logic.calls
    assert panel.ui.segmentButton.text == "Segment"
    start(panel, logic)


def test_the_download_can_be_cancelled(installing, logic, application):
    panel, pip, ensured = installing
    process(application, lambda: panel.ui.segmentButton.enabled)
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.state == "idle")
    assert pip.stopped
    assert not ensured
    assert not logic.calls
    assert "stopped" in panel.ui.statusLabel.text
    assert panel.ui.segmentButton.enabled
    assert panel.consent.installation is None


@pytest.mark.parametrize(
    "says_that_it_worked", [False, True]
)  # as light-the-torch does after an error of pip's
def test_a_download_that_fails_is_said_and_logged(
    installing, logic, application, monkeypatch, says_that_it_worked
):
    panel, pip, ensured = installing
    monkeypatch.setattr(install, "torch_is_missing", lambda: True)
    pip.ended, pip.log, pip.worked = True, "ERROR: no network", says_that_it_worked
    process(application, lambda: panel.panel.state == "failed")
    assert "PyTorch Utils module" in panel.ui.statusLabel.text
    assert "ERROR: no network" in panel.ui.logText.plainText
    assert not ensured
    assert not logic.calls
    assert panel.ui.segmentButton.enabled


@pytest.mark.parametrize("placing", [False, True])
def test_closing_the_scene_leaves_it_running_and_quitting_ends_it(installing, application, placing):
    import slicer

    panel, pip, ensured = installing
    slicer.mrmlScene.Clear(0)
    assert not pip.stopped
    assert panel.panel.state == "installing"
    pip.placing = placing
    panel.cleanup()
    assert pip.stopped is not placing
    assert not ensured
    process(application)


def test_a_panel_that_is_reloaded_meanwhile_installs_nothing(
    make_panel, module, logic, application, scan, monkeypatch
):
    panel, begun = make_panel(PACKAGES), []
    monkeypatch.setattr(install, "begin_torch", lambda: begun.append("torch"))
    monkeypatch.setattr(install, "ensure_packages", lambda requester, task: begun.append(task))
    press(panel.ui.segmentButton)
    press(panel.ui.segmentButton)
    panel.cleanup()
    end = time.monotonic() + 0.3
    process(application, lambda: time.monotonic() > end)
    assert not begun


def test_what_ends_after_its_panel_is_gone_opens_no_window(installing, application):
    panel, pip, ensured = installing
    pip.placing = True
    panel.cleanup()
    pip.ended = pip.worked = True
    process(application, lambda: panel.consent.installation is None)
    assert not ensured
    assert not pip.stopped


def test_a_licence_is_not_asked_for_where_another_slicer_has_deleted_the_model(panel, logic, scan):
    panel.ui.modelList.setCurrentRow(1)
    press(panel.ui.segmentButton)
    assert panel.panel.state == "needs_licence"
    logic.choices = (logic.choices[0], logic.choices[2])
    panel.exit()
    panel.enter()
    assert panel.panel.state == "idle"
    assert not panel.ui.notNowButton.visible
    assert not panel.ui.statusLabel.text
    panel.ui.modelList.setCurrentRow(0)
    assert panel.ui.segmentButton.enabled
