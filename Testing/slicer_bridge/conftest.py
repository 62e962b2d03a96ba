"""Slicer's real core (MRML, Segmentations, Terminologies, subject hierarchy) without its desktop.

The PyPI package `slicer-core` brings it; without it the tests of nodes and logic are skipped, and
say so.
"""

import gc
import importlib.util
import json
import types

import numpy as np
import pytest

if importlib.util.find_spec("slicer_core"):
    import slicer
    import slicer.util
else:
    slicer = None


def _code(value, meaning, **more):
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, **more}


def _write_terminologies(folder):
    """What Slicer's own lists say about the hippocampus (the lists come with the desktop, not
    with slicer-core).
    """
    sides = [
        _code("24028007", "Right"),
        _code("7771000", "Left"),
        _code("51440002", "Right and left"),
    ]
    hippocampus = _code("5366008", "Hippocampus", Modifier=sides)
    schema = {
        "@schema": (
            "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"
        )
    }
    anatomy_schema = {"@schema": schema["@schema"].replace("segment-context", "anatomic-context")}
    for name, title, types_ in (
        ("DICOM-Master", "DICOM master list", [hippocampus]),
        ("SlicerGeneralAnatomy", "3D Slicer General Anatomy list", []),
    ):
        category = _code("123037004", "Anatomical Structure", showAnatomy=False, Type=types_)
        (folder / f"SegmentationCategoryTypeModifier-{name}.term.json").write_text(
            json.dumps(
                {
                    "SegmentationCategoryTypeContextName": (
                        f"Segmentation category and type - {title}"
                    ),
                    **schema,
                    "SegmentationCodes": {"Category": [category]},
                }
            )
        )
    (folder / "AnatomicRegionAndModifier-DICOM-Master.term.json").write_text(
        json.dumps(
            {
                "AnatomicContextName": "Anatomic codes - DICOM master list",
                **anatomy_schema,
                "AnatomicCodes": {"AnatomicRegion": [_code("69536005", "Head")]},
            }
        )
    )


@pytest.fixture(scope="session")
def slicer_scene(tmp_path_factory):
    """One MRML scene with the module logics that `slicer.util` reaches through `slicer.modules`."""
    share = tmp_path_factory.mktemp("share")
    _write_terminologies(share)
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    slicer.modules = types.SimpleNamespace()
    for name, kind in (
        ("Colors", "vtkMRMLColorLogic"),
        ("Volumes", "vtkSlicerVolumesLogic"),
        ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
        ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
        ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
        ("Sequences", "vtkSlicerSequencesLogic"),
    ):
        logic = getattr(slicer, kind)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(share))
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        if name == "Colors":
            logic.AddDefaultColorNodes()
        application.SetModuleLogic(name, logic)
        setattr(
            slicer.modules, name.lower(), types.SimpleNamespace(logic=lambda logic=logic: logic)
        )
    yield scene
    scene.Clear(1)


@pytest.fixture
def scene(slicer_scene):
    """The session's scene, empty after each test."""
    _refresh_hierarchy(slicer_scene)
    yield slicer_scene
    slicer_scene.Clear(0)


def _refresh_hierarchy(scene):
    """A test's traceback may keep the hierarchy of its scene alive, and the scene goes on to name
    it after `Clear`, though it no longer holds it. Then that one is put back, empty.
    """
    if not scene.IsNodePresent(scene.GetSubjectHierarchyNode()):
        gc.collect()
    hierarchy = scene.GetSubjectHierarchyNode()
    if not scene.IsNodePresent(hierarchy):
        scene.AddNode(hierarchy)
    assert scene.IsNodePresent(scene.GetSubjectHierarchyNode())


@pytest.fixture
def add_volume(scene):
    """add_volume(array [k, j, i], ijk_to_ras (4, 4), name) -> vtkMRMLScalarVolumeNode"""

    def add(array, ijk_to_ras=None, name="MRHead"):
        return slicer.util.addVolumeFromArray(np.asarray(array), ijkToRAS=ijk_to_ras, name=name)

    return add


@pytest.fixture
def add_transform(scene):
    """add_transform(matrix (4, 4) to parent, parent=None) -> vtkMRMLLinearTransformNode"""

    def add(matrix, parent=None):
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
        if parent:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return add
