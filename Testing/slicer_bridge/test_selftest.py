"""What MedLLMSegTest runs inside Slicer, run here on Slicer's core: a mistake in it must not
wait for a desktop.
"""

import sys
import tempfile
import types
import unittest
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)

from MedLLMSegLib.slicer_bridge.install import packages as install
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.selftest import panel_steps as selftest_panel
from MedLLMSegLib.slicer_bridge.selftest import scene_steps as selftest_scene
from MedLLMSegLib.slicer_bridge.selftest import self_test as selftest

WITHOUT_WORKER = tuple(check for check in selftest.CHECKS if check is not selftest.check_worker)


def test_every_check_is_run_and_says_what_it_is_for():
    for module in (selftest, selftest_scene, selftest_panel):
        checks = {value for name, value in vars(module).items() if name.startswith("check_")}
        assert checks == set(module.CHECKS)
        assert all(check.__doc__ for check in checks)


def test_it_passes_and_says_what_it_could_not_test(scene, monkeypatch, capsys):
    monkeypatch.setattr(selftest, "CHECKS", WITHOUT_WORKER)
    untested = selftest.run(unittest.TestCase(), SegmentationLogic)
    assert any("the panel" in text for text in untested)
    printed = capsys.readouterr().out
    assert "NOT TESTED: the panel, as the module is not loaded" in printed
    assert "NOT TESTED: the panel's states" in printed
    count = len((*WITHOUT_WORKER, *selftest_scene.CHECKS, *selftest_panel.CHECKS))
    assert f"MedLLMSegTest: {count} checks passed in" in printed.splitlines()[-1]
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.mark.parametrize("break_it", ["segment", "cancel", "restore", "showUncertainty"])
def test_it_fails_where_the_logic_is_broken(scene, monkeypatch, break_it):
    broken = type("Broken", (SegmentationLogic,), {break_it: lambda self, *a, **o: None})
    monkeypatch.setattr(selftest.SelfTestCase, "wait", _impatient(selftest.SelfTestCase.wait))
    monkeypatch.setattr(selftest, "CHECKS", WITHOUT_WORKER)
    with pytest.raises((AssertionError, AttributeError)):
        selftest.run(unittest.TestCase(), broken)


def _impatient(wait):
    return lambda case, until, seconds=60: wait(case, until, 3)


def test_the_worker_without_its_packages_says_so(scene, tmp_path, monkeypatch):
    """As in a Slicer where nothing was installed yet: a python without torch."""
    from MedLLMSegLib.slicer_bridge.logic import services

    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    monkeypatch.setattr(services, "environment", lambda: {"PYTHONPATH": str(tmp_path), "PATH": ""})
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(install, "missing_packages", lambda task="segment": ["PyTorch"])
    case = selftest.SelfTestCase(unittest.TestCase(), SegmentationLogic)
    try:
        selftest.check_worker(case)
    finally:
        for logic in case.logics:
            logic.close()
    assert case.untested == ["the shipped model in the worker, as packages are missing: PyTorch"]
    assert sys.executable


@pytest.mark.slow
def test_the_worker_with_its_packages(scene):
    case = selftest.SelfTestCase(unittest.TestCase(), SegmentationLogic)
    try:
        selftest.check_worker(case)
    finally:
        for logic in case.logics:
            logic.close()
    assert not case.untested


# what only Slicer has, with stand-ins for it: so that no misspelt name waits there


