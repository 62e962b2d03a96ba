"""The life of the module's widget: scenes, reloading, quitting, the sample scan, what
does not fit.
"""

import sys
import time
import types

import numpy as np
import pytest

from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
from Testing.panel.steps import ROWS, names_of, press, process, start


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
    assert (ui.sideComboBox.currentIndex, ui.augmentSpinBox.value, panel.parameters.model) == (
        0,
        0,
        "hippocampus-t1",
    )
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(saved)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    chosen = panel.parameters
    assert (chosen.side, chosen.augment, chosen.uncertainty, chosen.model) == (
        module.Side.RIGHT,
        3,
        True,
        "heart-cine",
    )
    assert ui.sideComboBox.currentIndex == 2
    assert ui.augmentSpinBox.value == 3
    assert ui.trainNameEdit.text == "mine"
    assert chosen.inputVolume.GetName() == "MRHead"
    assert ui.inputVolumeSelector.currentNode() is chosen.inputVolume
    assert panel.panel.chosen.id == "heart-cine"
    assert ui.modelList.currentRow == 1


def test_closing_the_scene_cancels_and_empties_the_panel(panel, logic, scan):
    import slicer

    job = start(panel, logic)
    slicer.mrmlScene.Clear(0)
    assert logic.calls[-1] == ("cancel", job)
    job.end(
        "cancelled",
        message=(
            "The scan was removed from the scene while it was being segmented; nothing was changed."
        ),
    )
    assert panel.parameters is not None
    assert panel.parameters.inputVolume is None
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.sampleButton.visible
    assert "removed from the scene" in panel.ui.logText.plainText
    assert not panel.ui.statusLabel.visible


def _says_nothing(panel):
    labels = (panel.ui.statusLabel, panel.ui.trainStatusLabel, panel.ui.diagnoseStatusLabel)
    return not any(label.text for label in labels) and not panel.ui.notNowButton.visible


@pytest.mark.parametrize("before", ["done", "failed", "asked", "restore", "train", "diagnose"])
def test_after_the_scene_is_closed_nothing_of_it_is_said(panel, logic, scan, drawn, before):
    import slicer

    if before == "asked":
        panel.ui.modelList.setCurrentRow(1)
        press(panel.ui.segmentButton)
    elif before == "train":
        panel.change(train_message="The training failed.", train_failed=True)
    elif before == "diagnose":
        panel.change(diagnose_message="It failed.", diagnose_failed=True)
    else:
        state = "failed" if before == "failed" else "done"
        start(panel, logic).end(
            state, message="It was so.", segmentationNode=drawn("found"), rows=ROWS
        )
    if before == "restore":
        panel.change(message="Restored.", message_failed=True)
    assert not _says_nothing(panel)
    slicer.mrmlScene.Clear(0)
    assert _says_nothing(panel)
    assert panel.panel.state == "idle"
    assert not panel.panel.can_restore


def test_reload_ends_the_worker_first_and_takes_the_library_along(panel, logic, monkeypatch):
    monkeypatch.setattr(
        sys, "modules", {**sys.modules, "MedLLMSegLib.gone": types.ModuleType("gone")}
    )
    panel.onReload()
    assert panel.reloaded
    assert logic.calls == [("close",)]
    assert not any(name.split(".")[0] == "MedLLMSegLib" for name in sys.modules)


def test_after_cleanup_nothing_is_observed_and_nothing_comes_back(panel, logic, scan):
    import slicer

    job, selector = start(panel, logic), panel.ui.trainVolumeSelector
    panel.cleanup()
    assert logic.calls[-1] == ("close",)
    assert not panel.Observations
    selector.setCurrentNode(scan)  # what is left of the window still hears of nodes
    slicer.mrmlScene.RemoveNode(slicer.util.addVolumeFromArray(np.zeros((2, 2, 2))))
    job.end("cancelled")  # as a download or a job that ends late
    scan.SetName("other")


def test_the_worker_ends_though_the_window_is_half_gone(panel, logic, scan, monkeypatch):
    """When Slicer quits, what belongs to the panel may be destroyed before the panel hears of
    it.
    """

    def destroyed(self):
        raise ValueError("Trying to call 'blockSignals' on a destroyed QTableWidget object")

    start(panel, logic)
    with monkeypatch.context() as broken, pytest.raises(ValueError):
        broken.setattr(type(panel.training), "close", destroyed)
        panel.cleanup()
    assert logic.calls[-1] == ("close",)
    assert not panel.Observations


