"""What stays of a result: scenes saved and loaded, the subject hierarchy, and what is copied as
Python or as a command.
"""

import sys
import types

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import shlex

import slicer

from MedLLMSegLib.cli.main import build_parser
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic import image_segmentation
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.slicer_bridge.scene.segments import MODEL_TAG, STRUCTURE_TAG, tag
from Testing.slicer_bridge.stand_in import GRID, OBLIQUE, BallSegmenter, StandInClient

C, S = np.cos(0.3), np.sin(0.3)
TURNED = np.array(
    [[0.7 * C, -0.8 * S, 0, 6], [0.7 * S, 0.8 * C, 0, -49], [0, 0, 2.4, 12], [0, 0, 0, 1]]
)


@pytest.fixture
def scan(add_volume):
    return add_volume(
        np.random.default_rng(0).integers(0, 400, GRID).astype(np.int16), OBLIQUE, "MRHead"
    )


@pytest.fixture
def logic():
    logic = SegmentationLogic(makeClient=StandInClient)
    yield logic
    logic.close()


def described(node):
    """Everything about the segments that a user sees or another program reads."""
    segments = node.GetSegmentation()
    found = []
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        tags = [
            tag(segment, name)
            for name in (STRUCTURE_TAG, MODEL_TAG, segment.GetTerminologyEntryTagName())
        ]
        found.append(
            (
                segment_id,
                segment.GetName(),
                tuple(np.round(segment.GetColor(), 3)),
                *tags,
                *where(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id)),
            )
        )
    return found


def where(array):
    """(shape, number of voxels, their mean index), which is short to print when it differs"""
    return (
        array.shape,
        int(array.sum()),
        tuple(np.round(np.argwhere(array).mean(0), 6)) if array.any() else None,
    )


def reference_grid(node):
    segmentation = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = slicer.vtkOrientedImageData()
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        segmentation.GetConversionParameter(name), image, False
    )
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return np.array(image.GetExtent()), slicer.util.arrayFromVTKMatrix(matrix)


@pytest.mark.parametrize("how", ["folder", "mrb"])
def test_a_saved_scene_comes_back_with_names_codes_and_geometry(scene, scan, logic, tmp_path, how):
    scan.SetIJKToRASMatrix(
        slicer.util.vtkMatrixFromArray(TURNED)
    )  # files hold no sheared or left-handed grid
    node = logic.segment(scan, uncertainty=True)
    before, (extent, matrix) = described(node), reference_grid(node)
    if how == "folder":
        folder = tmp_path / "saved scene é"
        folder.mkdir()
        assert slicer.vtkSlicerApplicationLogic.SaveSceneToSlicerDataBundleDirectory(
            _application(scene), str(folder), None
        )
        scene.Clear(0)
        scene.SetURL(str(next(folder.glob("*.mrml"))))
        assert scene.Connect()
    else:
        cache, manager = (
            slicer.vtkCacheManager(),
            slicer.vtkDataIOManager(),
        )  # which the desktop has
        cache.SetRemoteCacheDirectory(str(tmp_path))
        manager.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
        assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
        scene.Clear(0)
        assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    read = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert read is not node
    assert read.GetName() == "MRHead segmentation"
    assert described(read) == before
    np.testing.assert_array_equal(reference_grid(read)[0], extent)
    np.testing.assert_allclose(reference_grid(read)[1], matrix, atol=1e-6)
    role = read.GetReferenceImageGeometryReferenceRole()
    assert read.GetNodeReference(role).GetName() == "MRHead"
    assert logic.showUncertainty(read).GetName() == "MRHead uncertainty"  # the map is still its own
    assert not logic.canRestore(read)
    scan = read.GetNodeReference(role)
    assert logic.segment(scan, read) is read
    assert described(read) == before
    assert logic.canRestore(read)


def _application(scene):
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    return application


def test_the_segmentation_is_in_its_scans_study(scene, scan, logic):
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient 7")
    study = hierarchy.CreateStudyItem(patient, "Study of today")
    hierarchy.CreateItem(study, scan)
    node = logic.segment(scan, uncertainty=True)
    for made in (node, logic.showUncertainty(node)):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made)) == study


# copied as Python


class Copied:
    """Runs lines as Slicer's console would: MedLLMSeg is the module, slicer is there."""

    def __init__(self, monkeypatch, client):
        module = types.ModuleType("MedLLMSeg")
        module.MedLLMSegLogic = lambda: SegmentationLogic(makeClient=lambda: client)
        monkeypatch.setitem(sys.modules, "MedLLMSeg", module)

    def run(self, lines):
        names = {"slicer": slicer}
        exec(compile(lines, "console", "exec"), names)
        return names["segmentationNode"]


@pytest.mark.parametrize("name", ["MRHead", "head [1]", 'a "quoted" \\ Größe', "*", ""])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"side": "left", "device": "cpu"},
        {"uncertainty": True, "model": "my-model"},
        {"augment": 2, "wholeSequence": False},
        {"structures": ["left_anterior", "Right hippocampus (posterior)"]},
        {"engine": "onnx"},
    ],
    ids=["plain", "side", "uncertainty", "advanced", "structures", "engine"],
)
def test_copied_python_makes_the_same_node(scene, scan, logic, monkeypatch, name, options):
    monkeypatch.setattr(image_segmentation, "missing_packages", lambda engine: ())
    scan.SetName(name)
    slicer.util.addVolumeFromArray(np.zeros((3, 3, 3)), name="another")
    node = logic.segment(scan, **options)
    client = StandInClient()
    again = Copied(monkeypatch, client).run(logic.pythonLines(scan, **options))
    assert again is not node
    assert described(again) == described(node)
    _, asked = client.requests[0]
    assert {name: asked[name] for name in options if name != "wholeSequence"} == {
        name: value for name, value in options.items() if name != "wholeSequence"
    }


