"""MedLLMSegTest with other parts of Slicer: sequences, scene files, DICOM, the Segment Editor,
SampleData.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import slicer

from .expectations import NAMES, PhantomSegmenter

TIMES = ("0", "0.5", "1")
UID = "1.2.826.0.1.3680043.10.1.1"  # of the phantom's series; nothing real has it
SPACING_MM = (1.1, 1.3, 2.5)


def check_sequence(case) -> None:
    """A series over time becomes a sequence of segmentations that follows its browser."""
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for n, value in enumerate(TIMES):
        image = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(image, case.phantom(tuple(range(1, n + 2))))
        sequence.SetDataNodeAtValue(image, value)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "cine browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    case.wait(lambda: browser.GetProxyNode(sequence) is not None)
    node = case.logic(PhantomSegmenter()).segment(browser.GetProxyNode(sequence))
    case.test.assertTrue(browser.IsSynchronizedSequenceNode(browser.GetSequenceNode(node)))
    for n in range(len(TIMES)):
        expected = NAMES[: n + 1]
        browser.SetSelectedItemNumber(n)
        case.wait(lambda expected=expected: case.names(node) == expected, 10)


def check_saved(case) -> None:
    """A scene that is saved and loaded has the segments, their names, colours and places."""
    if case.application is None:
        case.untested.append(
            "saving and loading through Slicer's own files (tested on slicer-core by"
            " Testing/slicer_bridge)"
        )
        return
    scan = case.scan()
    node = case.logic(PhantomSegmenter()).segment(scan)
    before = voxel_counts(case, node, scan)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        save_and_load(case, folder)
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    scan = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    case.test.assertEqual(voxel_counts(case, node, scan), before)


def voxel_counts(case, node, scan) -> dict[str, int]:
    """segment's name -> its number of voxels on the scan's grid."""
    return {name: int(case.voxels(node, name, scan).sum()) for name in case.names(node)}


def save_and_load(case, folder) -> None:
    """The scene through a file of Slicer's."""
    path = str(Path(folder) / "MedLLMSegTest.mrb")
    case.test.assertTrue(slicer.util.saveScene(path))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(path)  # raises on failure; its result differs between Slicer versions
    case.test.assertGreater(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 0)


def check_dicom(case) -> None:
    """A DICOM series that Slicer has imported is segmented into its study, and exported as DICOM
    SEG where Slicer can.
    """
    if getattr(slicer, "dicomDatabase", None) is None:
        case.untested.append(
            "DICOM, as Slicer's DICOM module is not there (tested on slicer-core by"
            " Testing/slicer_bridge)"
        )
        return
    from DICOMLib import DICOMUtils

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        _DatabaseSettingKept(),
    ):
        write_series(Path(folder) / "series", case.phantom())
        with DICOMUtils.TemporaryDICOMDatabase(str(Path(folder) / "database")) as database:
            DICOMUtils.importDicom(str(Path(folder) / "series"), database)
            for patient in database.patients():
                DICOMUtils.loadPatientByUID(patient)
            scans = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            case.test.assertEqual(len(scans), 1, "the series was not loaded as one volume")
            scan = scans[0]
            node = case.logic(PhantomSegmenter()).segment(scan)
            case.test.assertEqual(case.names(node), NAMES)
            hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
            study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(scan))
            case.test.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)), study)
            case.test.assertNotEqual(study, hierarchy.GetSceneItemID())
            _export(case, hierarchy.GetItemByDataNode(node), folder)
        slicer.mrmlScene.Clear()  # before the files are deleted


def _export(case, item: int, folder: str) -> None:
    """Export a segmentation through the plugin that Slicer's DICOM export dialog would use."""
    plugin = getattr(slicer.modules, "dicomPlugins", {}).get("DICOMSegmentationPlugin")
    if plugin is None:
        case.untested.append(
            "export as DICOM SEG, which comes with the extension QuantitativeReporting"
        )
        return
    plugin = plugin()
    exportables = plugin.examineForExport(item)
    case.test.assertTrue(exportables)
    for exportable in exportables:
        exportable.directory = folder
    case.test.assertEqual(plugin.export(exportables), "")
    case.test.assertTrue(list(Path(folder).glob("*.dcm")))


class _DatabaseSettingKept:
    """Removes the folder of a temporary DICOM database from Slicer's settings, where Slicer leaves
    it if no database was chosen before.
    """

    def __enter__(self):
        import qt

        self.key = slicer.dicomDatabaseDirectorySettingsKey
        self.before = qt.QSettings().value(self.key)

    def __exit__(self, *error):
        import qt

        if self.before is None:
            qt.QSettings().remove(self.key)


def write_series(folder: Path, array: np.ndarray) -> list[Path]:
    """A volume, int16 [k, j, i], as the files of a DICOM series of MR slices."""
    import SimpleITK as sitk

    folder.mkdir(parents=True)
    image, writer = sitk.GetImageFromArray(array), sitk.ImageFileWriter()
    image.SetSpacing(SPACING_MM)
    writer.KeepOriginalImageUIDOn()
    series = {
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0060": "MR",
        "0010|0010": "Phantom^MedLLMSeg",
        "0010|0020": "MedLLMSeg",
        "0020|000d": f"{UID}.1",
        "0020|000e": f"{UID}.2",
        "0020|0011": "1",
        "0008|103e": "Phantom",
        "0020|0052": f"{UID}.3",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0008|0020": "20260101",
        "0008|0030": "120000",
        "0018|0050": str(SPACING_MM[2]),
    }
    paths = [folder / f"{k:03}.dcm" for k in range(len(array))]
    for k, path in enumerate(paths):
        slice_image = image[:, :, k]
        slice_tags = {
            "0008|0018": f"{UID}.4.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0032": f"0\\0\\{k * SPACING_MM[2]:g}",
        }
        for tag, value in {**series, **slice_tags}.items():
            slice_image.SetMetaData(tag, value)
        writer.SetFileName(str(path))
        writer.Execute(slice_image)
    return paths


def check_editor(case) -> None:
    """Slicer's Segment Editor works on the result."""
    if not case.window:
        case.untested.append("the Segment Editor, which needs Slicer's window")
        return
    scan = case.scan()
    node = case.logic(PhantomSegmenter()).segment(scan)
    first, *others = case.names(node)
    before = voxel_counts(case, node, scan)
    editor = slicer.qMRMLSegmentEditorWidget()
    settings = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLScene(slicer.mrmlScene)
    editor.setMRMLSegmentEditorNode(settings)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(scan)
    settings.SetSelectedSegmentID(node.GetSegmentation().GetSegmentIdBySegmentName(first))
    editor.setActiveEffectByName("Margin")
    editor.activeEffect().setParameter("MarginSizeMm", "3")
    editor.activeEffect().self().onApply()
    editor.setActiveEffectByName(None)
    after = voxel_counts(case, node, scan)
    case.test.assertGreater(after[first], before[first])
    for name in others:  # which are further away than the margin
        case.test.assertEqual(after[name], before[name])
    editor.setSegmentationNode(None)
    editor.deleteLater()


def check_sample(case) -> None:
    """The tutorial's scan is offered by the SampleData module."""
    from MedLLMSegLib.slicer_bridge.scene.sample_data import SHA256

    sources = getattr(slicer.modules, "sampleDataSources", {}).get("MedLLMSeg", [])
    if not sources:
        case.untested.append(
            "the sample in SampleData, which is registered when Slicer has started with the module"
        )
        return
    case.test.assertEqual([source.checksums for source in sources], [[f"SHA256:{SHA256}"]])


CHECKS = (check_sequence, check_saved, check_dicom, check_editor, check_sample)