def test_a_panel_of_its_own(module, logic, scan):
    """`MedLLMSegWidget()` without a parent makes its own window and sets itself up there."""
    import slicer

    panel = module.MedLLMSegWidget()
    assert panel.parameters.inputVolume is scan
    assert panel.ui.segmentButton.enabled
    slicer.mrmlScene.Clear(0)
    assert panel.parameters is not None
    assert not panel.ui.segmentButton.enabled
    panel.cleanup()


def test_one_failing_poll_is_not_the_last(module, application, scan, monkeypatch, raised):
    logic = module.MedLLMSegLogic(lambda *volume, **options: time.sleep(60))
    polls = []
    monkeypatch.setattr(
        type(logic),
        "poll",
        lambda self: polls.append(1) or 1 / 0 if len(polls) < 2 else polls.append(2),
    )
    logic._startPolling()
    process(application, lambda: 2 in polls)
    logic._stopPolling()
    assert raised
    assert all("ZeroDivisionError" in error for error in raised)
    raised.clear()


def test_the_sample_is_fetched_beside_the_window(
    panel, module, application, monkeypatch, picture, tmp_path
):
    import slicer

    namespace = names_of("segment_section")
    fetched = types.SimpleNamespace(done=False, error=None, wait=lambda seconds: fetched.done)
    monkeypatch.setitem(namespace, "Download", lambda folder: fetched)
    monkeypatch.setitem(
        namespace,
        "load_sample",
        lambda: slicer.util.addVolumeFromArray(np.ones((3, 3, 3)), name="MRHead"),
    )
    if slicer.mrmlScene.GetCacheManager() is None:
        monkeypatch.setattr(slicer, "mrmlScene", slicer.mrmlScene)
        slicer.mrmlScene.SetCacheManager(slicer.vtkCacheManager())
    press(panel.ui.sampleButton)
    assert not panel.ui.sampleButton.enabled
    picture(panel, "loading-sample")
    fetched.done, fetched.error = True, OSError("no network")
    process(application, lambda: panel.ui.sampleButton.enabled)
    assert "could not be downloaded" in panel.ui.statusLabel.text
    assert MARK_COLOURS["failed"] in panel.ui.statusLabel.text
    fetched.error, read = None, namespace["load_sample"]
    monkeypatch.setitem(namespace, "load_sample", lambda: 1 / 0)
    press(panel.ui.sampleButton)
    process(application, lambda: panel.ui.sampleButton.enabled)
    assert "could not be downloaded" in panel.ui.statusLabel.text
    assert "division" in panel.ui.logText.plainText
    monkeypatch.setitem(namespace, "load_sample", read)
    press(panel.ui.sampleButton)
    process(application, lambda: panel.ui.inputVolumeSelector.currentNode() is not None)
    assert panel.ui.segmentButton.enabled
    assert not panel.ui.sampleButton.visible
    assert not panel.ui.statusLabel.text


def test_long_names_and_paths_fit(panel, logic, scan, drawn, picture):
    """A DICOM series' description, a structure's name, and a path without a space in a message."""
    import slicer

    name, path = (
        "sub_0042_ses_02_acq_highres_run_01_desc_defaced_n4corrected_T1w_space_MNI152NLin2009cAsym",
        "/home/" + "a_long_folder/" * 9 + "scan.nrrd",
    )
    long = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name=name)
    panel.parameters.inputVolume = long
    start(panel, logic)
    logic.job.end(
        "done",
        segmentationNode=drawn(f"{name} segmentation", long),
        notes=(f'"{path}" was left out.',),
        rows=(
            ("Left superior division of the posterior thalamic radiation, ventral part", 1.5, 0.9),
            *ROWS,
        ),
    )
    panel.change(
        models_message=f'"{path}" is not a model bundle.',
        train_message=f'"{path}" could not be written.',
        train_failed=True,
        pairs=((name, name),),
    )
    picture(panel, "long-names", "models", "train")


def test_all_sections_fit(panel, picture):
    picture(panel, "sections", "advanced", "train", "models", "log")


def test_sample_data_is_registered_when_slicer_has_started(module, said, monkeypatch):
    registered = []
    logic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: registered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    parent = types.SimpleNamespace()
    module.MedLLMSeg(parent)
    assert parent.title == "MedLLMSeg"
    assert parent.categories == ["Segmentation"]
    assert "medical device" in parent.helpText
    said["startupCompleted()"]()
    checksum = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"
    assert registered[0]["category"] == "MedLLMSeg"
    assert registered[0]["checksums"] == f"SHA256:{checksum}"
    assert registered[0]["uris"].endswith(f"/SHA256/{checksum}")