def test_parts_are_asked_of_the_worker_and_of_a_function_and_copied_as_python(
    scan, logic, monkeypatch
):
    lines = logic.pythonLines(scan, model="brain-mr", withModel="hippocampus-t1")
    assert 'logic.segment(volumeNode, model="brain-mr", withModel="hippocampus-t1")' in lines
    client = StandInClient()
    Copied(monkeypatch, client).run(lines)
    assert client.requests[0][1]["with_model"] == "hippocampus-t1"
    assert "withModel" not in logic.pythonLines(scan, model="brain-mr", withModel=None)
    asked = []

    def segment(volume, model, with_model=None, **options):
        asked.append(with_model)
        return BallSegmenter()(volume, model, **options)

    logic.segmentFunction = segment
    for parts in ("hippocampus-t1", None):
        logic.segment(scan, withModel=parts)
    assert asked == ["hippocampus-t1", None]


def test_copied_python_updates_the_same_output(scan, logic, monkeypatch):
    node = logic.segment(scan, side="left")
    lines = logic.pythonLines(scan, segmentationNode=node, model="hippocampus-t1")
    assert Copied(monkeypatch, StandInClient()).run(lines) is node
    assert len(described(node)) == 4


@pytest.mark.parametrize("structures", [["left_anterior"], "left_anterior", ("left_anterior",)])
def test_a_run_of_some_structures_leaves_the_others_alone(scan, logic, structures):
    node = logic.segment(scan)
    before = described(node)
    for function in (None, BallSegmenter(radius_mm=8.0)):  # in the worker, and in this process
        logic.segmentFunction = function
        assert logic.segment(scan, node, structures=structures) is node
        after = described(node)
        assert len(after) == len(before) == 4
    changed = [n for n, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert len(changed) == 1
    assert 'structures=["left_anterior"]' in logic.pythonLines(scan, structures=structures)
    assert "structures" not in logic.pythonLines(scan, structures=[])


def test_two_scans_of_one_name_are_told_apart(scan, logic, monkeypatch, add_volume):
    add_volume(np.zeros((4, 4, 4), np.int16), name="MRHead")
    client = StandInClient(
        lambda volume, model, **options: (
            sizes.append(volume.array.shape),
            BallSegmenter()(volume, model, **options),
        )[1]
    )
    sizes = []
    Copied(monkeypatch, client).run(logic.pythonLines(scan))
    assert sizes == [GRID]


def test_defaults_are_left_out(scan, logic):
    lines = logic.pythonLines(
        scan,
        model="hippocampus-t1",
        side=None,
        device="auto",
        uncertainty=False,
        segmentationNode=None,
    )
    assert (
        lines
        == 'from MedLLMSeg import MedLLMSegLogic\nvolumeNode = slicer.util.getNode("MRHead")\nlogic'
        " = MedLLMSegLogic()\nsegmentationNode = logic.segment(volumeNode,"
        ' model="hippocampus-t1")\n'
    )


# copied as a command


def parsed(text):
    words = shlex.split(text, comments=True)
    assert words[0] == "medllmseg"
    return build_parser().parse_args(words[1:])


@pytest.mark.parametrize("name", ["MRHead", "head [1]", "a 'quoted' & ; $(rm) Größe", "../..", ""])
def test_the_copied_command_is_what_the_command_line_understands(scan, logic, name):
    scan.SetName(name)
    text = logic.commandLine(
        scan,
        model="my model",
        side="left",
        device="cpu",
        engine="openvino",
        uncertainty=True,
        augment=3,
        wholeSequence=True,
        segmentationNode=None,
        structures=["hippocampus", "deep grey"],
        withModel="hippocampus-t1",
    )
    args = parsed(text)
    assert (args.structures, args.with_model) == ("hippocampus,deep grey", "hippocampus-t1")
    assert (args.model, args.side, args.device, args.augment) == ("my model", "left", "cpu", 3)
    assert args.engine == "openvino"
    assert args.scans[0].suffix == ".nrrd"
    assert args.output.name == f"{args.scans[0].stem}.seg.nrrd"
    assert args.uncertainty.name.endswith("_uncertainty.nii.gz")
    assert "First save the scan" in text
    assert not {"/", "\\"} & set(str(args.output))


def test_the_copied_command_names_the_scans_own_file(scene, scan, logic, tmp_path, add_transform):
    path = tmp_path / "my scans" / "Größe.nrrd"
    path.parent.mkdir()
    scan.AddDefaultStorageNode()
    scan.GetStorageNode().SetFileName(str(path))
    assert scan.GetStorageNode().WriteData(scan)
    read = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "read")
    text = logic.commandLine(read)
    assert parsed(text).scans == [path]
    assert "#" not in text
    read.SetAndObserveTransformNodeID(add_transform(np.eye(4)).GetID())
    assert "transform" in logic.commandLine(read)
    slicer.util.updateVolumeFromArray(
        read, slicer.util.arrayFromVolume(read) + 1
    )  # it is not what the file holds any more
    assert "First save the scan" in logic.commandLine(read)
    read = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "read")
    path.unlink()
    assert "First save the scan" in logic.commandLine(read)


def test_without_a_scan_there_is_nothing_to_copy(scene, scan, logic):
    scene.RemoveNode(scan)
    for node in (None, scan):
        for write in (logic.pythonLines, logic.commandLine):
            with pytest.raises(UserError, match="No scan is selected"):
                write(node)
