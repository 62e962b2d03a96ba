"""The fixture of the MRML scene, for the tests of the bridge and of the panel alike.

Slicer is imported when a test asks for the scene, as most tests need none.
"""

import json
import types

import pytest


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
    """One MRML scene with the module logics that `slicer.util` reaches through `slicer.modules`.

    There is one for all tests of a process: of two, `slicer.mrmlScene` would be the later one.
    """
    import slicer
    import slicer.util

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