@pytest.fixture
def dicom(scene, monkeypatch):
    """DICOMLib and its database: a patient's study with the files of the folder that was
    imported.
    """
    import slicer

    imported, settings = [], {}

    def load(patient):
        path = sorted(Path(imported[-1]).iterdir())[0]
        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "Phantom", 0)
        hierarchy = scene.GetSubjectHierarchyNode()
        study = hierarchy.CreateStudyItem(
            hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Phantom"), "study"
        )
        hierarchy.CreateItem(study, node)
        return [node.GetID()]

    class Database:
        def __init__(self, folder):
            settings["key"] = folder

        def __enter__(self):
            return types.SimpleNamespace(patients=lambda: ["1"])

        def __exit__(self, *error):
            pass

    utils = types.SimpleNamespace(
        importDicom=lambda folder, database: imported.append(folder),
        loadPatientByUID=load,
        TemporaryDICOMDatabase=Database,
    )
    stored = types.SimpleNamespace(value=settings.get, remove=settings.pop)
    monkeypatch.setitem(sys.modules, "DICOMLib", types.SimpleNamespace(DICOMUtils=utils))
    monkeypatch.setitem(sys.modules, "qt", types.SimpleNamespace(QSettings=lambda: stored))
    monkeypatch.setattr(slicer, "dicomDatabase", object(), raising=False)
    monkeypatch.setattr(slicer, "dicomDatabaseDirectorySettingsKey", "key", raising=False)
    return settings


def run_alone(check, window=False):
    case = selftest.SelfTestCase(unittest.TestCase(), SegmentationLogic)
    case.window = window
    try:
        check(case)
    finally:
        for logic in case.logics:
            logic.close()
    return case.untested


def test_dicom_without_and_with_slicers_export(scene, dicom, monkeypatch):
    import slicer

    assert [text.split(",")[0] for text in run_alone(selftest_scene.check_dicom)] == [
        "export as DICOM SEG"
    ]
    assert not dicom
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    written = []

    class Plugin:
        def examineForExport(self, item):
            return [types.SimpleNamespace(item=item)]

        def export(self, exportables):
            written.append(Path(exportables[0].directory) / "seg.dcm")
            written[0].write_bytes(b"")
            return ""

    monkeypatch.setattr(
        slicer.modules, "dicomPlugins", {"DICOMSegmentationPlugin": Plugin}, raising=False
    )
    assert not run_alone(selftest_scene.check_dicom)
    assert written
    monkeypatch.setattr(Plugin, "export", lambda self, exportables: "no SOP instances")
    with pytest.raises(AssertionError):
        run_alone(selftest_scene.check_dicom)


@pytest.mark.parametrize("grows", [True, False])
def test_the_segment_editor(scene, monkeypatch, grows):
    import slicer

    class Editor:
        """Margin, which grows the selected segment by a voxel, or does not."""

        setMRMLScene = setSourceVolumeNode = setActiveEffectByName = lambda self, value: None
        deleteLater = setParameter = lambda self, *values: None
        activeEffect = self = lambda self: self

        def setMRMLSegmentEditorNode(self, node):
            self.settings = node

        def setSegmentationNode(self, node):
            self.node = node

        def onApply(self):
            name, scan = (
                self.settings.GetSelectedSegmentID(),
                slicer.util.getNode("MedLLMSeg phantom"),
            )
            array = slicer.util.arrayFromSegmentBinaryLabelmap(self.node, name, scan)
            grown = ndimage.binary_dilation(array) if grows else array
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                grown.astype(np.uint8), self.node, name, scan
            )

    monkeypatch.setattr(slicer, "qMRMLSegmentEditorWidget", Editor, raising=False)
    if grows:
        assert not run_alone(selftest_scene.check_editor, window=True)
    else:
        with pytest.raises(AssertionError):
            run_alone(selftest_scene.check_editor, window=True)


def test_the_sample_in_sample_data(monkeypatch):
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.sample_data import SHA256

    source = types.SimpleNamespace(checksums=[f"SHA256:{SHA256}"])
    monkeypatch.setattr(
        slicer.modules, "sampleDataSources", {"General": [], "MedLLMSeg": [source]}, raising=False
    )
    assert not run_alone(selftest_scene.check_sample)
    source.checksums = [None]
    with pytest.raises(AssertionError):
        run_alone(selftest_scene.check_sample)
