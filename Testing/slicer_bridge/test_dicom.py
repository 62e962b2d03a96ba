"""A DICOM series, as Slicer loads it: its segmentation has all that Slicer's export as DICOM SEG
reads.
"""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import SimpleITK as sitk
import slicer
import vtk

from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.segments import DICOM_NAME, DICOM_TYPE, tag
from MedLLMSegLib.slicer_bridge.selftest.expectations import (
    BALLS,
    GREY,
    NAMES,
    PhantomSegmenter,
    SelfTestCase,
)
from MedLLMSegLib.slicer_bridge.selftest.scene_steps import UID, write_series


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "a series é", SelfTestCase(None, None).phantom())


@pytest.fixture
def scan(scene, series):
    """The series as Slicer's DICOM plugin loads it: a volume in its patient's study that knows
    its instances.
    """
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(series[0]), "Phantom", 0)
    node.SetAttribute(
        "DICOM.instanceUIDs", " ".join(f"{UID}.4.{k + 1}" for k in range(len(series)))
    )
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "MedLLMSeg")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, node)
    return node


@pytest.fixture
def node(scan):
    return SegmentationLogic(PhantomSegmenter()).segment(scan)


def test_the_series_is_one_that_any_reader_takes(series):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series[0].parent)))
    image = reader.Execute()
    assert image.GetSize() == (34, 28, 12)
    assert np.allclose(image.GetSpacing(), (1.1, 1.3, 2.5))
    assert sitk.GetArrayFromImage(image)[BALLS[3]] == 3 * GREY


def test_the_segmentation_is_in_the_series_study(scene, scan, node):
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(scan))
    assert (
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        == study
        != hierarchy.GetSceneItemID()
    )
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetAttribute(
        "DICOM.instanceUIDs"
    )


def test_each_segment_fills_the_series_grid_when_it_is_exported(scan, node):
    segments = node.GetSegmentation()
    assert [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()] == NAMES
    for label, segment_id in enumerate(segments.GetSegmentIDs(), start=1):
        wanted, merged = vtk.vtkStringArray(), slicer.vtkOrientedImageData()
        wanted.InsertNextValue(segment_id)
        assert node.GenerateMergedLabelmapForAllSegments(
            merged, 0, None, wanted
        )  # 0: on the reference geometry
        assert merged.GetDimensions() == scan.GetImageData().GetDimensions()
        array = vtk.util.numpy_support.vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(
            merged.GetDimensions()[::-1]
        )
        assert np.array_equal(array > 0, slicer.util.arrayFromVolume(scan) == label * GREY)


def test_it_says_that_a_program_drew_it_and_with_which_codes(node):
    """Without the tags, Slicer's export says MANUAL; an algorithm without a name it refuses."""
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        segment, entry = (
            node.GetSegmentation().GetSegment(segment_id),
            slicer.vtkSlicerTerminologyEntry(),
        )
        assert tag(segment, DICOM_TYPE[0]) == "AUTOMATIC"
        assert tag(segment, DICOM_NAME) == "MedLLMSeg brain-mr"
        text = tag(segment, segment.GetTerminologyEntryTagName())
        assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(text, entry)
        for code in (
            entry.GetCategoryObject(),
            entry.GetTypeObject(),
            entry.GetTypeModifierObject(),
        ):
            assert code.GetCodeValue()
            assert code.GetCodingSchemeDesignator() == "SCT"
            assert code.GetCodeMeaning()
        region = (
            entry.GetAnatomicRegionObject()
        )  # none, rather than one of empty codes, which DICOM forbids
        assert region is None or None in (
            region.GetCodeValue(),
            region.GetCodingSchemeDesignator(),
            region.GetCodeMeaning(),
        )
